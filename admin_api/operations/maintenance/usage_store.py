"""Feeds ClickHouse from the ledger, by comparing both; and what operators ask about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from admin_api import metrics
from admin_api.operations.actors import Actor, note, require_admin, require_reader
from admin_api.operations.validation import invalid
from admin_api.storage.clickhouse import entries
from admin_api.storage.clickhouse.blocks import Blocks
from admin_api.storage.clickhouse.entries import COMPARED, COMPLETE, NO_TOTALS, QUARTER, Totals
from admin_api.storage.clickhouse.locks import become_feeder, lock_entries, share_entries, wait_to_feed
from gateway.domain.rollup_ranges import ceiling, floor

if TYPE_CHECKING:
    from admin_api.storage.clickhouse.link import ClickHouse
    from gateway.storage.postgres import Executor, Pool

# How often all of history is compared.
COMPARE_EVERY: Final = timedelta(days=1)
# Of one transaction, which holds back Postgres's clean-up.
MAX_SENT: Final = 500_000
MAX_DAYS: Final = 36_500
# Rows of a clock that runs ahead.
AHEAD: Final = timedelta(days=2)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
TIMEOUT: Final = "SET LOCAL statement_timeout = '10min'"


@dataclass(slots=True)
class Feeder:
    """What one program remembers between two runs, only so that it asks less."""

    clickhouse: "ClickHouse"
    # Sums that ClickHouse was seen to have.
    seen: dict[datetime, Totals] = field(default_factory=dict)
    # The month that is compared next, from the newest to the oldest; None: none is due.
    month: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fed:
    """What a run sent. `has_more`: another run has something to do at once."""

    sent: int
    has_more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageStoreStatus:
    """`complete_at`: ClickHouse has everything that was in the ledger then; `compared_at`: when all of its history was
    last compared; None: not yet. `missing` entries of the days that are not sealed, in `quarters` quarters, are not
    there now."""

    complete_at: datetime | None
    compared_at: datetime | None
    missing: int
    quarters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageStoreCheck:
    """How many sums by account, user, key, model and ending were compared, and the days on which some differ, with how
    many."""

    days: int
    sums: int
    differing: tuple[tuple[date, int], ...]


async def create_tables(pool: "Pool", actor: Actor, clickhouse: "ClickHouse", engine: str) -> None:
    """The tables in ClickHouse; those that are there stay. Raises ClickHouseFailed."""
    require_admin(actor)
    for statement in entries.create_statements(engine):
        await clickhouse.command(statement)
    async with pool.acquire() as connection:
        await note(connection, actor, "usage_store.init", "usage_store", clickhouse.database)


async def feed(pool: "Pool", feeder: Feeder) -> Fed | None:
    """Sends what ClickHouse lacks; None: another program is feeding. Whatever fails is done again by the next run.
    Raises ClickHouseFailed."""
    # Before the snapshot of the transaction, so that all of it is sent.
    now = datetime.now(UTC)
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
        if not await become_feeder(connection):
            return None
        await connection.execute(TIMEOUT)
        compared_at = (await entries.read_state(feeder.clickhouse)).get(COMPARED)
        if compared_at is None:
            feeder.seen.clear()
        if feeder.month is None and (compared_at is None or now - compared_at > COMPARE_EVERY):
            feeder.month = floor(now, "month")
        sender = _Sender(connection, feeder.clickhouse)
        await _feed_recent(sender, feeder, now)
        has_all_recent = sender.has_all
        if feeder.month is not None and has_all_recent:
            feeder.month = await _feed_month(sender, feeder.month, now)
            compared_at = now if feeder.month is None else compared_at
        if has_all_recent and compared_at is not None:
            await entries.write_state(feeder.clickhouse, COMPLETE, now)
            metrics.USAGE_STORE_TIME.set(now.timestamp())
    metrics.USAGE_STORE_SENT.inc(sender.sent)
    return Fed(sent=sender.sent, has_more=not sender.has_all or feeder.month is not None)


async def _feed_recent(sender: "_Sender", feeder: Feeder, now: datetime) -> None:
    """Quarters of open days whose sums are not those that ClickHouse was seen to have."""
    first, last = await _open_days(sender.executor, now)
    wanted = await entries.totals_of_ledger(sender.executor, first, last)
    changed = [quarter for quarter, totals in wanted.items() if feeder.seen.get(quarter) != totals]
    if feeder.seen:
        feeder.seen = {quarter: totals for quarter, totals in feeder.seen.items() if quarter >= first}
        if not changed:
            metrics.USAGE_STORE_MISSING.set(0)
            return
        first, last = min(changed), max(changed) + QUARTER
    found = await entries.totals_of_entries(feeder.clickhouse, first, last)
    differing = _differing(wanted, found, first, last)
    feeder.seen.update({quarter: wanted[quarter] for quarter in changed if quarter not in differing})
    metrics.USAGE_STORE_MISSING.set(_missing(wanted, found, differing))
    await sender.send(differing, found)


async def _open_days(executor: "Executor", now: datetime) -> tuple[datetime, datetime]:
    """The days that are not sealed. Others stay as they are: what comes for them is a correction of its own day."""
    return await entries.closed_until(executor) or EPOCH, ceiling(now + AHEAD, "day")


async def _feed_month(sender: "_Sender", month: datetime, now: datetime) -> datetime | None:
    """One month of history; the month that is compared next. None: this was the last one."""
    bounds = await entries.bounds_of_ledger(sender.executor)
    is_last = bounds is None or month <= bounds[0]
    first, last = EPOCH if is_last else month, ceiling(month + QUARTER, "month")
    wanted = await entries.totals_of_ledger(sender.executor, first, last)
    found = await entries.totals_of_entries(sender.clickhouse, first, last)
    dropped = await entries.dropped_months(sender.executor)
    await sender.send(_differing(wanted, found, first, last, dropped), found, dropped)
    if not sender.has_all:
        return month
    if not is_last:
        return floor(month - QUARTER, "month")
    await entries.write_state(sender.clickhouse, COMPARED, now)
    return None


def _differing(
    wanted: Mapping[datetime, Totals],
    found: Mapping[datetime, Totals],
    first: datetime,
    last: datetime,
    dropped: frozenset[date] = frozenset(),
) -> list[datetime]:
    """Quarters in [first, last) of which ClickHouse has something else. Of dropped months only the sums are known."""

    def has_same(quarter: datetime) -> bool:
        own, its = wanted.get(quarter, NO_TOTALS), found.get(quarter, NO_TOTALS)
        return own == its or (own.sums == its.sums and month_of(quarter) in dropped)

    return sorted(one for one in wanted.keys() | found.keys() if first <= one < last and not has_same(one))


def _missing(wanted: Mapping[datetime, Totals], found: Mapping[datetime, Totals], differing: Sequence[datetime]) -> int:
    """Entries; a quarter that has as many, and others, counts one."""
    return sum(max(1, wanted.get(one, NO_TOTALS).entries - found.get(one, NO_TOTALS).entries) for one in differing)


def month_of(quarter: datetime) -> date:
    """The first day of its month, in UTC."""
    return quarter.date().replace(day=1)


class _Sender:
    """Sends quarters within one transaction, until it has sent MAX_SENT entries."""

    def __init__(self, executor: "Executor", clickhouse: "ClickHouse") -> None:
        self.executor = executor
        self.clickhouse = clickhouse
        self.has_all = True
        self._blocks = Blocks(clickhouse)

    @property
    def sent(self) -> int:
        """How many entries."""
        return self._blocks.count

    async def send(
        self, quarters: Sequence[datetime], found: Mapping[datetime, Totals], dropped: frozenset[date] = frozenset()
    ) -> None:
        """What ClickHouse lacks of these; what it should not have is deleted."""
        if quarters:
            await lock_entries(self.executor)
        for quarter in quarters:
            if self.sent >= MAX_SENT:
                self.has_all = False
                break
            is_there = found.get(quarter, NO_TOTALS).entries > 0
            if month_of(quarter) in dropped:
                await self._replace(quarter, entries.READ_SUMS, is_there=is_there)
            elif not is_there:
                await self._replace(quarter, entries.READ_ENTRIES, is_there=False)
            else:
                await self._complete(quarter)
        await self._blocks.flush()

    async def _complete(self, quarter: datetime) -> None:
        slices, has_others = await entries.slices_to_send(self.executor, self.clickhouse, quarter)
        if has_others or not slices:
            # Entries that the ledger has not, or other sums of the same entries.
            await self._replace(quarter, entries.READ_ENTRIES, is_there=True)
        else:
            for start, end in slices:
                await self._blocks.read(self.executor, entries.READ_ENTRIES, start, end)

    async def _replace(self, quarter: datetime, statement: str, *, is_there: bool) -> None:
        if is_there:
            await entries.delete(self.clickhouse, quarter, quarter + QUARTER)
        await self._blocks.read(self.executor, statement, quarter, quarter + QUARTER)


async def read_status(pool: "Pool", actor: Actor, clickhouse: "ClickHouse") -> UsageStoreStatus:
    """How far ClickHouse is. Raises ClickHouseFailed."""
    require_reader(actor)
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        first, last = await _open_days(connection, datetime.now(UTC))
        state = await entries.read_state(clickhouse)
        wanted = await entries.totals_of_ledger(connection, first, last)
    found = await entries.totals_of_entries(clickhouse, first, last)
    differing = _differing(wanted, found, first, last)
    return UsageStoreStatus(
        complete_at=state.get(COMPLETE),
        compared_at=state.get(COMPARED),
        missing=_missing(wanted, found, differing),
        quarters=len(differing),
    )


async def verify_usage_store(pool: "Pool", actor: Actor, clickhouse: "ClickHouse", *, days: int) -> UsageStoreCheck:
    """Compares ClickHouse with the rollups, every sum of the last `days` UTC days by account, user, key, model and
    ending, while nothing is sent. What came to the ledger since the last run differs. Raises ClickHouseFailed, and
    GatewayError `validation_failed`."""
    require_reader(actor)
    if not 1 <= days <= MAX_DAYS:
        raise invalid("days", f"days must be a number from 1 to {MAX_DAYS}.")
    today = datetime.now(UTC).date()
    count, differing = 0, []
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        await share_entries(connection)
        for day in (today - timedelta(days=number) for number in reversed(range(days))):
            sums, others = await entries.compare_day(connection, clickhouse, day)
            count += sums
            if others:
                differing.append((day, others))
    return UsageStoreCheck(days=days, sums=count, differing=tuple(differing))


async def rebuild_days(pool: "Pool", actor: Actor, clickhouse: "ClickHouse", *, first: date, last: date) -> int:
    """Deletes the entries of the UTC days from `first` to `last`, inclusive, and sends them again; how many were sent.
    Meanwhile usage questions are answered from Postgres. Raises ClickHouseFailed, and GatewayError
    `validation_failed`."""
    require_admin(actor)
    if last < first:
        raise invalid("to", "to must not be earlier than from.")
    start, end = (datetime(day.year, day.month, day.day, tzinfo=UTC) for day in (first, last + timedelta(days=1)))
    async with pool.acquire() as connection, connection.transaction():
        await wait_to_feed(connection)
        # In this order: who reads now sees the state before, and who feeds next compares everything.
        await entries.write_state(clickhouse, COMPLETE, EPOCH)
        await entries.write_state(clickhouse, COMPARED, EPOCH)
        await lock_entries(connection)
        await entries.delete(clickhouse, start, end)
        await note(connection, actor, "usage_store.rebuild", "usage_store", f"{first}/{last}")
    return await feed_all(pool, clickhouse)


async def feed_once(pool: "Pool", actor: Actor, clickhouse: "ClickHouse") -> int:
    """As `feed_all`, for somebody who may change what belongs to anyone."""
    require_admin(actor)
    return await feed_all(pool, clickhouse)


async def feed_all(pool: "Pool", clickhouse: "ClickHouse") -> int:
    """Runs until nothing is missing, or another program feeds; how many entries were sent."""
    feeder, sent = Feeder(clickhouse), 0
    while (fed := await feed(pool, feeder)) is not None:
        sent += fed.sent
        if not fed.has_more:
            break
    return sent
