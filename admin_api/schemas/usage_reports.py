"""JSON of usage reports."""

from datetime import datetime
from typing import TYPE_CHECKING, Self

from pydantic import Field

from admin_api.operations.usage.grouping import By
from admin_api.operations.usage.reports import SHARES
from admin_api.schemas.shapes import View
from admin_api.storage.usage.queries import SUM_NAMES
from gateway.domain.money import usd_text
from gateway.domain.rollup_ranges import Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from admin_api.operations.usage.reports import Breakdown, Latency, Percentiles, Series, Summary
    from admin_api.storage.usage.queries import UsageSums


class UsageSumsView(View):
    """Sums over calls."""

    calls: int
    completed_calls: int
    hung_up_calls: int = Field(description="The caller disconnected before the end")
    estimated_calls: int = Field(description="Their usage was not reported and is estimated")
    unpriced_calls: int = Field(description="Their model had no price; they add nothing to the cost")
    success_share: float | None = Field(
        description="completed_calls as a share of calls without hung_up_calls; null: no calls"
    )
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int = Field(description="Among prompt_tokens")
    cache_write_tokens: int = Field(description="Among prompt_tokens")
    reasoning_tokens: int = Field(description="Among completion_tokens")
    cost_usd: str
    cost_nano_usd: int = Field(description="What was charged")
    own_cost_usd: str
    own_cost_nano_usd: int = Field(description="By the prices of the models; 0 before this was recorded")
    litellm_cost_usd: str
    litellm_cost_nano_usd: int = Field(description="By LiteLLM, of calls of models with a price")
    mean_total_ms: float | None
    mean_first_byte_ms: float | None

    @classmethod
    def of(cls, sums: "UsageSums") -> Self:
        """The view of sums, with shares and means."""
        stayed = sums.calls - sums.hung_up_calls
        return cls(
            **{name: getattr(sums, name) for name in SUM_NAMES if name in cls.model_fields},
            success_share=round(sums.completed_calls / stayed, 6) if stayed else None,
            total_tokens=sums.prompt_tokens + sums.completion_tokens,
            cost_usd=usd_text(sums.cost_nano_usd),
            own_cost_usd=usd_text(sums.own_cost_nano_usd),
            litellm_cost_usd=usd_text(sums.litellm_cost_nano_usd),
            mean_total_ms=round(sums.total_ms / sums.timed_calls, 1) if sums.timed_calls else None,
            mean_first_byte_ms=round(sums.first_byte_ms / sums.first_byte_calls, 1) if sums.first_byte_calls else None,
        )


class RangeView(View):
    """The range of an answer: the range of the query, widened to quarter-hours."""

    since: datetime
    until: datetime
    time_zone: str


class UsageSummaryView(RangeView, UsageSumsView):
    """Sums over the whole range."""

    @classmethod
    def from_summary(cls, summary: "Summary") -> Self:
        """One answer."""
        return cls(**UsageSumsView.of(summary.sums).model_dump(), **_range(summary))


class UsagePointView(UsageSumsView):
    """One step, from start up to end."""

    start: datetime
    end: datetime


class UsageSeriesView(RangeView):
    """All steps of the range, also those without calls."""

    step: Step
    points: list[UsagePointView]

    @classmethod
    def of(cls, series: "Series") -> Self:
        """One answer."""
        points = [
            UsagePointView(start=p.start, end=p.end, **UsageSumsView.of(p.sums).model_dump()) for p in series.points
        ]
        return cls(step=series.step, points=points, **_range(series))


class UsageGroupView(UsageSumsView):
    """One group. `id` is null for calls without one (no user, unknown provider); `name` is null if it was deleted."""

    id: str | None
    name: str | None


class UsageBreakdownView(RangeView):
    """The largest groups, the sums of all others, and the total."""

    by: By
    groups: list[UsageGroupView]
    number_of_groups: int
    others: UsageSumsView
    total: UsageSumsView

    @classmethod
    def of(cls, breakdown: "Breakdown") -> Self:
        """One answer."""
        groups = [
            UsageGroupView(id=g.id, name=g.name, **UsageSumsView.of(g.sums).model_dump()) for g in breakdown.groups
        ]
        return cls(
            by=breakdown.by,
            groups=groups,
            number_of_groups=breakdown.number_of_groups,
            others=UsageSumsView.of(breakdown.others),
            total=UsageSumsView.of(breakdown.total),
            **_range(breakdown),
        )


class PercentilesView(View):
    """Milliseconds that 50, 90, 95 and 99 % of the calls did not exceed, within 5 %; null: no call was measured."""

    calls: int
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None

    @classmethod
    def of(cls, calls: int, shares: "Sequence[float | None]") -> Self:
        """In the order of SHARES."""
        reported = {f"p{round(share * 100)}": ms for share, ms in zip(SHARES, shares, strict=True)}
        return cls(calls=calls, **{name: None if ms is None else round(ms, 1) for name, ms in reported.items()})


class LatencyView(View):
    """Latencies of one group, or of all calls."""

    id: str | None
    name: str | None
    total_ms: PercentilesView
    first_byte_ms: PercentilesView

    @classmethod
    def of(cls, row: "Latency") -> Self:
        """One group."""
        return cls(
            id=row.id,
            name=row.name,
            total_ms=PercentilesView.of(row.calls, row.total_ms),
            first_byte_ms=PercentilesView.of(row.first_byte_calls, row.first_byte_ms),
        )


class UsagePercentilesView(RangeView):
    """Groups, most calls first; a single row without `by`."""

    by: By | None
    rows: list[LatencyView]

    @classmethod
    def of(cls, percentiles: "Percentiles") -> Self:
        """One answer."""
        return cls(by=percentiles.by, rows=[LatencyView.of(row) for row in percentiles.rows], **_range(percentiles))


def _range(reported: "Summary | Series | Breakdown | Percentiles") -> dict[str, object]:
    return {"since": reported.since, "until": reported.until, "time_zone": reported.time_zone}
