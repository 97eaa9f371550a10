"""Usage reports: summary, series, breakdowns and latency percentiles. Read from rollups, never from the ledger's rows.

Reports include a call as soon as its row is in the ledger, some tenths of a second after the call ended.
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
# Points of a series: 41 days of hours, 2.7 years of days.
MAX_POINTS: Final = 1000
SHARES: Final = (0.5, 0.9, 0.95, 0.99)
ALL_MODELS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Common fields of all reports: the period, rounded to quarters of an hour, and the time zone of its steps."""

    since: datetime
    until: datetime
    time_zone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary(Report):
    """The totals of the period."""

    sums: UsageSums


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One step of a series, from `start` up to `end`."""

    start: datetime
    end: datetime
    sums: UsageSums


@dataclass(frozen=True, slots=True, kw_only=True)
class Series(Report):
    """Every step of the period, including steps without calls."""

    step: Step
    points: Sequence[Point]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """`id` is None for calls without one (no known provider, no user); `name` is None if it was deleted."""

    id: str | None
    name: str | None
    sums: UsageSums


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown(Report):
    """The largest groups, the sum of all others, and the total."""

    by: By
    groups: Sequence[Group]
    number_of_groups: int
    others: UsageSums
    total: UsageSums


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Percentiles in milliseconds, for each of SHARES; None if no call has the latency."""

    id: str | None
    name: str | None
    calls: int
    total_ms: Sequence[float | None]
    first_byte_calls: int
    first_byte_ms: Sequence[float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles(Report):
    """Percentiles for SHARES, within 5 % of the exact values. Groups with the most calls come first."""

    by: By | None
    rows: Sequence[Latency]


async def summarize(pool: "Pool", actor: Actor, query: UsageFilter) -> Summary:
    """Raises GatewayError as `resolve` does."""
    async with _open_scope(pool, actor, query) as (executor, scope):
        sums = await queries.sum_up(executor, scope.selection, _tables(scope))
        return Summary(sums=sums, **_report_fields(scope))


async def read_series(pool: "Pool", actor: Actor, query: UsageFilter, *, step: str) -> Series:
    """In steps of the requested time zone, by default the account's. Raises GatewayError `validation_failed` for too
    many steps."""
    check_word("step", step, STEPS)
    async with _open_scope(pool, actor, query) as (executor, scope):
        selection = scope.selection
        bounds = bounds_of_steps(selection.start, selection.end, step, scope.zone, maximum=MAX_POINTS)  # type: ignore[arg-type]
        if bounds is None:
            raise invalid("step", f"There are more than {MAX_POINTS} steps. Choose a longer step or a shorter period.")
        sums = await queries.sum_by_time(executor, selection, _tables(scope), bounds)
        spans = zip(pairwise(bounds), sums, strict=True)
        points = [Point(start=start, end=end, sums=one) for (start, end), one in spans]
        return Series(step=step, points=points, **_report_fields(scope))  # type: ignore[arg-type]  # checked


async def break_down(
    pool: "Pool", actor: Actor, query: UsageFilter, *, by: str, order: str = "cost", limit: int = 100
) -> Breakdown:
    """Raises GatewayError as `resolve` does, and `validation_failed` if no rollup has this for all accounts."""
    check_word("by", by, BY)
    check_word("order", order, ORDERS)
    check_limit(limit)
    async with _open_scope(pool, actor, query, by) as (executor, scope):
        tables = _tables(scope, by)
        groups, number, total = await _groups(executor, scope, tables, by, order, limit)
        others = total
        for group in groups:
            others -= group.sums
        sums = {"groups": groups, "number_of_groups": number, "others": others, "total": total}
        return Breakdown(by=by, **sums, **_report_fields(scope))  # type: ignore[arg-type]  # checked


async def measure_latencies(pool: "Pool", actor: Actor, query: UsageFilter, *, by: str | None = None) -> Percentiles:
    """Raises GatewayError as `resolve` does, and `validation_failed` by account, user, team or key unless an account is
    named or (not by key) only failed calls are selected."""
    if by is not None:
        check_word("by", by, BY)
    async with _open_scope(pool, actor, query, by) as (executor, scope):
        grouped: GroupedBy | None = "model" if by == "provider" else by  # type: ignore[assignment]  # checked
        tables = tables_with_latencies(scope.selection, grouped)
        if tables is None and by == "key":
            raise _needs_account(by)
        if tables is None:
            raise invalid(
                "by", f"By {by} also needs a team, a user, or a filter for failed calls (error_class or ending)."
            )
        counts = await queries.count_latencies(executor, scope.selection, tables, grouped)
        if by == "provider":
            counts = _by_provider(counts, await usage_names.list_providers(executor))
        if by is None:
            counts = counts or {None: LatencyCounts.none()}
        names = await usage_names.name_all(executor, by or "", [one for one in counts if one])
        rows = [_latency(one, names.get(one or "", one), count) for one, count in counts.items()]
        rows.sort(key=lambda row: (-row.calls, row.id or ""))
        return Percentiles(by=by, rows=rows[:ALL_MODELS], **_report_fields(scope))  # type: ignore[arg-type]  # checked


@asynccontextmanager
async def _open_scope(
    pool: "Pool", actor: Actor, query: UsageFilter, by: str | None = None
) -> "AsyncIterator[tuple[Executor, Scope]]":
    """A transaction with one snapshot, so that all sums of a report are consistent, and the scope of the query."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        scope = await resolve(connection, actor, query, now=datetime.now(UTC))
        if by in ("user", "key") and not scope.sees_people:
            raise GatewayError("forbidden", "Only the owners of a team can see the usage of its members.")
        await connection.execute(queries.PREPARE)
        yield connection, scope


def _tables(scope: Scope, by: str | None = None) -> RollupTables:
    grouped: GroupedBy | None = "model" if by == "provider" else by  # type: ignore[assignment]  # checked
    tables = tables_for(scope.selection, grouped)
    if tables is None:
        raise _needs_account(by or "")
    return tables


def _needs_account(by: str) -> GatewayError:
    if by == "key":
        return invalid("by", "By key also needs a team or a user.")
    return invalid("by", f"By {by} with these filters also needs a team or a user. Or leave the filters out.")


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


def _report_fields(scope: Scope) -> dict[str, Any]:
    return {"since": scope.selection.start, "until": scope.selection.end, "time_zone": str(scope.zone)}
