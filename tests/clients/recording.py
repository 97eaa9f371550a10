"""What a client sends, kept without its secrets, its texts and its names of the day."""

import contextlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
from aiohttp import web

FOLDER: Final = Path(__file__).with_name("recorded")
MAX_BODY: Final = 32 * 2**20
# Of the connection, not of the request.
HOP_HEADERS: Final = {"host", "connection", "content-length", "transfer-encoding", "upgrade", "keep-alive"}
SECRETS: Final = {"authorization", "x-api-key", "sec-websocket-key"}
# A word of the protocol, and no path: everything else is a text of somebody's, of which only the length matters here.
_WORD: Final = re.compile(r"(?!/)[\w./:@,+=*^$\\()\[\]{}|?~-]{0,100}")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TEXTS: Final = {"text", "description", "content", "instructions", "cmd", "output"}


class RecordingRelay:
    """Passes requests on to `upstream` and keeps them in `requests`, as long as the block lasts."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self.requests: list[dict[str, Any]] = []

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        self._http = aiohttp.ClientSession(auto_decompress=False)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self._http.close()

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append(
            {
                "method": request.method,
                "path": request.path_qs,
                "headers": reduced_headers(request.headers),
                "body": reduced(json.loads(body)) if body else None,
            }
        )
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_HEADERS}
        url = self._upstream + request.path_qs
        async with self._http.request(request.method, url, data=body, headers=headers) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_HEADERS}
            passed = web.StreamResponse(status=answer.status, headers=kept)
            await passed.prepare(request)
            # Some hang up after the last event.
            with contextlib.suppress(ConnectionError):
                async for piece in answer.content.iter_any():
                    await passed.write(piece)
                await passed.write_eof()
            return passed


def reduced_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Without those of the connection; of secrets only the name."""
    kept = {name.lower(): value for name, value in headers.items()}
    return {
        name: "(secret)" if name in SECRETS else _length_of(value) if value.startswith("{") else _without_ids(value)
        for name, value in kept.items()
        if name not in HOP_HEADERS or name == "upgrade"
    }


def reduced(value: Any, name: str = "") -> Any:
    """The same fields, types and words; in place of each text its length, in place of each id of the day zeros.
    The images are our own."""
    if isinstance(value, dict):
        return {key: reduced(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [reduced(item, name) for item in value]
    if not isinstance(value, str) or value.startswith("data:image/"):
        return value
    return _length_of(value) if name in _TEXTS else _reduced_text(value)


def _reduced_text(text: str) -> str:
    return _without_ids(text) if _WORD.fullmatch(text) else _length_of(text)


def _without_ids(text: str) -> str:
    return _UUID.sub("00000000-0000-7000-8000-000000000000", text)


def _length_of(text: str) -> str:
    return f"({len(text)} characters)"
