"""The rows of the tables about usage, and their texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from admin_api.operations.usage.grouping import Group
from admin_api.operations.usage.overview import Figures, Overview, OverviewGroup, change_of, share_of
from admin_api.operations.usage.reports import Latency
from admin_api.portal.ending_texts import text_of_ending, text_of_error_class
from admin_api.portal.formatters import Formats
from admin_api.portal.pages.usage.question import Question
from admin_api.portal.texts import marked
from admin_api.portal.visits import Visit
from admin_api.storage.usage.queries import Order, UsageSums, weight_of
from gateway.domain.rollup_ranges import Step

# What has no user, no provider and so on.
WITHOUT: Final = {
    "user": marked("Service keys"),
    "provider": marked("Unknown provider"),
    "team": marked("No team"),
}
# Filters by which a group can be looked into.
NARROWING: Final = ("team", "user", "key", "model", "provider", "ending", "error_class")
PERIOD_OF_STEP: Final[dict[Step, str]] = {"hour": "%Y-%m-%d", "day": "%Y-%m-%d", "month": "%Y-%m"}


@dataclass(frozen=True, slots=True)
class Row:
    """A group, a part of it, all others, or the total. `path` leads to the same question about it alone, `calls_path`
    to its calls."""

    name: str
    sums: UsageSums
    share: float | None
    before_text: str | None = None
    change_text: str | None = None
    path: str | None = None
    calls_path: str | None = None
    is_part: bool = False


def rows_of(visit: Visit, question: Question, overview: Overview, order: Order) -> list[Row]:
    """Groups with their parts, and what others add up to."""
    rows = []
    for group in overview.groups:
        rows.append(_row(visit, question, overview, group, order))
        rows += _parts(visit, group, overview, order)
    if has_others(overview):
        rows.append(_sum_row(visit, question, visit.messages.gettext("Other"), overview.others, overview, order))
    return rows


def total_row(visit: Visit, question: Question, overview: Overview, order: Order) -> Row:
    """The foot of the table."""
    return _sum_row(visit, question, visit.messages.gettext("Total"), overview.total, overview, order)


def has_others(overview: Overview) -> bool:
    """Whether any call is in none of the groups that are listed."""
    others = overview.others
    return others.sums != UsageSums() or others.before != UsageSums()


def name_of(visit: Visit, by: str, group: Group | OverviewGroup | Latency) -> str:
    """As people know it."""
    if by == "ending" and group.id:
        return text_of_ending(visit, group.id)
    if by == "error_class" and group.id:
        return text_of_error_class(visit, group.id)
    return shown_name(visit, group.id, group.name, WITHOUT.get(by))


def shown_name(visit: Visit, group_id: str | None, name: str | None, without: str | None) -> str:
    """The name of a group, if it was deleted its id; `without` is the text of one that has no id."""
    if name is not None:
        return name
    if group_id is not None:
        return visit.messages.gettext("deleted (%(id)s)") % {"id": group_id}
    return visit.messages.gettext(without or marked("none"))


def write(formats: Formats, metric: str, value: int) -> str:
    """A value of the metric."""
    if metric == "latency":
        return formats.milliseconds(value)
    return formats.nano_usd(value) if metric == "cost" else formats.number(value)


def calls_paths(question: Question, overview: Overview, formats: Formats) -> Sequence[str | None]:
    """To the calls of each step, for those who may see them."""
    if not overview.sees_people:
        return [None] * (len(overview.bounds) - 1)
    form = PERIOD_OF_STEP[overview.step]
    return [question.path("/calls", period=formats.local(start).strftime(form)) for start in overview.bounds[:-1]]


def _row(visit: Visit, question: Question, overview: Overview, group: OverviewGroup, order: Order) -> Row:
    by, value = overview.by, group.name if overview.by in ("model", "provider") else group.id
    is_narrowing = value is not None and by in NARROWING
    return Row(
        name_of(visit, by, group),
        group.figures.sums,
        share_of(group.figures.sums, overview.total.sums, order),
        *_beside_before(visit, question, group.figures, order),
        question.path(**{by: value}, by="", then_by="") if is_narrowing and value else None,
        question.path("/calls", **{by: value}) if is_narrowing and value and overview.sees_people else None,
    )


def _parts(visit: Visit, group: OverviewGroup, overview: Overview, order: Order) -> list[Row]:
    by, total = overview.then_by or "", overview.total.sums
    rows = [
        Row(name_of(visit, by, part), part.sums, share_of(part.sums, total, order), is_part=True)
        for part in group.parts
    ]
    if group.number_of_parts > len(group.parts):
        others = group.other_parts
        rows.append(Row(visit.messages.gettext("Other"), others, share_of(others, total, order), is_part=True))
    return rows


def _sum_row(visit: Visit, question: Question, name: str, figures: Figures, overview: Overview, order: Order) -> Row:
    share = share_of(figures.sums, overview.total.sums, order)
    return Row(name, figures.sums, share, *_beside_before(visit, question, figures, order))


def _beside_before(visit: Visit, question: Question, figures: Figures, order: Order) -> tuple[str, str]:
    """What the metric was in the period before, and how it changed."""
    formats, change = question.formats(visit), change_of(figures, order)
    metric = "calls" if question.metric == "latency" else question.metric
    sign = "+" if change.difference > 0 else ""
    text = f"{sign}{write(formats, metric, change.difference)}"
    if change.share is not None:
        text = f"{text} ({formats.change(change.share)})"
    return write(formats, metric, weight_of(figures.before, order)), text
