"""A generating endpoint: records the call, responds, and stops on a disconnect."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from deploy.embedded.model_server.calls import Call, Calls, Ending
from deploy.embedded.model_server.generate import answer, refuse
from deploy.embedded.model_server.plan import Pace, Plan, Refused, directives, plan
from deploy.embedded.model_server.shapes import Shape


class Endpoint:
    """An ASGI app, so that it sees a disconnect and always completes the record."""

    def __init__(self, shape: Shape, calls: Calls, pace: Pace) -> None:
        self._shape = shape
        self._calls = calls
        self._pace = pace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = read_object(await request.body())
        call = open_call(self._calls, self._shape.name, request, body)
        ending: Ending = "hung_up"
        try:
            planned = self._plan(body, call)
            ending = await until_disconnect(answer(planned, self._shape, call, send), receive)
        except Refused as refused:
            ending = await refuse(refused.refusal, call, send, self._shape.errors)
        finally:
            self._calls.close(call, ending)

    def _plan(self, body: dict[str, Any], call: Call) -> Plan:
        prompt = self._shape.read(body)
        call.mark = directives(prompt.text).get("mark")
        return plan(body, prompt, self._pace, identity=f"{call.ordinal:x}-{time.time_ns():x}")


def read_object(raw: bytes) -> dict[str, Any]:
    """The body, or an empty one: the endpoint reports what is missing."""
    try:
        body = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def open_call(calls: Calls, endpoint: str, request: Request, body: dict[str, Any]) -> Call:
    user = body.get("user")
    call = Call(
        ordinal=calls.next_ordinal(),
        endpoint=endpoint,
        model=str(body.get("model") or ""),
        call_id=request.headers.get("x-litellm-call-id"),
        user=user if isinstance(user, str) else None,
        mark=None,
        stream=body.get("stream") is True,
        fields=list(body),
        started_at=time.time(),
    )
    calls.open(call)
    return call


async def until_disconnect(answering: Coroutine[Any, Any, Ending], receive: Receive) -> Ending:
    """The ending of the response, which is cancelled when the caller disconnects."""
    work = asyncio.create_task(answering)
    disconnect = asyncio.create_task(_disconnect(receive))
    try:
        await asyncio.wait((work, disconnect), return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else "hung_up"
    finally:
        work.cancel()
        disconnect.cancel()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
