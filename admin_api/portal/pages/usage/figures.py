"""The charts about usage."""

from collections.abc import Callable, Sequence
from typing import Final

from admin_api.operations.usage.overview import Overview, Week
from admin_api.portal.charts import heat_map, stacked
from admin_api.portal.formatters import Formats
from admin_api.portal.pages.usage.question import METRICS, Question
from admin_api.portal.pages.usage.rows import has_others, name_of, write
from admin_api.portal.visits import Visit
from admin_api.storage.usage.queries import Order, UsageSums, weight_of

HOURS: Final = range(24)


def trend(
    visit: Visit, question: Question, overview: Overview, order: Order, paths: Sequence[str | None]
) -> stacked.Chart:
    """Bars of each step, which lead to `paths`; stacked of the largest groups, but for durations, which do not add
    up."""
    formats, metric = question.formats(visit), question.metric
    text = visit.messages.gettext(METRICS[metric])
    texts = [formats.short_step(start, overview.step) for start in overview.bounds[:-1]]
    series = [_total(visit, overview)] if metric == "latency" else _stacked(visit, overview, order)
    return stacked.stack(
        visit.messages.gettext("%(metric)s over time") % {"metric": text},
        visit.messages.gettext("A bar for each step of the period. The table below has the same numbers."),
        texts,
        series,
        _writer(formats, metric),
        paths,
        _axis(formats, metric),
    )


def week(visit: Visit, question: Question, found: Week) -> heat_map.HeatMap:
    """Calls by day of the week and hour."""
    formats = question.formats(visit)
    values = [[one.sums.calls for one in found.hours[day * 24 : day * 24 + 24]] for day in range(7)]
    return heat_map.draw(
        visit.messages.gettext("Calls by hour of the week"),
        visit.messages.gettext("A row for each day, a cell for each hour. The table below has the same numbers."),
        [formats.weekday(day) for day in range(1, 8)],
        [formats.hour(hour) for hour in HOURS],
        values,
        formats.number,
    )


def _total(visit: Visit, overview: Overview) -> stacked.Series:
    means = [point.mean_total_ms or 0 for point in overview.total.points]
    return stacked.Series(visit.messages.gettext("Mean"), means, 0)


def _stacked(visit: Visit, overview: Overview, order: Order) -> list[stacked.Series]:
    shown, hidden = overview.groups[: stacked.COLOURS], overview.groups[stacked.COLOURS :]
    series = [
        stacked.Series(name_of(visit, overview.by, group), _values(group.figures.points, order), colour)
        for colour, group in enumerate(shown)
    ]
    if hidden or has_others(overview):
        columns = zip(_values(overview.total.points, order), *(one.values for one in series), strict=True)
        rest = [total - sum(parts) for total, *parts in columns]
        series.append(stacked.Series(visit.messages.gettext("Other"), rest, stacked.COLOURS))
    return series


def _values(points: Sequence[UsageSums], order: Order) -> list[int]:
    return [weight_of(point, order) for point in points]


def _writer(formats: Formats, metric: str) -> Callable[[int], str]:
    return lambda value: write(formats, metric, value)


def _axis(formats: Formats, metric: str) -> Callable[[int], str]:
    return _writer(formats, metric) if metric in ("cost", "latency") else formats.compact
