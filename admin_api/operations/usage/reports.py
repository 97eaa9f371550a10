"""What was used, added up: summary, series, breakdowns and percentiles of latency. Read from rollups, never from rows.

Fresh as the writer is: a call is in them as soon as its row is in the ledger, some tenths of a second after it ended.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from admin_api.operations.actors import Actor
from admin_api.operations.pagination import check_limit
from admin_api.operations.usage.scope import Scope, UsageFilter, resolve
from admin_api.operations.validation import check_word, invalid
from admin_api.storage.usage import names as usage_names
from admin_api.storage.usage import queries
from admin_api.storage.usage.queries import LatencyCounts, Order, UsageSums
from admin_api.storage.usage.rollup_tables import GroupedBy, RollupTables, tables_for, tables_with_latencies
from gateway.domain.errors import GatewayError
from gateway.domain.latencies import percentile
from gateway.domain.rollup_ranges import Step, bounds_of_steps

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

By = Literal["model", "provider", "key", "user", "account", "team", "ending", "error_class"]
BY: Final = get_args(By)
STEPS: Final = get_args(Step)
ORDERS: Final = get_args(Order)
# Of a series: 41 days of hours, 2.7 years of days.
MAX_POINTS: Final = 1000
SHARES: Final = (0.5, 0.9, 0.95, 0.99)
ALL_MODELS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """What every answer says of itself: the range it is of, on quarters of an hour, and the time zone of its steps."""

    since: datetime
    until: datetime
    time_zone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary(Reported):
    """All of it in one."""

    sums: UsageSums


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One step of a series, from `start` up to `end`."""

    start: datetime
    end: datetime
    sums: UsageSums


@dataclass(frozen=True, slots=True, kw_only=True)
class Series(Reported):
    """Every step of the range, those without calls too."""

    step: Step
    points: Sequence[Point]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """`id` is None for what has none (no provider known, no user); `name` None where the thing is gone."""

    id: str | None
    name: str | None
    sums: UsageSums


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown(Reported):
    """The greatest groups, all others in one, and everything together."""

    by: By
    groups: Sequence[Group]
    number_of_groups: int
    others: UsageSums
    total: UsageSums


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Percentiles in ms, by share; None: no call had one."""

    id: str | None
    name: str | None
    calls: int
    total_ms: Sequence[float | None]
    first_byte_calls: int
    first_byte_ms: Sequence[float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles(Reported):
    """Of SHARES, within 5 % of the exact ones; the groups with most calls first."""

    by: By | None
    rows: Sequence[Latency]


async def summarize(pool: "Pool", actor: Actor, query: UsageFilter) -> Summary:
    """Raises GatewayError as `resolve` does."""
    async with _asked(pool, actor, query) as (executor, scope):
        sums = await queries.sum_up(executor, scope.selection, _family(scope))
        return Summary(sums=sums, **_reported(scope))


async def read_series(pool: "Pool", actor: Actor, query: UsageFilter, *, step: str) -> Series:
    """By steps of the time zone asked for, or else of the account. Raises GatewayError `validation_failed` for too
    many."""
    check_word("step", step, STEPS)
    async with _asked(pool, actor, query) as (executor, scope):
        selection = scope.selection
        bounds = bounds_of_steps(selection.start, selection.end, step, scope.zone, maximum=MAX_POINTS)  # type: ignore[arg-type]
        if bounds is None:
            raise invalid("step", f"More than {MAX_POINTS} steps: ask for longer ones, or for less time.")
        sums = await queries.sum_by_time(executor, selection, _family(scope), bounds)
        spans = zip(pairwise(bounds), sums, strict=True)
        points = [Point(start=start, end=end, sums=one) for (start, end), one in spans]
        return Series(step=step, points=points, **_reported(scope))  # type: ignore[arg-type]  # a word of Step


async def break_down(
    pool: "Pool", actor: Actor, query: UsageFilter, *, by: str, order: str = "cost", limit: int = 100
) -> Breakdown:
    """Raises GatewayError as `resolve` does, and `validation_failed` for what no rollup can tell of everybody."""
    check_word("by", by, BY)
    check_word("order", order, ORDERS)
    check_limit(limit)
    async with _asked(pool, actor, query, by) as (executor, scope):
        tables = _family(scope, by)
        groups, number, total = await _groups(executor, scope, tables, by, order, limit)
        others = total
        for group in groups:
            others -= group.sums
        return Breakdown(by=by, groups=groups, number_of_groups=number, others=others, total=total, **_reported(scope))  # type: ignore[arg-type]


async def measure_latencies(pool: "Pool", actor: Actor, query: UsageFilter, *, by: str | None = None) -> Percentiles:
    """Raises GatewayError as `resolve` does; by account, user, team or key an account has to be named, or (but for key)
    no call that was completed be meant."""
    if by is not None:
        check_word("by", by, BY)
    async with _asked(pool, actor, query, by) as (executor, scope):
        grouped: GroupedBy | None = "model" if by == "provider" else by  # type: ignore[assignment]  # checked
        tables = tables_with_latencies(scope.selection, grouped)
        if tables is None and by == "key":
            raise _names_nobody(by)
        if tables is None:
            raise invalid("by", f"By {by}: name a team or a user too, or only what failed, by error_class or ending.")
        counts = await queries.count_latencies(executor, scope.selection, tables, grouped)
        if by == "provider":
            counts = _by_provider(counts, await usage_names.list_providers(executor))
        if by is None:
            counts = counts or {None: LatencyCounts.none()}
        names = await usage_names.name_all(executor, by or "", [one for one in counts if one])
        rows = [_latency(one, names.get(one or "", one), count) for one, count in counts.items()]
        rows.sort(key=lambda row: (-row.calls, row.id or ""))
        return Percentiles(by=by, rows=rows[:ALL_MODELS], **_reported(scope))  # type: ignore[arg-type]  # checked


@asynccontextmanager
async def _asked(
    pool: "Pool", actor: Actor, query: UsageFilter, by: str | None = None
) -> "AsyncIterator[tuple[Executor, Scope]]":
    """One snapshot, so that all sums of an answer agree."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        scope = await resolve(connection, actor, query, now=datetime.now(UTC))
        if by in ("user", "key") and not scope.sees_people:
            raise GatewayError("forbidden", "Who used what in a team is for its owners to see.")
        await connection.execute(queries.PREPARE)
        yield connection, scope


def _family(scope: Scope, by: str | None = None) -> RollupTables:
    grouped: GroupedBy | None = "model" if by == "provider" else by  # type: ignore[assignment]  # checked
    tables = tables_for(scope.selection, grouped)
    if tables is None:
        raise _names_nobody(by or "")
    return tables


def _names_nobody(by: str) -> GatewayError:
    if by == "key":
        return invalid("by", "By key: name a team or a user too, whose keys are meant.")
    return invalid("by", f"By {by} with these filters: name a team or a user too, or leave the filters out.")


async def _groups(
    executor: "Executor", scope: Scope, tables: RollupTables, by: str, order: str, limit: int
) -> tuple[list[Group], int, UsageSums]:
    grouped: GroupedBy = "model" if by == "provider" else by  # type: ignore[assignment]  # checked
    maximum = ALL_MODELS if by == "provider" else limit
    await executor.execute(queries.IN_ONE_PROCESS)
    found = await queries.sum_by(executor, scope.selection, tables, grouped, order=order, limit=maximum)  # type: ignore[arg-type]
    if by != "provider":
        names = await usage_names.name_all(executor, by, [one for one, _ in found.rows if one != "0"])
        rows = [Group(id=None if o == "0" else o, name=_name(by, o, names), sums=sums) for o, sums in found.rows]
        return rows, found.number, found.total
    providers = await usage_names.list_providers(executor)
    sums: dict[str | None, UsageSums] = {}
    for model, one in found.rows:
        provider = providers.get(model)
        sums[provider] = sums.get(provider, UsageSums()) + one
    groups = [Group(id=provider, name=provider, sums=one) for provider, one in sums.items()]
    groups.sort(key=lambda group: (-_weight(group.sums, order), group.id or ""))
    return groups[:limit], len(groups), found.total


def _name(by: str, one: str, names: dict[str, str]) -> str | None:
    return one if by in ("ending", "error_class") else names.get(one)


def _weight(sums: UsageSums, order: str) -> int:
    if order == "tokens":
        return sums.prompt_tokens + sums.completion_tokens
    return sums.calls if order == "calls" else sums.cost_nano_usd


def _by_provider(
    counts: dict[str | None, LatencyCounts], providers: dict[str, str | None]
) -> dict[str | None, LatencyCounts]:
    merged: dict[str | None, LatencyCounts] = {}
    for model, one in counts.items():
        into = merged.setdefault(providers.get(model or ""), LatencyCounts.none())
        into.total.update(one.total)
        into.first_byte.update(one.first_byte)
    return merged


def _latency(one: str | None, name: str | None, counts: LatencyCounts) -> Latency:
    return Latency(
        id=None if one == "0" else one,
        name=name,
        calls=counts.total.total(),
        total_ms=[percentile(counts.total, share) for share in SHARES],
        first_byte_calls=counts.first_byte.total(),
        first_byte_ms=[percentile(counts.first_byte, share) for share in SHARES],
    )


def _reported(scope: Scope) -> dict[str, Any]:
    return {"since": scope.selection.start, "until": scope.selection.end, "time_zone": str(scope.zone)}
