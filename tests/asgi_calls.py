"""One request to an app without a server: the test sees each piece as it is sent, takes it when it likes, and leaves
when it likes. httpx2's transport for apps gives an answer only once it is whole.
"""

import asyncio
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import httpx2


class AsgiCall:
    """A form's POST by this browser. Sending waits while `may_take` is not set."""

    def __init__(self, browser: httpx2.AsyncClient, path: str, form: dict[str, Any]) -> None:
        transport: Any = browser._transport
        self._app = transport.next_app()
        self._body = urlencode(form).encode()
        origin = str(browser.base_url).rstrip("/")
        headers = {
            "host": origin.partition("//")[2],
            "origin": origin,
            "sec-fetch-site": "same-origin",
            "content-type": "application/x-www-form-urlencoded",
            "cookie": "; ".join(f"{name}={value}" for name, value in browser.cookies.items()),
        }
        self._scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "POST",
            "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 50_000), "server": ("127.0.0.1", 9),
        }  # fmt: skip
        self._is_read = False
        self._has_left = asyncio.Event()
        self._sent = asyncio.Condition()
        self.may_take = asyncio.Event()
        self.may_take.set()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.is_complete = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._app(self._scope, self._receive, self._send))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
        self.may_take.set()
        await asyncio.wait_for(self._task, 10)

    def leave(self) -> None:
        """The browser closes the connection."""
        self._has_left.set()

    async def read_until(self, text: bytes) -> bytes:
        """The body so far, once it has this text. Fails if the answer ends without."""
        async with asyncio.timeout(10), self._sent:
            await self._sent.wait_for(lambda: text in self.body or self.is_complete)
        assert text in self.body, (self.status, self.body)
        return bytes(self.body)

    async def read_all(self) -> bytes:
        """The whole body."""
        async with asyncio.timeout(20), self._sent:
            await self._sent.wait_for(lambda: self.is_complete)
        return bytes(self.body)

    async def _receive(self) -> dict[str, Any]:
        if not self._is_read:
            self._is_read = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self._has_left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        await self.may_take.wait()
        async with self._sent:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                self.body += message.get("body", b"")
                self.is_complete = not message.get("more_body", False)
            self._sent.notify_all()
