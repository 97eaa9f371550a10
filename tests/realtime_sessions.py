"""Realtime sessions from the caller's side: events sent and received."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
from callers import Caller

MODEL: Final = "demo-realtime"
TIMEOUT_S: Final = 10.0


class RealtimeSession:
    """One open session."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.close_reason: str | None = None

    @property
    def close_code(self) -> int | None:
        return self.socket.close_code

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send_str(json.dumps({"type": kind} | fields))

    async def send_text(self, text: str) -> None:
        """Adds a user message."""
        content = [{"type": "input_text", "text": text}]
        await self.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})

    async def receive(self) -> dict[str, Any] | None:
        """The next event, or None if the session is over."""
        message = await self.socket.receive(timeout=TIMEOUT_S)
        if message.type is aiohttp.WSMsgType.TEXT:
            event: dict[str, Any] = json.loads(message.data)
            return event
        self.close_reason = message.extra if message.type is aiohttp.WSMsgType.CLOSE else None
        return None

    async def receive_until(self, *kinds: str) -> dict[str, Any]:
        """Receives up to the first event of these kinds, and returns it."""
        while (event := await self.receive()) is not None:
            if event["type"] in kinds:
                return event
        raise AssertionError(f"closed with {self.close_code} before any of {kinds}")

    async def receive_all(self) -> list[dict[str, Any]]:
        """All events to the end of the session."""
        events = []
        while (event := await self.receive()) is not None:
            events.append(event)
        return events

    async def ask(self, text: str, **response: Any) -> dict[str, Any]:
        """Adds a user message and requests a response; returns its `response.done`."""
        await self.send_text(text)
        await self.send("response.create", response=response)
        return await self.receive_until("response.done")


@asynccontextmanager
async def open_realtime(
    caller: Caller, query: str = f"model={MODEL}", *, headers: Mapping[str, str] | None = None, **options: Any
) -> AsyncIterator[RealtimeSession]:
    """A session, closed at the end of the block. Raises aiohttp.WSServerHandshakeError if the upgrade is refused."""
    sent = caller.authorization if headers is None else headers
    path = options.pop("path", "/v1/realtime")
    # The socket is closed by the test, so the close code can be read.
    async with caller.http.ws_connect(f"{caller.url}{path}?{query}", headers=sent, max_msg_size=0, **options) as socket:
        yield RealtimeSession(socket)
