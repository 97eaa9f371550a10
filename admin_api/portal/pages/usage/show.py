"""Usage: one page is one question, and one question one address."""

from datetime import UTC, datetime
from typing import Any, Final

from admin_api.operations.actors import require_reader
from admin_api.operations.usage.overview import (
    MAX_WEEKS_DAYS,
    Overview,
    OverviewInput,
    Week,
    read_overview,
    read_week,
)
from admin_api.operations.usage.reports import Percentiles, measure_latencies
from admin_api.portal.pages.usage import figures
from admin_api.portal.pages.usage.choices import choices_of
from admin_api.portal.pages.usage.question import CUSTOM, GROUPS, OF_ALL, OWN, PERIODS, Audience, Question
from admin_api.portal.pages.usage.rows import calls_paths, name_of, rows_of, total_row
from admin_api.portal.rendering import Page, Redirect
from admin_api.portal.visits import Visit
from admin_api.storage.usage.queries import Order

TOP: Final = 20


async def show(visit: Visit) -> Page | Redirect:
    """Of the person's own calls, or of one of their teams."""
    return await _answer(visit, OWN, visit.messages.gettext("Usage"))


async def show_of_all(visit: Visit) -> Page | Redirect:
    """Of all accounts, for admins."""
    require_reader(visit.actor)
    return await _answer(visit, OF_ALL, visit.messages.gettext("Usage of all"))


async def _answer(visit: Visit, audience: Audience, title: str) -> Page | Redirect:
    question = Question.of(visit, audience)
    if question.metric == "refusals":
        return Redirect(question.address(question.audience.refusals_path, metric="cost"))
    order = order_of(question)
    asked = OverviewInput(by=question.by, then_by=question.then_by or None, order=order, limit=TOP)
    overview = await read_overview(visit.pool, visit.actor, question.filter, asked, store=visit.usage_store)
    latencies = await _latencies(visit, question)
    found = await _week(visit, question, overview)
    paths = calls_paths(question, overview, question.formats(visit))
    texts = _texts(visit, question, is_live=overview.until >= datetime.now(UTC))
    context = await choices_of(visit, question, sees_people=overview.sees_people) | texts | {
        "question": question,
        "overview": overview,
        "chart": figures.trend(visit, question, overview, order, paths),
        "points": list(zip(overview.bounds, overview.total.points, paths, strict=False)),
        "rows": rows_of(visit, question, overview, order),
        "total": total_row(visit, question, overview, order),
        "week": found,
        "week_map": figures.week(visit, question, found) if found else None,
        "latencies": [(name_of(visit, question.by, row), row) for row in latencies.rows] if latencies else [],
    }  # fmt: skip
    return Page("usage.html", title, context, formats=question.formats(visit))


def order_of(question: Question) -> Order:
    """What groups are ordered by; by calls where the metric does not add up."""
    return "calls" if question.metric == "latency" else question.metric  # type: ignore[return-value]  # checked


async def _latencies(visit: Visit, question: Question) -> Percentiles | None:
    if question.metric != "latency":
        return None
    return await measure_latencies(visit.pool, visit.actor, question.filter, by=question.by, store=visit.usage_store)


async def _week(visit: Visit, question: Question, overview: Overview) -> Week | None:
    is_long = (overview.until - overview.since).days > MAX_WEEKS_DAYS
    return None if is_long else await read_week(visit.pool, visit.actor, question.filter, store=visit.usage_store)


def _texts(visit: Visit, question: Question, *, is_live: bool) -> dict[str, Any]:
    _ = visit.messages.gettext
    return {
        "group_text": _(GROUPS[question.by]),
        "metric": question.metric,
        "period_links": [(question.path(period=one), _(text), None) for one, text in PERIODS.items() if one != CUSTOM],
        "period_path": question.path(),
        "refresh_path": question.path() if is_live else None,
    }
