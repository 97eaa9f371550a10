"""Usage reports: summary, series, breakdowns and latency percentiles. Read from rollups, never from the ledger's rows,
or from another store that is given.

Reports include a call as soon as its row is in the ledger, some tenths of a second after the call ended.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Final, get_args

from admin_api.operations.actors import Actor
from admin_api.operations.pagination import check_limit
from admin_api.operations.usage.grouping import (
    ALL_MODELS,
    BY,
    ORDERS,
    By,
    Group,
    Report,
    find_groups,
    grouped_by,
    needs_account,
    open_scope,
    report_fields,
    tables_of,
)
from admin_api.operations.usage.scope import Scope, UsageFilter
from admin_api.operations.validation import check_word, invalid
from admin_api.storage.usage import names as usage_names
from admin_api.storage.usage.queries import LatencyCounts, UsageSums
from admin_api.storage.usage.readers import ROLLUPS, UsageStore
from admin_api.storage.usage.rollup_tables import tables_for, tables_with_latencies
from gateway.domain.latencies import percentile
from gateway.domain.rollup_ranges import Step, bounds_of_steps

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

STEPS: Final = get_args(Step)
# Points of a series: 41 days of hours, 2.7 years of days.
MAX_POINTS: Final = 1000
SHARES: Final = (0.5, 0.9, 0.95, 0.99)


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


async def summarize(pool: "Pool", actor: Actor, query: UsageFilter, *, store: UsageStore = ROLLUPS) -> Summary:
    """Raises GatewayError as `resolve` does."""
    async with open_scope(pool, actor, query, store=store) as (reader, scope):
        sums = await reader.sum_up(scope.selection, tables_of(scope))
        return Summary(sums=sums, **report_fields(scope))


async def read_series(
    pool: "Pool", actor: Actor, query: UsageFilter, *, step: str, store: UsageStore = ROLLUPS
) -> Series:
    """In steps of the requested time zone, by default the account's. Raises GatewayError `validation_failed` for too
    many steps."""
    check_word("step", step, STEPS)
    async with open_scope(pool, actor, query, store=store) as (reader, scope):
        bounds = step_bounds(scope, step)  # type: ignore[arg-type]  # checked
        sums = await reader.sum_by_time(scope.selection, tables_of(scope), bounds)
        spans = zip(pairwise(bounds), sums, strict=True)
        points = [Point(start=start, end=end, sums=one) for (start, end), one in spans]
        return Series(step=step, points=points, **report_fields(scope))  # type: ignore[arg-type]  # checked


def step_bounds(scope: Scope, step: Step) -> list[datetime]:
    """One more than the period has steps. Raises GatewayError `validation_failed` for too many steps."""
    bounds = bounds_of_steps(scope.selection.start, scope.selection.end, step, scope.zone, maximum=MAX_POINTS)
    if bounds is None:
        raise invalid("step", f"There are more than {MAX_POINTS} steps. Choose a longer step or a shorter period.")
    return bounds


async def break_down(
    pool: "Pool",
    actor: Actor,
    query: UsageFilter,
    *,
    by: str,
    order: str = "cost",
    limit: int = 100,
    store: UsageStore = ROLLUPS,
) -> Breakdown:
    """Raises GatewayError as `resolve` does, and `validation_failed` if no rollup has this for all accounts."""
    check_word("by", by, BY)
    check_word("order", order, ORDERS)
    check_limit(limit)
    async with open_scope(pool, actor, query, by, store=store) as (reader, scope):
        tables = tables_of(scope, by)
        groups, number, total = await find_groups(reader, scope, tables, by, order, limit)
        others = total
        for group in groups:
            others -= group.sums
        sums = {"groups": groups, "number_of_groups": number, "others": others, "total": total}
        return Breakdown(by=by, **sums, **report_fields(scope))  # type: ignore[arg-type]  # checked


async def sum_users(
    pool: "Pool", actor: Actor, query: UsageFilter, user_ids: Sequence[int], *, store: UsageStore = ROLLUPS
) -> dict[int, UsageSums]:
    """Of each of these users, within the filter, which names no user. Raises GatewayError as `break_down` does."""
    async with open_scope(pool, actor, query, "user", store=store) as (reader, scope):
        selection = replace(scope.selection, user_ids=list(user_ids))
        tables = tables_for(selection, "user")
        if tables is None or query.user is not None:
            raise needs_account("user")
        found = await reader.sum_by(selection, tables, "user", order="cost", limit=len(user_ids))
        sums = {int(user_id): one for user_id, one in found.rows}
        return {user_id: sums.get(user_id, UsageSums()) for user_id in user_ids}


async def measure_latencies(
    pool: "Pool", actor: Actor, query: UsageFilter, *, by: str | None = None, store: UsageStore = ROLLUPS
) -> Percentiles:
    """Raises GatewayError as `resolve` does, and `validation_failed` by account, user, team or key unless an account is
    named or (not by key) only failed calls are selected."""
    if by is not None:
        check_word("by", by, BY)
    async with open_scope(pool, actor, query, by, store=store) as (reader, scope):
        grouped = grouped_by(by)
        tables = tables_with_latencies(scope.selection, grouped)
        if tables is None and by == "key":
            raise needs_account(by)
        if tables is None:
            raise invalid(
                "by", f"By {by} also needs a team, a user, or a filter for failed calls (error_class or ending)."
            )
        counts = await reader.count_latencies(scope.selection, tables, grouped)
        if by == "provider":
            counts = _by_provider(counts, await usage_names.list_providers(reader.executor))
        if by is None:
            counts = counts or {None: LatencyCounts.none()}
        names = await usage_names.name_all(reader.executor, by or "", [one for one in counts if one])
        rows = [_latency(one, names.get(one or "", one), count) for one, count in counts.items()]
        rows.sort(key=lambda row: (-row.calls, row.id or ""))
        return Percentiles(by=by, rows=rows[:ALL_MODELS], **report_fields(scope))  # type: ignore[arg-type]  # checked


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
