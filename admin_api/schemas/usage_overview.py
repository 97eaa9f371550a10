"""JSON of overviews of usage, and of the hours of the week."""

from datetime import datetime
from typing import TYPE_CHECKING, Self

from pydantic import Field

from admin_api.operations.usage.grouping import By
from admin_api.schemas.shapes import View
from admin_api.schemas.usage_reports import RangeView, UsageGroupView, UsageSumsView
from gateway.domain.money import usd_text
from gateway.domain.rollup_ranges import Step

if TYPE_CHECKING:
    from admin_api.operations.usage.overview import Figures, Overview, OverviewGroup, Week
    from admin_api.storage.usage.queries import UsageSums


class StepSumsView(View):
    """Sums of one step, of one group."""

    calls: int
    failed_calls: int = Field(description="Not completed, although their caller stayed")
    prompt_tokens: int
    completion_tokens: int
    cost_usd: str
    cost_nano_usd: int

    @classmethod
    def of(cls, sums: "UsageSums") -> Self:
        """The view of sums."""
        return cls(
            **{name: getattr(sums, name) for name in cls.model_fields if hasattr(sums, name)},
            cost_usd=usd_text(sums.cost_nano_usd),
        )


class UsageFiguresView(UsageSumsView):
    """Sums of the period, of the one before, and of each step."""

    before: UsageSumsView = Field(description="Of the period before")
    points: list[StepSumsView] = Field(description="In the order of the steps")

    @classmethod
    def of_figures(cls, figures: "Figures") -> Self:
        """The view of figures."""
        return cls(
            **UsageSumsView.of(figures.sums).model_dump(),
            before=UsageSumsView.of(figures.before),
            points=[StepSumsView.of(point) for point in figures.points],
        )


class OverviewGroupView(UsageFiguresView):
    """One group and its largest parts; `id` and `name` as in a breakdown."""

    id: str | None
    name: str | None = Field(description="As people know it; null: it was deleted, or there is none")
    parts: list[UsageGroupView] = Field(description="By then_by, the largest first; empty without it")
    number_of_parts: int = Field(description="All parts, also those that are not listed")

    @classmethod
    def of_group(cls, group: "OverviewGroup") -> Self:
        """The view of a group."""
        return cls(
            **UsageFiguresView.of_figures(group.figures).model_dump(),
            id=group.id,
            name=group.name,
            parts=[
                UsageGroupView(id=part.id, name=part.name, **UsageSumsView.of(part.sums).model_dump())
                for part in group.parts
            ],
            number_of_parts=group.number_of_parts,
        )


class UsageOverviewView(RangeView):
    """The largest groups over time and beside the period before, the sums of all others, and the total."""

    by: By
    then_by: By | None = Field(description="What groups are divided by; null: they are not")
    step: Step
    steps: list[datetime] = Field(description="The beginning of each step")
    previous_since: datetime = Field(description="Beginning of the period before")
    previous_until: datetime = Field(description="Its end, exclusive")
    groups: list[OverviewGroupView]
    number_of_groups: int
    others: UsageFiguresView
    total: UsageFiguresView

    @classmethod
    def of(cls, overview: "Overview") -> Self:
        """One answer."""
        names = ("since", "until", "time_zone", "by", "then_by", "step", "previous_since", "previous_until")
        return cls(
            **{name: getattr(overview, name) for name in (*names, "number_of_groups")},
            steps=list(overview.bounds[:-1]),
            groups=[OverviewGroupView.of_group(group) for group in overview.groups],
            others=UsageFiguresView.of_figures(overview.others),
            total=UsageFiguresView.of_figures(overview.total),
        )


class UsageWeekHourView(StepSumsView):
    """One hour of one day of the week, over the whole period."""

    weekday: int = Field(description="1 is Monday")
    hour: int = Field(description="Of the time zone, from 0 to 23")


class UsageWeekView(RangeView):
    """The 168 hours of the week in the time zone, from Monday on."""

    hours: list[UsageWeekHourView] = Field(description="All of them, also without calls")

    @classmethod
    def of(cls, week: "Week") -> Self:
        """One answer."""
        hours = [
            UsageWeekHourView(weekday=one.weekday, hour=one.hour, **StepSumsView.of(one.sums).model_dump())
            for one in week.hours
        ]
        return cls(since=week.since, until=week.until, time_zone=week.time_zone, hours=hours)
