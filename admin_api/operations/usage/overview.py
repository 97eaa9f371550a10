"""One question about usage, answered as a whole: the largest groups over time, what each consists of, and the period
before."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from admin_api.operations.actors import Actor
from admin_api.operations.dates import earlier_period
from admin_api.operations.pagination import check_limit
from admin_api.operations.usage.group_reader import GroupReader
from admin_api.operations.usage.grouping import (
    BY,
    ORDERS,
    By,
    Group,
    Report,
    find_groups,
    open_scope,
    report_fields,
    tables_of,
)
from admin_api.operations.usage.reports import STEPS, step_bounds
from admin_api.operations.usage.scope import Scope, UsageFilter
from admin_api.operations.validation import check_word, invalid
from admin_api.storage.usage.divisions import WeekHour
from admin_api.storage.usage.queries import Order, UsageSums, add_up, weight_of
from admin_api.storage.usage.readers import ROLLUPS, UsageReader, UsageStore
from admin_api.storage.usage.rollup_tables import Selection
from gateway.domain.rollup_ranges import Step, ceiling, floor

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

MAX_GROUPS: Final = 50
# Hours of the week are read from quarters of an hour.
MAX_WEEKS_DAYS: Final = 100
# Days, with an hour more for summer time.
_STEP_UP_TO: Final[Sequence[tuple[Step, float]]] = (("hour", 2.1), ("day", 93.1), ("month", 100_000))


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Sums of the period, of the one before, and of each step of the period."""

    sums: UsageSums
    before: UsageSums
    points: Sequence[UsageSums]

    def without(self, parts: Sequence["Figures"]) -> "Figures":
        """What is in none of these parts of it."""
        listed = [add_up(points) for points in zip(*(part.points for part in parts), strict=True)]
        points = [one - its for one, its in zip(self.points, listed, strict=True)] if parts else self.points
        return Figures(
            sums=self.sums - add_up(part.sums for part in parts),
            before=self.before - add_up(part.before for part in parts),
            points=points,
        )


@dataclass(frozen=True, slots=True)
class Change:
    """From the period before to this one; `share` is of the one before, None where there was nothing."""

    difference: int
    share: float | None


def change_of(figures: Figures, order: Order) -> Change:
    """Of what groups are ordered by."""
    now, before = weight_of(figures.sums, order), weight_of(figures.before, order)
    return Change(now - before, (now - before) / before if before else None)


def share_of(part: UsageSums, total: UsageSums, order: Order) -> float | None:
    """Of what groups are ordered by; None of nothing."""
    whole = weight_of(total, order)
    return weight_of(part, order) / whole if whole else None


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewGroup:
    """One group, and its largest parts. `id` and `name` as those of a Group."""

    id: str | None
    name: str | None
    figures: Figures
    parts: Sequence[Group] = ()
    number_of_parts: int = 0

    @property
    def other_parts(self) -> UsageSums:
        """What the parts that are not listed add up to."""
        return self.figures.sums - add_up(part.sums for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview(Report):
    """`bounds` are those of the steps: one more than there are points. `sees_people`: the actor may also ask for users,
    keys and single calls."""

    by: By
    then_by: By | None
    step: Step
    bounds: Sequence[datetime]
    sees_people: bool
    previous_since: datetime
    previous_until: datetime
    groups: Sequence[OverviewGroup]
    number_of_groups: int
    others: Figures
    total: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Week(Report):
    """The 168 hours of the week in the time zone, from Monday on."""

    hours: Sequence[WeekHour]


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewInput:
    """What is asked: groups, what each is divided by, their order and number, and the step of time."""

    by: str
    then_by: str | None = None
    order: str = "cost"
    # None: by the length of the period.
    step: str | None = None
    limit: int = 20

    def check(self) -> None:
        """Raises GatewayError `validation_failed`."""
        check_word("by", self.by, BY)
        check_word("order", self.order, ORDERS)
        if self.step is not None:
            check_word("step", self.step, STEPS)
        if self.then_by is not None:
            check_word("then_by", self.then_by, BY)
            if self.then_by == self.by:
                raise invalid("then_by", "then_by must differ from by.")
        check_limit(self.limit, MAX_GROUPS)


async def read_overview(
    pool: "Pool", actor: Actor, query: UsageFilter, question: OverviewInput, *, store: UsageStore = ROLLUPS
) -> Overview:
    """Sums of all groups, others included, add up to the total, in each step too. Raises GatewayError as `break_down`
    does, and `validation_failed` for a division that no rollup has for all accounts."""
    question.check()
    async with open_scope(pool, actor, query, question.by, question.then_by, store=store) as (source, scope):
        step, bounds = steps_of(scope, question.step)
        earlier = _earlier(scope)
        total = await _read_total(source, scope, earlier, bounds)
        tables = tables_of(scope, question.by)
        found, number, _ = await find_groups(source, scope, tables, question.by, question.order, question.limit)
        reader = await GroupReader.of(source, scope, question.by, question.order, found)
        groups = await _read_groups(reader, question, earlier, bounds)
        return Overview(
            by=question.by,  # type: ignore[arg-type]  # checked
            then_by=question.then_by,  # type: ignore[arg-type]
            step=step,
            bounds=bounds,
            sees_people=scope.sees_people,
            previous_since=earlier.start,
            previous_until=earlier.end,
            groups=groups,
            number_of_groups=number,
            others=total.without([group.figures for group in groups]),
            total=total,
            **report_fields(scope),
        )


async def read_week(pool: "Pool", actor: Actor, query: UsageFilter, *, store: UsageStore = ROLLUPS) -> Week:
    """By hours of the week. Raises GatewayError as `resolve` does, and `validation_failed` for a longer period than
    MAX_WEEKS_DAYS."""
    async with open_scope(pool, actor, query, store=store) as (source, scope):
        if (scope.selection.end - scope.selection.start).days > MAX_WEEKS_DAYS:
            raise invalid("period", f"Hours of the week are shown of {MAX_WEEKS_DAYS} days at most.")
        hours = await source.sum_by_week_hour(scope.selection, tables_of(scope), scope.zone)
        return Week(hours=hours, **report_fields(scope))


def steps_of(scope: Scope, step: str | None) -> tuple[Step, list[datetime]]:
    """The step, if none is given by the length of the period, and its bounds. Raises GatewayError `validation_failed`
    for too many steps."""
    start, end = scope.selection.start, scope.selection.end
    given: Step = step or next(one for one, days in _STEP_UP_TO if end - start <= timedelta(days=days))  # type: ignore[assignment]
    return given, step_bounds(scope, given)


def _earlier(scope: Scope) -> Selection:
    """The same of the period before."""
    now = datetime.now(UTC)
    start, end = earlier_period(scope.selection.start, scope.selection.end, scope.zone, now)
    return replace(scope.selection, start=floor(start, "quarter"), end=ceiling(end, "quarter"), is_open=False)


async def _read_total(source: UsageReader, scope: Scope, earlier: Selection, bounds: Sequence[datetime]) -> Figures:
    tables = tables_of(scope)
    points = await source.sum_by_time(scope.selection, tables, bounds)
    before = await source.sum_up(earlier, tables)
    return Figures(sums=add_up(points), before=before, points=points)


async def _read_groups(
    reader: GroupReader, question: OverviewInput, earlier: Selection, bounds: Sequence[datetime]
) -> list[OverviewGroup]:
    if not reader.found:
        return []
    points = await reader.read_points(bounds)
    before = await reader.read_sums(earlier)
    parts_of = {} if question.then_by is None else await reader.read_parts(question.then_by)
    none = [UsageSums()] * (len(bounds) - 1)
    groups = []
    for one in reader.found:
        figures = Figures(sums=one.sums, before=before.get(one.id, UsageSums()), points=points.get(one.id, none))
        own, number = parts_of.get(one.id, ([], 0))
        groups.append(OverviewGroup(id=one.id, name=one.name, figures=figures, parts=own, number_of_parts=number))
    return groups
