"""Queries the rollups: sums, sums by time, sums by one thing or another, and latencies. No row of the ledger is read.

A query is cut into ranges (gateway/domain/rollup_ranges.py) of the family of tables that is smallest for it
(admin_api/storage/usage/rollup_tables.py).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from admin_api.storage.usage.range_selects import Query, select_ranges
from admin_api.storage.usage.rollup_tables import GroupedBy, RollupTables, Selection
from gateway.domain.rollup_ranges import Range, cut
from gateway.storage.ledger.rollups import COUNT_BITS, FIRST_BYTE

if TYPE_CHECKING:
    import asyncpg

    from gateway.storage.postgres import Executor

Order = Literal["cost", "calls", "tokens", "prompt_tokens", "completion_tokens", "errors"]


ORDERS_SQL: Final[dict[Order, str]] = {
    "cost": "cost_nano_usd",
    "calls": "calls",
    "tokens": "prompt_tokens + completion_tokens",
    "prompt_tokens": "prompt_tokens",
    "completion_tokens": "completion_tokens",
    "errors": "calls - completed_calls - hung_up_calls",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageSums:
    """What some calls add up to; tokens as in a row of the ledger, money in nano-USD, times in ms."""

    calls: int = 0
    completed_calls: int = 0
    hung_up_calls: int = 0
    estimated_calls: int = 0
    unpriced_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nano_usd: int = 0
    timed_calls: int = 0
    total_ms: int = 0
    first_byte_calls: int = 0
    first_byte_ms: int = 0
    own_cost_nano_usd: int = 0
    litellm_cost_nano_usd: int = 0

    @property
    def tokens(self) -> int:
        """Of prompts and completions."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def failed_calls(self) -> int:
        """Those that did not complete, although their caller stayed."""
        return self.calls - self.completed_calls - self.hung_up_calls

    @property
    def mean_total_ms(self) -> int | None:
        """Of the calls whose duration is known; None: of none is."""
        return round(self.total_ms / self.timed_calls) if self.timed_calls else None

    def __sub__(self, other: "UsageSums") -> "UsageSums":
        return UsageSums(**{name: getattr(self, name) - getattr(other, name) for name in SUM_NAMES})

    def __add__(self, other: "UsageSums") -> "UsageSums":
        return UsageSums(**{name: getattr(self, name) + getattr(other, name) for name in SUM_NAMES})


SUM_NAMES: Final = tuple(field.name for field in fields(UsageSums))
_VALUES: Final = attrgetter(*SUM_NAMES)
SUM_COLUMNS: Final = ", ".join(f"usage_sum({name}) AS {name}" for name in SUM_NAMES)
# Not only calls: where the price of a call is corrected, its cost changes and no number of calls does.
ANY_SUM: Final = f"({', '.join(f'usage_sum({name})' for name in SUM_NAMES)}) <> ({', '.join('0' for _ in SUM_NAMES)})"


def add_up(sums: Iterable[UsageSums]) -> UsageSums:
    """What they add up to; of none it is 0."""
    columns = zip(*map(_VALUES, sums), strict=True)
    return UsageSums(**dict(zip(SUM_NAMES, map(sum, columns), strict=False)))


def weight_of(sums: UsageSums, order: Order) -> int:
    """What groups are ordered by, as ORDERS_SQL says it."""
    names: dict[Order, str] = {"cost": "cost_nano_usd", "errors": "failed_calls"}
    weight: int = getattr(sums, names.get(order, order))
    return weight


class Groups(NamedTuple):
    """The greatest groups, the sums of all, and how many there are."""

    rows: list[tuple[Any, UsageSums]]
    total: UsageSums
    number: int


class LatencyCounts(NamedTuple):
    """Calls by bucket, of the whole call and of its first byte."""

    total: Counter[int]
    first_byte: Counter[int]

    @classmethod
    def none(cls) -> "LatencyCounts":
        """Of no call yet."""
        return cls(Counter(), Counter())


def sum_columns(minus: str) -> dict[str, str]:
    return {name: f"{minus}r.{name}" for name in SUM_NAMES}


def _latencies(minus: str) -> dict[str, str]:
    return {"code": f"e >> {COUNT_BITS}", "calls": f"{minus}(e & {(1 << COUNT_BITS) - 1})"}


def ask_sums(selection: Selection, tables: RollupTables, ranges: Sequence[Range]) -> Query:
    """Sums by bucket; a bucket without calls has no line."""
    found = select_ranges(selection, tables, ranges, None, sum_columns)
    sql = f"SELECT bucket, {SUM_COLUMNS} FROM ({found.sql}) AS found GROUP BY bucket"
    return Query(sql, found.arguments)


def ask_groups(selection: Selection, tables: RollupTables, by: GroupedBy, order: Order, limit: int) -> Query:
    """The `limit` greatest groups, and one line of all together, whose `grp` is null."""
    found = select_ranges(selection, tables, whole_of(selection, tables), by, sum_columns)
    names = ", ".join(SUM_NAMES)
    arguments = [*found.arguments, limit]
    sql = (
        f"WITH groups AS MATERIALIZED (SELECT grp, {SUM_COLUMNS} FROM ({found.sql}) AS found GROUP BY grp "
        f"HAVING {ANY_SUM}), greatest AS (SELECT grp, {names} FROM groups "
        f"ORDER BY {ORDERS_SQL[order]} DESC, calls DESC, grp LIMIT ${len(arguments)}) "
        f"SELECT grp::text AS grp, {names}, 1::bigint AS number FROM greatest UNION ALL "
        f"SELECT NULL, {SUM_COLUMNS}, count(*) FROM groups"
    )
    return Query(sql, arguments)


def ask_latencies(selection: Selection, tables: RollupTables, by: GroupedBy | None) -> Query:
    """Calls by group and code of a bucket."""
    elements = " CROSS JOIN LATERAL unnest(r.latencies) AS e"
    found = select_ranges(selection, tables, whole_of(selection, tables), by, _latencies, elements)
    group, key = ("grp::text", "found.grp, code") if by else ("NULL::text", "code")
    sql = (
        f"SELECT {group} AS grp, code, usage_sum(calls) AS calls FROM ({found.sql}) AS found "
        f"GROUP BY {key} HAVING usage_sum(calls) <> 0"
    )
    return Query(sql, found.arguments)


def whole_of(selection: Selection, tables: RollupTables) -> list[Range]:
    return cut(selection.start, selection.end, list(tables), is_open=selection.is_open)


def cut_buckets(selection: Selection, tables: RollupTables, bounds: Sequence[datetime]) -> list[Range]:
    """The ranges of every bucket between two bounds."""
    ranges = []
    for bucket, (start, end) in enumerate(pairwise(bounds)):
        ranges += cut(start, end, list(tables), bucket=bucket, is_open=selection.is_open and end == selection.end)
    return ranges


async def sum_up(executor: "Executor", selection: Selection, tables: RollupTables) -> UsageSums:
    """All of it."""
    rows = await fetch(executor, ask_sums(selection, tables, whole_of(selection, tables)))
    return sums_of(rows[0]) if rows else UsageSums()


async def sum_by_time(
    executor: "Executor", selection: Selection, tables: RollupTables, bounds: Sequence[datetime]
) -> list[UsageSums]:
    """A sum for each two neighbouring bounds, of which the first is the selection's start and the last its end."""
    rows = await fetch(executor, ask_sums(selection, tables, cut_buckets(selection, tables, bounds)))
    sums = {row["bucket"]: sums_of(row) for row in rows}
    return [sums.get(bucket, UsageSums()) for bucket in range(len(bounds) - 1)]


async def sum_by(
    executor: "Executor", selection: Selection, tables: RollupTables, by: GroupedBy, *, order: Order, limit: int
) -> Groups:
    """The greatest groups first. A group is named by its id or word, as text; "0" is no user."""
    *rows, total = await fetch(executor, ask_groups(selection, tables, by, order, limit))
    return Groups([(row["grp"], sums_of(row)) for row in rows], sums_of(total), total["number"])


async def count_latencies(
    executor: "Executor", selection: Selection, tables: RollupTables, by: GroupedBy | None = None
) -> dict[str | None, LatencyCounts]:
    """By group; by None without one."""
    counts: defaultdict[str | None, LatencyCounts] = defaultdict(LatencyCounts.none)
    for row in await fetch(executor, ask_latencies(selection, tables, by)):
        measure, bucket = divmod(row["code"], FIRST_BYTE)
        counts[row["grp"]][measure][bucket] += row["calls"]
    return dict(counts)


# Plans are made for the arguments: a month and a year are not read alike. Compiling one takes longer than running it.
PREPARE: Final = "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL jit = off"


# Before `sum_by`: processes that share its rows cost half as much again, and are not done sooner.
IN_ONE_PROCESS: Final = "SET LOCAL max_parallel_workers_per_gather = 0"


async def fetch(executor: "Executor", query: Query) -> "list[asyncpg.Record]":
    if not query.sql or " FROM () " in query.sql:
        return []
    return await executor.fetch(query.sql, *query.arguments)


def sums_of(row: "asyncpg.Record") -> UsageSums:
    return UsageSums(**{name: row[name] or 0 for name in SUM_NAMES})
