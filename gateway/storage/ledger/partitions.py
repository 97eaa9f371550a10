"""The ledger's months: made ahead, made for what comes late, dropped by retention. All by functions of the database's
owner, for the app's role may make and drop no tables."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from gateway.domain.ids import milliseconds_of
from gateway.storage import audit

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

AHEAD: Final = 3

ENSURE_PARTITIONS: Final = "SELECT ensure_usage_partitions($1)"
ENSURE_PARTITION: Final = "SELECT ensure_usage_partition($1)"
DETACH_PARTITION: Final = "SELECT detach_usage_partition($1)"
POSTGRES_NOW: Final = "SELECT now()"
DROP_DETACHED: Final = "SELECT drop_detached_usage_partitions()"

OLDEST_KEPT: Final = """
SELECT ((max(month) + interval '1 month') AT TIME ZONE 'UTC') FROM usage_months_dropped
"""

# A row count of -1: it was never analysed.
LIST_PARTITIONS: Final = """
SELECT c.relname AS name, c.reltuples::bigint AS rows, pg_total_relation_size(c.oid) AS bytes
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = $1::regclass ORDER BY c.relname
"""


class MonthIsGone(Exception):
    """The row's month was dropped by retention, or there is no such month: no partition is made for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One month of the ledger, or one day of response owners; `rows` is Postgres's estimate, None: none yet."""

    name: str
    rows: int | None
    bytes: int


async def ensure_partitions(pool: "Pool", ahead: int = AHEAD) -> int:
    """Makes missing partitions for `ahead` months; how many it made."""
    made: int = await pool.fetchval(ENSURE_PARTITIONS, ahead)
    return made


async def ensure_partition(pool: "Pool", request_id: UUID) -> None:
    """Makes the month of this row, however long ago; raises MonthIsGone."""
    try:
        moment = datetime.fromtimestamp(milliseconds_of(request_id) / 1000, UTC)
    except (ValueError, OverflowError):
        raise MonthIsGone("the row's id is of no year that there is") from None
    found: str = await pool.fetchval(ENSURE_PARTITION, moment)
    if found != "ready":
        why = "was dropped by retention" if found == "dropped" else "cannot be made"
        raise MonthIsGone(f"the row's month, {moment:%Y-%m}, {why}")


async def drop_old_months(pool: "Pool", *, kept: int, now: datetime, actor: str) -> list[str]:
    """Detaches and drops every month but the current one and `kept` before it, each with a line in the audit log; their
    names. What month it is, Postgres has to agree to: a clock that runs ahead would drop what is to be kept.

    Raises what Postgres raises when a month is in use for long: tried again later, what is done stays done."""
    before = months_before(min(now, await pool.fetchval(POSTGRES_NOW)), kept)
    dropped = []
    while True:
        async with pool.acquire() as connection, connection.transaction():
            name: str | None = await connection.fetchval(DETACH_PARTITION, before)
            if name is None:
                break
            month = f"{name[-6:-2]}-{name[-2:]}"
            row = audit.NewAuditRow(
                actor=actor,
                action="ledger.drop_month",
                target_kind="ledger",
                target_id=month,
                old={"partition": name, "ended_by": before},
                about=[f"ledger:{month}"],
                cause="retention of the ledger",
            )
            await audit.insert(connection, [row])
        dropped.append(name)
    await pool.execute(DROP_DETACHED)
    return dropped


def months_before(now: datetime, months: int) -> datetime:
    """The start of the month that many whole months before the current one, in UTC."""
    count = now.year * 12 + now.month - 1 - months
    return datetime(count // 12, count % 12 + 1, 1, tzinfo=UTC)


def month_of(partition: Partition) -> date:
    """Its first day."""
    return date(int(partition.name[-6:-2]), int(partition.name[-2:]), 1)


def next_month(month: date) -> date:
    """The first day after it."""
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


async def oldest_kept(executor: "Executor") -> datetime | None:
    """From when on the ledger has rows; None: nothing was dropped yet."""
    moment: datetime | None = await executor.fetchval(OLDEST_KEPT)
    return moment


async def list_partitions(executor: "Executor", table: str = "usage_logs") -> list[Partition]:
    """Of a partitioned table, oldest first."""
    return [
        Partition(name=r["name"], rows=None if r["rows"] < 0 else r["rows"], bytes=r["bytes"])
        for r in await executor.fetch(LIST_PARTITIONS, table)
    ]
