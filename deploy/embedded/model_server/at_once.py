"""Endpoints with a whole response that is not streamed: images, speech, rankings and so on.

They take the directives [mark] [delay] and [fault]; of the faults `cut` truncates the response, `error-event`
is an error after all the work was done, `no-usage` omits the usage.
"""

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import msgspec
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from deploy.embedded.model_server.calls import Call, Calls, Ending
from deploy.embedded.model_server.endpoint import open_call, read_object, until_disconnect
from deploy.embedded.model_server.faults import REFUSALS, SLOW_FIRST_BYTE_S, ErrorShape, fault_of
from deploy.embedded.model_server.generate import refuse, start
from deploy.embedded.model_server.plan import Refused, directives


@dataclass(frozen=True, slots=True)
class Made:
    """A response, ready to be sent."""

    body: bytes
    content_type: str = "application/json"

    @classmethod
    def of(cls, value: Any) -> Self:
        """As JSON."""
        return cls(msgspec.json.encode(value))


class AtOnce(ABC):
    """One such endpoint, an ASGI app: `text` finds its text, `make` bills it and creates the response."""

    name: str
    errors: ErrorShape = "openai"
    said_in: ClassVar[str] = "input"

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = await self.read(request)
        call = open_call(self._calls, self.name, request, body)
        ending: Ending = "hung_up"
        try:
            ending = await until_disconnect(self._answer(body, call, send), receive)
        except Refused as refused:
            ending = await refuse(refused.refusal, call, send, self.errors)
        finally:
            self._calls.close(call, ending)

    async def read(self, request: Request) -> dict[str, Any]:
        return read_object(await request.body())

    def text(self, body: dict[str, Any]) -> str:
        value = body.get(self.said_in)
        return "\n".join(str(item) for item in value) if isinstance(value, list) else str(value or "")

    @abstractmethod
    def make(self, body: dict[str, Any], text: str, call: Call, *, tells_usage: bool) -> Made:
        """Raise Refused if the body is invalid."""

    async def _answer(self, body: dict[str, Any], call: Call, send: Send) -> Ending:
        text = self.text(body)
        asked = directives(text)
        call.mark = asked.get("mark")
        fault = fault_of(call.model, asked.get("fault"))
        if fault in REFUSALS:
            return await refuse(REFUSALS[fault], call, send, self.errors)
        if fault == "hang":
            await asyncio.Event().wait()
        if delay_s := SLOW_FIRST_BYTE_S if fault == "slow" else float(asked.get("delay", 0)):
            await asyncio.sleep(delay_s)
        made = self.make(body, text, call, tells_usage=fault != "no-usage")
        if fault == "error-event":
            return await refuse(REFUSALS["500"], call, send, self.errors)
        await start(send, 200, [(b"content-type", made.content_type.encode())], len(made.body))
        if fault == "cut":
            half = made.body[: len(made.body) // 2]
            await send({"type": "http.response.body", "body": half, "more_body": True})
            return "cut"
        await send({"type": "http.response.body", "body": made.body})
        return "complete"
