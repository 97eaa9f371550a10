"""Which answers of Redis to the marks of a worker mean that data were lost."""

from typing import Any

import pytest

from gateway.storage.counters import data_marks
from gateway.storage.counters.data_marks import LIVES_MS, DataMarks
from gateway.storage.redis.link import Argument, NotRun, Script


class Servers:
    """Some primaries, by the end of their mark's key."""

    is_connected = True

    def __init__(self) -> None:
        self.marks: dict[str, dict[str, bytes]] = {"a": {}, "b": {}}
        self.away: set[str] = set()

    def keys_of_primaries(self, prefix: str) -> list[str]:
        return [prefix + name for name in self.marks]

    async def command(self, *args: Argument) -> Any:
        key = str(args[1])
        if key[-1] in self.away:
            raise NotRun("it is away")
        held, self.marks[key[-1]][key] = self.marks[key[-1]].get(key), b"1"
        return held

    async def run(self, script: Script, key: str, *args: Argument) -> Any: ...

    async def open(self) -> None: ...

    async def close(self) -> None: ...


class Looks:
    """A worker's looks, by a clock of their own; `lost` counts the losses that were found."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.servers, self.lost, self.now_s = Servers(), 0, 1000.0
        self.marks = DataMarks(self.servers, self._count)
        monkeypatch.setattr(data_marks, "monotonic", lambda: self.now_s)

    def _count(self) -> None:
        self.lost += 1

    async def after(self, seconds: float = 2.0) -> int:
        """How many losses this look finds."""
        self.now_s, before = self.now_s + seconds, self.lost
        await self.marks.look()
        return self.lost - before


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    return Looks(monkeypatch)


@pytest.mark.parametrize("emptied", ["a", "b"])
async def test_a_mark_that_is_gone_is_one_loss(emptied: str, looks: Looks) -> None:
    assert [await looks.after() for _ in range(3)] == [0, 0, 0]
    looks.servers.marks[emptied].clear()
    assert [await looks.after() for _ in range(2)] == [1, 0]


async def test_all_primaries_that_are_empty_are_one_loss(looks: Looks) -> None:
    await looks.after()
    for marks in looks.servers.marks.values():
        marks.clear()
    assert await looks.after() == 1


async def test_a_mark_that_may_have_expired_is_no_loss(looks: Looks) -> None:
    await looks.after()
    for marks in looks.servers.marks.values():
        marks.clear()
    assert await looks.after(LIVES_MS / 1000) == 0


async def test_a_primary_that_is_away_keeps_no_other_from_being_looked_at(looks: Looks) -> None:
    await looks.after()
    looks.servers.away.add("a")
    assert await looks.after() == 0
    looks.servers.marks["b"].clear()
    assert await looks.after() == 1
    # It comes back with its data, then without.
    looks.servers.away.clear()
    assert await looks.after() == 0
    looks.servers.marks["a"].clear()
    assert await looks.after() == 1


async def test_a_primary_that_is_new_has_lost_nothing(looks: Looks) -> None:
    await looks.after()
    looks.servers.marks = {"a": looks.servers.marks["a"], "c": {}}
    assert await looks.after() == 0
    # And one that comes back after its mark was forgotten.
    looks.servers.marks["b"] = {}
    assert await looks.after() == 0
