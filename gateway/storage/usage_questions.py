"""Asks the rollups: sums, sums by time, sums by one thing or another, and latencies. No row of the ledger is read.

A question is cut into pieces (gateway/domain/usage_pieces.py) of the family that is smallest for it: `WITHIN` an
account, everybody `TOGETHER`, or `EACH` account and user of everybody.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from gateway.domain.calls import Ending
from gateway.domain.error_classes import ErrorClass
from gateway.domain.usage_pieces import Grain, Piece, cut
from gateway.storage.rollups import COUNT_BITS, FIRST_BYTE

if TYPE_CHECKING:
    import asyncpg

    from gateway.storage.postgres import Executor

GroupedBy = Literal["model", "key", "user", "account", "team", "ending", "error_class"]
Order = Literal["cost", "calls", "tokens"]


class Table(NamedTuple):
    """A rollup, and what it calls time and model. `model` of all models together is 0 in one that has that too."""

    name: str
    time: str
    model: str = "model_id"


Family = dict[Grain, Table]
WITHIN: Final[Family] = {
    "day": Table("usage_days", "day"),
    "quarter": Table("usage_quarter_hours", "started_at"),
}
TOGETHER: Final[Family] = {
    "day": Table("usage_model_days", "day"),
    "quarter": Table("usage_model_quarter_hours", "started_at"),
}
EACH: Final[Family] = {
    "month": Table("usage_account_months", "month", "model"),
    "day": Table("usage_account_days", "day", "model"),
    "quarter": Table("usage_quarter_hours", "started_at"),
}
_GROUPS: Final[dict[GroupedBy, str]] = {
    "model": "model_id",
    "key": "api_key_id",
    "user": "user_id",
    "account": "account_id",
    "team": "account_id",
    "ending": "ending",
    "error_class": "error_class",
}
_ORDERS: Final[dict[Order, str]] = {
    "cost": "cost_nano_usd",
    "calls": "calls",
    "tokens": "prompt_tokens + completion_tokens",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which calls: from `start` up to `end`, both in UTC on a quarter of an hour; None does not select.

    `is_open`: no call began after `end` yet.
    """

    start: datetime
    end: datetime
    is_open: bool = False
    account_ids: Sequence[int] | None = None
    user_ids: Sequence[int] | None = None
    key_ids: Sequence[int] | None = None
    model_ids: Sequence[int] | None = None
    endings: Sequence[Ending] | None = None
    error_classes: Sequence[ErrorClass] | None = None

    @property
    def is_of_failures(self) -> bool:
        """Whether no completed call can be among them."""
        by_class = self.error_classes is not None and "none" not in self.error_classes
        return by_class or (self.endings is not None and "completed" not in self.endings)


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

    def __sub__(self, other: "UsageSums") -> "UsageSums":
        return UsageSums(**{name: getattr(self, name) - getattr(other, name) for name in SUM_NAMES})

    def __add__(self, other: "UsageSums") -> "UsageSums":
        return UsageSums(**{name: getattr(self, name) + getattr(other, name) for name in SUM_NAMES})


SUM_NAMES: Final = tuple(field.name for field in fields(UsageSums))


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


class Question(NamedTuple):
    """A statement and its arguments."""

    sql: str
    arguments: list[Any]


def family_of(selection: Selection, by: GroupedBy | None = None) -> Family | None:
    """The smallest that can tell; None: none can at any size, so an account has to be named."""
    if selection.account_ids is not None:
        return WITHIN
    if selection.user_ids is not None or selection.key_ids is not None or by == "key":
        return None
    if by not in ("user", "account", "team"):
        return TOGETHER
    if selection.endings is None and selection.error_classes is None:
        return EACH
    # An index has the failed ones, which are few.
    return WITHIN if selection.is_of_failures else None


def conditions_of(selection: Selection, table: Table, by: GroupedBy | None, arguments: list[Any]) -> str:
    """SQL for what is selected of `r`, beginning with AND; its values are added to `arguments`."""
    found = []
    for column, wanted, kind in (
        ("account_id", selection.account_ids, "bigint"),
        ("user_id", selection.user_ids, "bigint"),
        ("api_key_id", selection.key_ids, "bigint"),
        (table.model, selection.model_ids, "bigint"),
        ("ending", selection.endings, "text"),
        ("error_class", selection.error_classes, "text"),
    ):
        if wanted is not None:
            arguments.append(list(wanted))
            found.append(f"r.{column} = ANY(${len(arguments)}::{kind}[])")
    if table.model == "model" and selection.model_ids is None:
        found.append("r.model = 0")
    if selection.account_ids is None and selection.is_of_failures and table.name == "usage_days":
        found.append("r.error_class <> 'none'")
    if by == "team":
        found.append("r.account_id IN (SELECT id FROM accounts WHERE kind = 'team')")
    return "".join(f" AND {condition}" for condition in found)


def _branches(
    selection: Selection, family: Family, pieces: Sequence[Piece], by: GroupedBy | None, told: str, more: str = ""
) -> Question:
    """The pieces' rows, one branch a grain."""
    arguments: list[Any] = []
    branches = []
    for grain, table in family.items():
        own = [piece for piece in pieces if piece.grain == grain]
        if not own:
            continue
        kind = "timestamptz" if grain == "quarter" else "date"
        begins, ends = [p.start for p in own], [p.end for p in own]
        bounds = [begins, ends] if grain == "quarter" else [[m.date() for m in begins], [m.date() for m in ends]]
        arguments += [*bounds, [p.sign for p in own], [p.bucket for p in own]]
        n = len(arguments)
        conditions = conditions_of(selection, table, by, arguments)
        group = f", r.{_GROUPS[by]} AS grp" if by else ""
        branches.append(
            f"SELECT p.bucket, p.sign{group}, {told} "
            f"FROM unnest(${n - 3}::{kind}[], ${n - 2}::{kind}[], ${n - 1}::int[], ${n}::int[]) "
            f"AS p (start, until, sign, bucket) "
            f"JOIN {table.name} AS r ON r.{table.time} >= p.start AND r.{table.time} < p.until{conditions}{more}"
        )
    return Question(" UNION ALL ".join(branches), arguments)


def _sum_columns(factor: str = "sign * ") -> str:
    return ", ".join(f"sum({factor}{name})::bigint AS {name}" for name in SUM_NAMES)


def ask_sums(selection: Selection, family: Family, pieces: Sequence[Piece]) -> Question:
    """Sums by bucket; a bucket without calls has no line."""
    told = ", ".join(f"r.{name}" for name in SUM_NAMES)
    found = _branches(selection, family, pieces, None, told)
    sql = f"SELECT bucket, {_sum_columns()} FROM ({found.sql}) AS found GROUP BY bucket"
    return Question(sql, found.arguments)


def ask_groups(selection: Selection, family: Family, by: GroupedBy, order: Order, limit: int) -> Question:
    """The `limit` greatest groups, and one line of all together, whose `grp` is null."""
    told = ", ".join(f"r.{name}" for name in SUM_NAMES)
    found = _branches(selection, family, _whole(selection, family), by, told)
    names = ", ".join(SUM_NAMES)
    arguments = [*found.arguments, limit]
    sql = (
        f"WITH groups AS MATERIALIZED (SELECT grp, {_sum_columns()} FROM ({found.sql}) AS found GROUP BY grp "
        f"HAVING sum(sign * calls) <> 0) "
        f"(SELECT grp::text AS grp, {names}, 1::bigint AS number FROM groups "
        f"ORDER BY {_ORDERS[order]} DESC, calls DESC, grp LIMIT ${len(arguments)}) UNION ALL "
        f"SELECT NULL, {_sum_columns('')}, count(*) FROM groups"
    )
    return Question(sql, arguments)


def ask_latencies(selection: Selection, family: Family, by: GroupedBy | None) -> Question:
    """Calls by group and code of a bucket."""
    mask = (1 << COUNT_BITS) - 1
    told = f"e >> {COUNT_BITS} AS code, e & {mask} AS calls"
    pieces = _whole(selection, family)
    found = _branches(selection, family, pieces, by, told, " CROSS JOIN LATERAL unnest(r.latencies) AS e")
    group = "grp::text AS grp" if by else "NULL::text AS grp"
    sql = (
        f"SELECT {group}, code, sum(sign * calls)::bigint AS calls FROM ({found.sql}) AS found "
        f"GROUP BY {'grp, ' if by else ''}code HAVING sum(sign * calls) <> 0"
    )
    return Question(sql, found.arguments)


def _whole(selection: Selection, family: Family) -> list[Piece]:
    return cut(selection.start, selection.end, list(family), is_open=selection.is_open)


def cut_buckets(selection: Selection, family: Family, bounds: Sequence[datetime]) -> list[Piece]:
    """The pieces of every bucket between two bounds."""
    pieces = []
    for bucket, (start, end) in enumerate(pairwise(bounds)):
        pieces += cut(start, end, list(family), bucket=bucket, is_open=selection.is_open and end == selection.end)
    return pieces


async def sum_up(executor: "Executor", selection: Selection, family: Family) -> UsageSums:
    """All of it."""
    rows = await _fetch(executor, ask_sums(selection, family, _whole(selection, family)))
    return _sums_of(rows[0]) if rows else UsageSums()


async def sum_by_time(
    executor: "Executor", selection: Selection, family: Family, bounds: Sequence[datetime]
) -> list[UsageSums]:
    """A sum for each two neighbouring bounds, of which the first is the selection's start and the last its end."""
    rows = await _fetch(executor, ask_sums(selection, family, cut_buckets(selection, family, bounds)))
    sums = {row["bucket"]: _sums_of(row) for row in rows}
    return [sums.get(bucket, UsageSums()) for bucket in range(len(bounds) - 1)]


async def sum_by(
    executor: "Executor", selection: Selection, family: Family, by: GroupedBy, *, order: Order, limit: int
) -> Groups:
    """The greatest groups first. A group is named by its id or word, as text; "0" is nobody."""
    *rows, total = await _fetch(executor, ask_groups(selection, family, by, order, limit))
    return Groups([(row["grp"], _sums_of(row)) for row in rows], _sums_of(total), total["number"])


async def count_latencies(
    executor: "Executor", selection: Selection, family: Family, by: GroupedBy | None = None
) -> dict[str | None, LatencyCounts]:
    """By group; by None without one."""
    counts: defaultdict[str | None, LatencyCounts] = defaultdict(LatencyCounts.none)
    for row in await _fetch(executor, ask_latencies(selection, family, by)):
        measure, bucket = divmod(row["code"], FIRST_BYTE)
        counts[row["grp"]][measure][bucket] += row["calls"]
    return dict(counts)


# Plans are made for the arguments at hand: a month and a year are not read alike. Compiling one takes longer than it.
PREPARE: Final = "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL jit = off"


async def _fetch(executor: "Executor", question: Question) -> "list[asyncpg.Record]":
    if not question.sql or " FROM () " in question.sql:
        return []
    return await executor.fetch(question.sql, *question.arguments)


def _sums_of(row: "asyncpg.Record") -> UsageSums:
    return UsageSums(**{name: row[name] or 0 for name in SUM_NAMES})
