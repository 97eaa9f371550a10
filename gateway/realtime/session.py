"""Step 3b of a realtime session: carry events both ways, each direction at the pace of who reads it, until one leaves,
the time is over, or the caller may not go on."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final
from uuid import UUID

import msgspec

from gateway.domain.calls import Ending, EstimatedWhy, Usage
from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant, KeyRecord
from gateway.endpoints.allowed_fields import ALLOWED_FIELDS, AllowedFields
from gateway.endpoints.output_parts import OutputParts
from gateway.endpoints.realtime import read_client_event
from gateway.endpoints.realtime_events import ServerEvent, read_server_event
from gateway.realtime.limits import SessionQuota
from gateway.upstream.failures import UpstreamBroken
from gateway.upstream.websocket import ABNORMAL_CLOSURE, CloseFrame, UpstreamWebSocket
from gateway.web.responses import Receive, Send
from gateway.web.websockets import close, error_event

# How often the caller's access is checked: a revoked key is known to the worker well within a second.
CHECK_S: Final = 0.25
# A caller who reads nothing for so long counts as disconnected.
SLOW_CALLER_S: Final = 60.0
GOODBYE_S: Final = 2.0
# What sending raises after a disconnect; TimeoutError is an OSError, uvicorn raises RuntimeError after its own close.
CALLER_LEFT: Final = (OSError, RuntimeError)
NORMAL, GOING_AWAY, UNSUPPORTED, POLICY, FAILED, RESTART = 1000, 1001, 1003, 1008, 1011, 1012


@dataclass(frozen=True, slots=True)
class End:
    """How a session ended. `error` is sent to the caller; `why` says how a running response is charged."""

    ending: Ending
    code: int = NORMAL
    error: GatewayError | None = None
    why: EstimatedWhy = "cut_off"
    reason: str = ""
    # The model may have worked for nobody: then the whole estimate is charged.
    is_callers: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Seconds a session may last and a response may be silent."""

    session_s: float
    silence_s: float


class Session:
    """One session. `current_access()` returns the caller's present access, or raises GatewayError if it ended."""

    def __init__(
        self,
        receive: Receive,
        send: Send,
        upstream: UpstreamWebSocket,
        *,
        request_id: UUID,
        model: str,
        quota: SessionQuota,
        caller: tuple[KeyRecord, Grant],
        current_access: Callable[[], Awaitable[tuple[KeyRecord, Grant]]],
        stopping: asyncio.Event,
        bounds: Bounds,
        allowed: AllowedFields = ALLOWED_FIELDS,
    ) -> None:
        self._receive = receive
        self._send = send
        self._upstream = upstream
        self._id = str(request_id)
        self._model = model
        self._quota = quota
        self._current_access = current_access
        self._stopping = stopping
        self._bounds = bounds
        self._allowed = allowed
        self._began_at = self._heard_at = monotonic()
        self._caller = caller
        # Responses the caller asked for that have not begun, and what those under way have said so far.
        self._asked = 0
        self._running: dict[str | None, float] = {}
        self._parts = OutputParts()
        # Tokens of the conversation: what each response reads again.
        self._said_before = 0.0
        self._last_was_error = False
        self._has_begun = False
        self._why: EstimatedWhy | None = None
        self.first_event_at: float | None = None
        self.bytes_in = self.bytes_out = 0
        self.end = End("upstream_error", RESTART, _stopped(), is_callers=False)
        self._tasks: list[asyncio.Task[End]] = []

    @property
    def _is_responding(self) -> bool:
        return bool(self._asked or self._running)

    async def run(self) -> None:
        """Returns when it is over, how is in `end`; interrupted, it was the server that stopped."""
        loop = asyncio.get_running_loop()
        work = (self._from_caller, self._from_upstream, self._watch)
        self._tasks = [loop.create_task(self._until_end(one), name="session") for one in work]
        try:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            self.end = next(task for task in self._tasks if task.done()).result()
        finally:
            for task in self._tasks:
                task.cancel()

    async def _until_end(self, work: Callable[[], Awaitable[End]]) -> End:
        try:
            return await work()
        except UpstreamBroken:
            return self._upstream_left(CloseFrame(ABNORMAL_CLOSURE, ""))
        except CALLER_LEFT:
            return self._left()

    def usage(self) -> tuple[Usage, EstimatedWhy | None]:
        """All that was used; why a part of it is estimated, if one is."""
        used, why = self._quota.used, self._why
        for said in [*self._running.values(), *[0.0] * self._asked]:
            if said or self.end.is_callers:
                used, why = used + self._estimate(said), self.end.why
        return used, why

    def _estimate(self, said: float) -> Usage:
        """Usage of a response without a report: of the last response if it has no text, as aborting is not free."""
        completion = round(said) or self._quota.next_response.completion_tokens
        return Usage(prompt_tokens=round(self._said_before), completion_tokens=completion)

    async def say_goodbye(self) -> None:
        """Sends the caller the reason, if they are still connected, and closes."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            async with asyncio.timeout(GOODBYE_S):
                error = self.end.error
                if error is not None and not self._last_was_error:
                    await self._send_error(error)
                await close(self._send, self.end.code, error.message if error else self.end.reason)
        except CALLER_LEFT:
            pass  # the caller has disconnected or does not read

    async def _send_error(self, error: GatewayError, answers: str | None = None) -> None:
        event = msgspec.json.encode(error_event(error, self._id, answers=answers)).decode()
        await self._send({"type": "websocket.send", "text": event})

    async def _from_caller(self) -> End:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                return self._left()
            text = message.get("text")
            if text is None:
                wrong = GatewayError(
                    "invalid_request", "Send events as text; a realtime session has no binary messages."
                )
                return End("completed", UNSUPPORTED, wrong)
            self.bytes_in += len(text.encode(errors="surrogatepass"))
            try:
                event = read_client_event(text, self._model, self._may_call, self._allowed)
            except GatewayError as error:
                await self._send_error(error, _id_in(text))
                continue
            if event.kind == "response.create":
                if (refused := await self._refuse()) is not None:
                    if refused.code == "insufficient_quota":
                        return End("completed", POLICY, refused)
                    await self._send_error(refused, event.event_id)
                    continue
                self._asked += 1
                self._heard_at = monotonic()
            self._said_before += event.tokens
            await self._upstream.send(event.text)

    def _left(self) -> End:
        ending: Ending = "client_disconnected" if self._is_responding else "completed"
        return End(ending, why="hung_up")

    def _may_call(self, model: str) -> bool:
        return model in self._caller[0].grants

    async def _refuse(self) -> GatewayError | None:
        """Looks whether there is anything left; if so, takes the next response's estimate."""
        record, grant = self._caller
        if (refused := await self._quota.refuse(record, grant)) is None:
            await self._quota.reserve(grant)
        return refused

    async def _from_upstream(self) -> End:
        while True:
            message = await self._upstream.receive()
            if isinstance(message, CloseFrame):
                return self._upstream_left(message)
            self._heard_at = monotonic()
            if self.first_event_at is None:
                self.first_event_at = self._heard_at
            event = read_server_event(message, self._parts)
            self._last_was_error = event.kind == "error"
            self._has_begun = self._has_begun or not self._last_was_error
            over = await self._take(event)
            self.bytes_out += len(message.encode(errors="surrogatepass"))
            async with asyncio.timeout(SLOW_CALLER_S):
                await self._send({"type": "websocket.send", "text": message})
            if over is not None:
                return over

    async def _take(self, event: ServerEvent) -> End | None:
        """Counts one event of the model; an End, where the caller may have no more."""
        kind, refused = event.kind, None
        if kind == "error":
            self._asked = max(0, self._asked - 1)
        elif kind == "response.created":
            if not self._asked:
                # Started by the model itself, which detected speech of the caller.
                refused = await self._refuse()
            self._asked = max(0, self._asked - 1)
            self._running[event.response_id] = 0.0
        elif event.said_tokens and event.response_id in self._running:
            self._running[event.response_id] += event.said_tokens
        elif kind == "response.done":
            await self._finish(event)
            refused = await self._spent()
        elif event.usage is not None:
            await self._quota.charge(event.usage)
        if refused is None:
            return None
        if refused.code == "insufficient_quota":
            return End("completed", POLICY, refused)
        cancel = {"type": "response.cancel", "response_id": event.response_id}
        await self._upstream.send(msgspec.json.encode(cancel).decode())
        await self._send_error(refused)
        return None

    async def _finish(self, event: ServerEvent) -> None:
        said = self._running.pop(event.response_id, 0.0)
        usage = event.usage
        if usage is None and (said or event.status in ("completed", "incomplete")):
            usage, self._why = Usage(prompt_tokens=round(self._said_before), completion_tokens=round(said)), "no_usage"
        if usage is not None:
            self._said_before = float(usage.total_tokens)
            await self._quota.charge(usage)

    async def _spent(self) -> GatewayError | None:
        """The error that ends the session, if any. A rate limit is reported with the next response instead."""
        refused = await self._quota.refuse(*self._caller)
        return refused if refused is not None and refused.code == "insufficient_quota" else None

    def _upstream_left(self, close: CloseFrame) -> End:
        if not self._has_begun:
            refused = GatewayError("upstream_error", "The model server refused the session.")
            return End("refused_upstream", FAILED, refused, is_callers=False)
        if close.code in (NORMAL, GOING_AWAY) and not self._is_responding:
            return End("completed", close.code, reason=close.reason)
        broke = GatewayError("upstream_error", "The model server broke off the session.")
        return End("upstream_error", FAILED, broke, is_callers=False)

    async def _watch(self) -> End:
        while True:
            now = monotonic()
            if now - self._began_at > self._bounds.session_s:
                minutes = f"{self._bounds.session_s / 60:g}"
                over = f"The session has reached its longest duration of {minutes} minutes; open another one."
                return End("completed", GOING_AWAY, GatewayError("session_expired", over))
            if self._is_responding and now - self._heard_at > self._bounds.silence_s:
                silent = GatewayError("upstream_timeout", "The model did not answer in time.")
                return End("timeout", FAILED, silent, is_callers=False)
            try:
                self._caller = await self._current_access()
            except GatewayError as error:
                # While Postgres is unavailable the session goes on.
                if error.code != "keys_unavailable":
                    return End("completed", POLICY, error)
            if self._stopping.is_set() and not self._is_responding:
                return End("completed", RESTART, _stopped())
            await asyncio.sleep(CHECK_S)


def _stopped() -> GatewayError:
    return GatewayError("shutting_down", "The gateway restarts; open another session.")


def _id_in(text: str) -> str | None:
    """The id of an event that is refused, as far as it can be read."""
    try:
        found = msgspec.json.decode(text, type=dict[str, msgspec.Raw]).get("event_id")
        return None if found is None else msgspec.json.decode(found, type=str)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
