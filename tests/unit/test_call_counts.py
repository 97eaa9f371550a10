"""What one call costs in counts, which no other load of the machine changes: tasks, timers, Redis scripts, Postgres
statements and lines of the access log."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from loadtests import own_cost_call

CALLS = 20


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts the tasks and timers that are made."""

    def __init__(self) -> None:
        super().__init__()
        self.made: Counter[str] = Counter()

    def create_task(self, work: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
        self.made["tasks"] += 1
        return super().create_task(work, **options)

    def call_at(self, when: float, callback: Any, *args: Any, **options: Any) -> asyncio.TimerHandle:
        self.made["timers"] += 1
        return super().call_at(when, callback, *args, **options)


async def count(folder: Path, monkeypatch: pytest.MonkeyPatch, events: int) -> dict[str, float]:
    """Of each of some calls that follow others."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, CountingLoop)
    ran = own_cost_call.Scripts.run

    async def run(self: Any, script: Any, key: str, *args: Any) -> Any:
        loop.made[script.name] += 1
        return await ran(self, script, key, *args)

    monkeypatch.setattr(own_cost_call.Scripts, "run", run)
    upstream = own_cost_call.Upstream()
    upstream.pieces, upstream.content_type = own_cost_call.answer(events)
    sent = own_cost_call.body(streams=events > 0)
    async with own_cost_call.open_app(folder, upstream) as app:
        for _ in range(3):
            await own_cost_call.call(app, sent)
        loop.made.clear()
        lines = len(app.worker.access_log._lines)
        for _ in range(CALLS):
            await own_cost_call.call(app, sent)
        counts = {name: number / CALLS for name, number in loop.made.items()}
        counts["lines"] = (len(app.worker.access_log._lines) - lines) / CALLS
    return counts


@pytest.mark.parametrize("events", [0, 100])
def test_a_call_makes_exactly_these(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: int) -> None:
    """The task settles, after the answer; the timer looks whether the caller has left. Postgres has no part in it:
    its stand-in answers no statement, so that one would fail the call."""
    loop = CountingLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        counts = runner.run(count(tmp_path, monkeypatch, events))

    assert counts == {"reserve": 1, "settle": 1, "tasks": 1, "timers": 1, "lines": 1}
