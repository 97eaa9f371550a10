"""A caller in a realtime session: what he says and hears."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
from callers import Caller

MODEL: Final = "demo-realtime"
TIMEOUT_S: Final = 10.0


class Talk:
    """One session from the caller's side."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.close_reason: str | None = None

    @property
    def close_code(self) -> int | None:
        return self.socket.close_code

    async def say(self, kind: str, **fields: Any) -> None:
        await self.socket.send_str(json.dumps({"type": kind} | fields))

    async def write(self, text: str) -> None:
        """An item of the user."""
        content = [{"type": "input_text", "text": text}]
        await self.say("conversation.item.create", item={"type": "message", "role": "user", "content": content})

    async def hear(self) -> dict[str, Any] | None:
        """The next event; None: the session is over."""
        message = await self.socket.receive(timeout=TIMEOUT_S)
        if message.type is aiohttp.WSMsgType.TEXT:
            event: dict[str, Any] = json.loads(message.data)
            return event
        self.close_reason = message.extra if message.type is aiohttp.WSMsgType.CLOSE else None
        return None

    async def hear_until(self, *kinds: str) -> dict[str, Any]:
        """Events up to the first of these kinds."""
        while (event := await self.hear()) is not None:
            if event["type"] in kinds:
                return event
        raise AssertionError(f"closed with {self.close_code} before any of {kinds}")

    async def hear_all(self) -> list[dict[str, Any]]:
        """Events to the end of the session."""
        events = []
        while (event := await self.hear()) is not None:
            events.append(event)
        return events

    async def ask(self, text: str, **response: Any) -> dict[str, Any]:
        """An item and its response, to the end of it."""
        await self.write(text)
        await self.say("response.create", response=response)
        return await self.hear_until("response.done")


@asynccontextmanager
async def talking(
    caller: Caller, query: str = f"model={MODEL}", *, headers: Mapping[str, str] | None = None, **options: Any
) -> AsyncIterator[Talk]:
    """A session; leaving the block closes it. Refused before the upgrade: aiohttp.WSServerHandshakeError."""
    sent = caller.authorization if headers is None else headers
    path = options.pop("path", "/v1/realtime")
    # Closed by the test: so that the code it was closed with can be read.
    async with caller.http.ws_connect(f"{caller.url}{path}?{query}", headers=sent, max_msg_size=0, **options) as socket:
        yield Talk(socket)
