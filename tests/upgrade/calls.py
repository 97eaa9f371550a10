"""Callers during an upgrade: steady ones, for whom no call may fail, and those whose limits are nearly used up."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

import aiohttp
from callers import Caller
from end_to_end.asking import CHAT, CLAUDE, MESSAGES, Route, opened

# Of one client in turn: plain and streaming, in both dialects, some longer than it takes to replace a gateway.
KINDS: Final[tuple[tuple[Route, bool, str], ...]] = (
    (CHAT, False, "[tokens=3]"),
    (MESSAGES, True, "[tokens=20] [rate=40]"),
    (CLAUDE, False, "[tokens=3]"),
    (CHAT, True, "[tokens=20] [rate=40]"),
    (CLAUDE, True, "[tokens=60] [rate=15]"),
    (CHAT, True, "[tokens=60] [rate=15]"),
)
PAUSE_S: Final = 0.05


@dataclass(slots=True)
class Attempt:
    """One call as its caller saw it: `status` 0 is a connection that broke before a response. `began` and `ended`
    are the first and last byte of the answer."""

    mark: str
    status: int = 0
    request_id: str | None = None
    problem: str = ""
    began: float = 0.0
    ended: float = 0.0


class Calls:
    """Sequential calls of so many clients of one account, until stopped. `kinds` are indexes into KINDS."""

    def __init__(
        self, caller: Caller, prefix: str, *, clients: int, kinds: Sequence[int] = range(len(KINDS)), **fields: object
    ) -> None:
        self.caller = caller
        self.prefix = prefix
        self.attempts: list[Attempt] = []
        self._kinds = [KINDS[n] for n in kinds]
        self._fields = fields
        self._is_on = True
        self._numbers = count(1)
        self._tasks = [asyncio.create_task(self._keep_calling(n)) for n in range(clients)]

    @property
    def answered(self) -> set[str]:
        """Request ids of the calls that were served."""
        return {one.request_id for one in self.attempts if one.status == 200 and one.request_id}

    def take_failed(self) -> dict[str, int]:
        """Answers since the last time that no caller should see, whatever the limits are."""
        failed = [one for one in self.attempts if one.problem and one.status != 429]
        found = Counter(one.problem for one in failed)
        for one in failed:
            one.problem = ""
        return dict(found)

    def most_at_once(self) -> int:
        """Answers that were open at the same time."""
        edges = [(one.began, 1) for one in self.attempts if one.began]
        edges += [(one.ended, -1) for one in self.attempts if one.began]
        now = most = 0
        for _, step in sorted(edges):
            now += step
            most = max(most, now)
        return most

    async def stop(self) -> None:
        """Returns when the last call has ended."""
        self._is_on = False
        await asyncio.gather(*self._tasks)

    async def cancel(self) -> None:
        """May follow `stop`."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep_calling(self, number: int) -> None:
        while self._is_on:
            kind = self._kinds[number % len(self._kinds)]
            number += 1
            attempt = Attempt(f"{self.prefix}.{next(self._numbers)}")
            self.attempts.append(attempt)
            try:
                await self._call(attempt, *kind)
            except (aiohttp.ClientError, TimeoutError) as exc:
                attempt.problem = f"cut: {exc!r}"
            attempt.ended = time.monotonic()
            await asyncio.sleep(PAUSE_S)

    async def _call(self, attempt: Attempt, route: Route, is_streamed: bool, prompt: str) -> None:
        fields = self._fields | ({"stream": True} if is_streamed else {})
        async with opened(self.caller, route, f"Hello {prompt} [mark={attempt.mark}]", **fields) as answer:
            attempt.status = answer.status
            attempt.request_id = answer.headers.get("x-request-id")
            if answer.status == 200:
                attempt.began = time.monotonic()
            body = await answer.read()
            if not is_whole(route, answer.status, body, is_streamed=is_streamed):
                attempt.problem = f"{answer.status}: {body[-200:]!r}"


def is_whole(route: Route, status: int, body: bytes, *, is_streamed: bool) -> bool:
    """Whether the answer has its end and no error in it."""
    if status != 200 or b'"error"' in body:
        return False
    if not is_streamed:
        return body.endswith(b"}")
    return b"event: message_stop" in body if route.name == "messages" else body.endswith(b"data: [DONE]\n\n")
