"""Load during faults: whole responses, streams, long streams, and callers who disconnect."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from time import monotonic
from typing import Final, Literal

import aiohttp
from callers import Caller

CLIENTS: Final = 10
# One client in turn: (prompt, streamed, hangs up).
KINDS: Final = (
    ("[tokens=3]", False, False),
    ("[tokens=20] [rate=60]", True, False),
    ("[tokens=3]", False, False),
    ("[tokens=40] [rate=40]", True, True),
    ("[tokens=5]", True, False),
    ("[tokens=60] [rate=40]", True, False),
)
Outcome = Literal["whole", "left", "cut"]
DONE: Final = b"data: [DONE]\n\n"


@dataclass(slots=True)
class Attempt:
    """One call as its caller saw it: `status` 0 is a connection that broke before a response; `error` is what a stream
    ended with instead of its last event."""

    mark: str
    status: int = 0
    code: str = ""
    request_id: str | None = None
    outcome: Outcome = "cut"
    error: str = ""
    began_s: float = field(default_factory=monotonic)
    ended_s: float = 0.0


class Load:
    """CLIENTS callers of one account, each with sequential calls, until stopped."""

    def __init__(self, caller: Caller, prefix: str, *, clients: int = CLIENTS, kinds: tuple[int, ...] = ()) -> None:
        self._caller = caller
        self._prefix = prefix
        self._kinds = [KINDS[n] for n in kinds] or list(KINDS)
        self._is_on = True
        self._numbers = count(1)
        self.attempts: list[Attempt] = []
        self._tasks = [asyncio.create_task(self._call_on(n)) for n in range(clients)]

    async def _call_on(self, number: int) -> None:
        while self._is_on:
            prompt, is_streamed, hangs_up = self._kinds[number % len(self._kinds)]
            number += 1
            attempt = Attempt(f"{self._prefix}.{next(self._numbers)}")
            self.attempts.append(attempt)
            await self._call(attempt, f"Hello {prompt} [mark={attempt.mark}]", is_streamed, hangs_up)
            attempt.ended_s = monotonic()
            if attempt.status != 200:
                await asyncio.sleep(0.1)

    async def _call(self, attempt: Attempt, prompt: str, is_streamed: bool, hangs_up: bool) -> None:
        try:
            async with self._caller.open_chat(prompt, stream=is_streamed or None) as answer:
                attempt.status = answer.status
                attempt.request_id = answer.headers.get("x-request-id")
                if answer.status != 200:
                    attempt.code = str((await answer.json())["error"]["code"])
                elif hangs_up:
                    await answer.content.readany()
                    attempt.outcome = "left"
                    return
                else:
                    body = await answer.read()
                    if is_streamed and not body.endswith(DONE):
                        attempt.error = body[-200:].decode(errors="replace")
                attempt.outcome = "whole"
        except (aiohttp.ClientError, TimeoutError):
            attempt.outcome = "cut"

    def move(self, url: str) -> None:
        """New calls go to this URL."""
        self._caller = self._caller.at(url)

    async def stop(self) -> None:
        """Returns when the last call has ended."""
        self._is_on = False
        await asyncio.gather(*self._tasks)

    async def cancel(self) -> None:
        """Cancels the calls in flight. May follow `stop`."""
        self._is_on = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def statuses(self, since: int = 0) -> Counter[tuple[int, str]]:
        """(status, code) of the calls from the `since`th on."""
        return Counter((attempt.status, attempt.code) for attempt in self.attempts[since:])
