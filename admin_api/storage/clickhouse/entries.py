"""The table of ClickHouse, and how it is compared with the ledger and sent what it lacks.

An entry is a call of the ledger, or one of the two rows of a correction, as what it adds to the sums (the view
usage_as_sums): who, what, how it ended, every one of SUMS and the latencies; no text that a person wrote. It is known
by its id, so that it may be sent any number of times. `version` is 0 for the estimate of a reaped call and 1 for
everything else, so that the real row goes before the estimate, in whatever order they come.

There is no list of changes and nothing to lose: quarters of an hour whose sums differ from the rollup of all calls are
sent. Between two rows of a call, or one more or less, a sum always differs: `calls` counts rows, `timed_calls` those
that are no estimate, and corrections are counted.
"""

import time
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from admin_api.storage.clickhouse.link import DELETE_SETTINGS
from gateway.storage.ledger.closed_days import CLOSED_UNTIL
from gateway.storage.ledger.rollups import COUNT_BITS, SUMS

if TYPE_CHECKING:
    from admin_api.storage.clickhouse.link import ClickHouse
    from gateway.storage.postgres import Executor

TABLE: Final = "usage_entries"
STATE: Final = "usage_entries_state"
QUARTER: Final = timedelta(minutes=15)
# Entries of a quarter are compared by so many milliseconds: what is sent again with a new one.
SLICE_MS: Final = 10_000
KEY: Final = ("account_id", "user_id", "api_key_id", "model_id", "ending", "error_class")
COLUMNS: Final = ("quarter", "entry_id", "at_ms", "version", *KEY, *SUMS, "latencies")
# Names of moments that the table of states keeps: when everything that was in the ledger was in ClickHouse; when all
# of its history was last compared.
COMPLETE: Final = "complete"
COMPARED: Final = "compared"


ENGINE: Final = "ReplacingMergeTree(version)"


def create_statements(engine: str = ENGINE) -> list[str]:
    """The tables, and columns that came later. Another engine, as ReplicatedReplacingMergeTree, is given with its
    arguments."""
    sums = ",\n    ".join(f"{name} Int64" for name in SUMS)
    return [
        f"CREATE TABLE IF NOT EXISTS {TABLE} (\n"
        "    quarter DateTime('UTC'),\n"
        "    entry_id UUID,\n"
        "    at_ms Int64,\n"
        "    at DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(at_ms),\n"
        "    version UInt8,\n"
        "    account_id Int64,\n    user_id Int64,\n    api_key_id Int64,\n    model_id Int64,\n"
        "    ending LowCardinality(String),\n    error_class LowCardinality(String),\n"
        f"    {sums},\n"
        "    latencies Array(Int64)\n"
        f") ENGINE = {engine}\nPARTITION BY toYYYYMM(quarter)\nORDER BY (quarter, entry_id)",
        f"ALTER TABLE {TABLE} " + ", ".join(f"ADD COLUMN IF NOT EXISTS {name} Int64" for name in SUMS),
        f"CREATE TABLE IF NOT EXISTS {STATE} (\n"
        "    name LowCardinality(String),\n    at_ms Int64,\n    version UInt64\n"
        f") ENGINE = {engine.replace(TABLE, STATE)}\nORDER BY name",
    ]


class Totals(NamedTuple):
    """What a quarter of an hour adds up to: how many entries, and each of SUMS. The entries are not known of a quarter
    whose rows were dropped by retention, or are written as sums."""

    entries: int
    sums: tuple[int, ...]


NO_TOTALS: Final = Totals(0, (0,) * len(SUMS))

_SUMS: Final = ", ".join(SUMS)
# Of the rollup of all calls; a correction is two entries, or one, and adds less to `calls`.
TOTALS_OF_LEDGER: Final = f"""
SELECT q.started_at AS quarter, q.calls + coalesce(c.more, 0) AS entries, {", ".join(f"q.{name}" for name in SUMS)}
FROM usage_all_quarter_hours q LEFT JOIN (
    SELECT date_bin('15 minutes', made_at, '2000-01-01Z') AS quarter, count(*) - sum(sign)::bigint AS more
    FROM ledger_corrections WHERE id >= uuid7_floor($1) AND id < uuid7_floor($2) GROUP BY 1) AS c
    ON c.quarter = q.started_at
WHERE q.started_at >= $1 AND q.started_at < $2
"""
_BETWEEN: Final = "quarter >= toDateTime({first:Int64}, 'UTC') AND quarter < toDateTime({last:Int64}, 'UTC')"
CLICKHOUSE_TOTALS_OF_ENTRIES: Final = f"""
SELECT toInt64(toUnixTimestamp(quarter)) AS quarter, toInt64(count()) AS entries,
    {", ".join(f"sum(e.{name}) AS {name}" for name in SUMS)}
FROM {TABLE} AS e WHERE {_BETWEEN}
GROUP BY quarter
"""

_ID_MS: Final = "('x' || left(replace(request_id::text, '-', ''), 12))::bit(48)::bigint"
_IN_QUARTER: Final = "request_id >= uuid7_floor($1) AND request_id < uuid7_floor($2)"
SLICES_OF_LEDGER: Final = f"""
SELECT {_ID_MS} / {SLICE_MS} AS slice, count(*) AS entries, usage_sum(timed_calls) AS timed
FROM usage_as_sums WHERE {_IN_QUARTER} GROUP BY 1
"""
CLICKHOUSE_SLICES_OF_ENTRIES: Final = f"""
SELECT intDiv(at_ms, {SLICE_MS}) AS slice, toInt64(count()) AS entries, sum(timed_calls) AS timed
FROM {TABLE} WHERE quarter = toDateTime({{quarter:Int64}}, 'UTC') GROUP BY slice
"""

_AS_LINE: Final = (
    f"{', '.join(KEY)}, {', '.join(SUMS)}, '[' || array_to_string(latencies, ',') || ']'"  # as ClickHouse reads arrays
)
READ_ENTRIES: Final = f"""
SELECT extract(epoch FROM started_at)::bigint, request_id, {_ID_MS}, (timed_calls <> 0)::integer, {_AS_LINE}
FROM usage_as_sums WHERE {_IN_QUARTER}
"""
# Of a month whose rows were dropped only the sums are left: each is one entry, whose id is made of its key.
READ_SUMS: Final = f"""
SELECT extract(epoch FROM started_at)::bigint,
    md5(concat_ws('/', extract(epoch FROM started_at)::bigint, {", ".join(KEY)}))::uuid,
    extract(epoch FROM started_at)::bigint * 1000, 1, {_AS_LINE}
FROM usage_quarter_hours WHERE started_at >= $1 AND started_at < $2
"""
CLICKHOUSE_DELETE: Final = f"DELETE FROM {TABLE} WHERE {_BETWEEN}"

BOUNDS_OF_LEDGER: Final = """
SELECT min(started_at) AS first, max(started_at) AS last FROM usage_all_quarter_hours
"""
DROPPED_MONTHS: Final = """
SELECT month FROM usage_months_dropped
"""
CLICKHOUSE_READ_STATE: Final = f"SELECT name, at_ms FROM {STATE}"


async def totals_of_ledger(executor: "Executor", first: datetime, last: datetime) -> dict[datetime, Totals]:
    """Of each quarter in [first, last) that has any."""
    rows = await executor.fetch(TOTALS_OF_LEDGER, first, last)
    return {row["quarter"]: Totals(row["entries"], tuple(row[name] for name in SUMS)) for row in rows}


async def totals_of_entries(clickhouse: "ClickHouse", first: datetime, last: datetime) -> dict[datetime, Totals]:
    """The same, as ClickHouse has them."""
    rows = await clickhouse.query(CLICKHOUSE_TOTALS_OF_ENTRIES, {"first": _seconds(first), "last": _seconds(last)})
    return {
        datetime.fromtimestamp(row["quarter"], UTC): Totals(row["entries"], tuple(row[name] for name in SUMS))
        for row in rows
    }


async def bounds_of_ledger(executor: "Executor") -> tuple[datetime, datetime] | None:
    """The first and the last quarter that has sums; None: no call yet."""
    row = await executor.fetchrow(BOUNDS_OF_LEDGER)
    return None if row is None or row["first"] is None else (row["first"], row["last"])


async def closed_until(executor: "Executor") -> datetime | None:
    """The end of the last sealed day; None: none is sealed."""
    moment: datetime | None = await executor.fetchval(CLOSED_UNTIL)
    return moment


async def dropped_months(executor: "Executor") -> frozenset[date]:
    """The first days of the months whose rows retention has dropped."""
    return frozenset(row["month"] for row in await executor.fetch(DROPPED_MONTHS))


async def delete(clickhouse: "ClickHouse", first: datetime, last: datetime) -> None:
    """All entries of [first, last), starts of quarters. When this returns they are gone."""
    await clickhouse.command(CLICKHOUSE_DELETE, {"first": _seconds(first), "last": _seconds(last)}, DELETE_SETTINGS)


class Slice(NamedTuple):
    """Some seconds of a quarter, from `start` up to `end`."""

    start: datetime
    end: datetime


async def slices_to_send(executor: "Executor", clickhouse: "ClickHouse", quarter: datetime) -> tuple[list[Slice], bool]:
    """What ClickHouse lacks of a quarter, and whether it has entries that the ledger does not have."""
    own = {
        row["slice"]: (row["entries"], row["timed"])
        for row in await executor.fetch(SLICES_OF_LEDGER, quarter, quarter + QUARTER)
    }
    found = {
        row["slice"]: (row["entries"], row["timed"])
        for row in await clickhouse.query(CLICKHOUSE_SLICES_OF_ENTRIES, {"quarter": _seconds(quarter)})
    }
    has_others = any(counts[0] > own.get(number, (0, 0))[0] for number, counts in found.items())
    differing = sorted(number for number, counts in own.items() if found.get(number) != counts)
    slices: list[Slice] = []
    for number in differing:
        start, end = (datetime.fromtimestamp(one * SLICE_MS / 1000, UTC) for one in (number, number + 1))
        if slices and slices[-1].end == start:
            slices[-1] = Slice(slices[-1].start, end)
        else:
            slices.append(Slice(start, end))
    return slices, has_others


async def read_state(clickhouse: "ClickHouse") -> dict[str, datetime]:
    """When things were done: COMPLETE, COMPARED; none of what was not, or has to be again."""
    rows = await clickhouse.answer(CLICKHOUSE_READ_STATE)
    return {row["name"]: datetime.fromtimestamp(row["at_ms"] / 1000, UTC) for row in rows if row["at_ms"]}


async def write_state(clickhouse: "ClickHouse", name: str, at: datetime) -> None:
    """Notes when something was done; the epoch: it was not."""
    line = f"{name}\t{int(at.timestamp() * 1000)}\t{time.time_ns()}\n"
    await clickhouse.insert(STATE, ("name", "at_ms", "version"), line.encode())


# Sums of a day by the finest key, of both sides; latencies as a number that another bucket of any call changes.
_BUCKET: Final = f"(bitShiftRight(e, {COUNT_BITS}) + 1)"
CLICKHOUSE_DAY_OF_ENTRIES: Final = f"""
SELECT {", ".join(KEY)}, {", ".join(f"sum(t.{name}) AS {name}" for name in SUMS)},
    sum(arraySum(e -> bitAnd(e, {(1 << COUNT_BITS) - 1}) * {_BUCKET} * {_BUCKET} * {_BUCKET}, latencies)
        ) AS latency
FROM {TABLE} AS t WHERE {_BETWEEN}
GROUP BY {", ".join(KEY)}
"""
_PG_BUCKET: Final = f"((e >> {COUNT_BITS}) + 1)"
DAY_OF_LEDGER: Final = f"""
SELECT {", ".join(KEY)}, {_SUMS}, coalesce((SELECT sum((e & {(1 << COUNT_BITS) - 1}) * {_PG_BUCKET} * {_PG_BUCKET}
    * {_PG_BUCKET}) FROM unnest(latencies) AS e), 0) AS latency
FROM usage_days WHERE day = $1
"""


async def compare_day(executor: "Executor", clickhouse: "ClickHouse", day: date) -> tuple[int, int]:
    """How many sums of one UTC day by account, user, key, model and ending there are, and how many differ."""
    first = datetime(day.year, day.month, day.day, tzinfo=UTC)
    bounds = {"first": _seconds(first), "last": _seconds(first + timedelta(days=1))}
    own = _by_key(await executor.fetch(DAY_OF_LEDGER, day))
    found = _by_key(await clickhouse.query(CLICKHOUSE_DAY_OF_ENTRIES, bounds))
    keys = own.keys() | found.keys()
    return len(keys), sum(own.get(key) != found.get(key) for key in keys)


def _by_key(rows: Any) -> dict[tuple[Any, ...], tuple[int, ...]]:
    """Without what adds up to nothing."""
    values = (*SUMS, "latency")
    sums = {tuple(row[name] for name in KEY): tuple(row[name] for name in values) for row in rows}
    return {key: amounts for key, amounts in sums.items() if any(amounts)}


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())
