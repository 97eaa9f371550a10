"""Refused calls: one's own or of all, by time and reason, and why one was refused by the id that its answer had."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from admin_api.operations.actors import require_reader
from admin_api.operations.pagination import Page as PageOfCalls
from admin_api.operations.usage.calls import find_call
from admin_api.operations.usage.refusal_counts import RefusalGroup, RefusalReport, count_refusals
from admin_api.operations.usage.refusals import KEPT, find_refused_call, list_refused_calls
from admin_api.portal.charts import stacked
from admin_api.portal.pages.refusal_advice import advice_for, details_of
from admin_api.portal.pages.usage.choices import choices_of
from admin_api.portal.pages.usage.question import CUSTOM, OF_ALL, OWN, PERIODS, Audience, Question
from admin_api.portal.rendering import Page, Redirect
from admin_api.portal.texts import marked
from admin_api.portal.visits import Visit
from admin_api.storage.usage.refusals import RefusedCall
from gateway.domain.errors import GatewayError

PAGE_ROWS: Final = 50
TOP: Final = 20
BY: Final[Mapping[str, str]] = {
    "code": marked("Reason"),
    "model": marked("Model"),
    "key": marked("API key"),
    "user": marked("User"),
    "account": marked("Account"),
}
WITHOUT: Final = {"model": marked("No model of the key"), "user": marked("Service keys")}


async def show(visit: Visit) -> Page | Redirect:
    """The person's own, or those of a team they own."""
    return await _answer(visit, OWN, visit.messages.gettext("Why was I refused?"))


async def show_of_all(visit: Visit) -> Page | Redirect:
    """Of all accounts, for admins."""
    require_reader(visit.actor)
    return await _answer(visit, OF_ALL, visit.messages.gettext("Refusals of all"))


async def show_one(visit: Visit) -> Page:
    """What its caller was answered, and what to do."""
    call = await find_refused_call(visit.pool, visit.actor, visit.request.path_params["request_id"])
    title = visit.messages.gettext("Refused call")
    return Page(
        "refusal.html", title, {"call": call, "advice": advice_for(visit, call), "details": details_of(visit, call)}
    )


async def _answer(visit: Visit, audience: Audience, title: str) -> Page | Redirect:
    request_id, error = visit.query("request_id") or "", None
    if request_id:
        found = await _look_up(visit, request_id)
        if isinstance(found, Redirect):
            return found
        error = visit.in_language(found.message)
    question = Question.of(visit, audience)
    asked = visit.query("by") or "code"
    by = asked if asked in BY else "code"
    report = await count_refusals(
        visit.pool, visit.actor, question.filter, by=by, code=question.code or None, limit=TOP
    )
    calls = await list_refused_calls(
        visit.pool, visit.actor, question.filter, code=question.code or None, limit=PAGE_ROWS,
        cursor=visit.query("cursor"),
    )  # fmt: skip
    context = await choices_of(visit, question) | _texts(visit, question, by) | {
        "question": question,
        "asked_id": request_id,
        "error": error,
        "report": report,
        "chart": _chart(visit, question, report),
        "groups": [(_name(visit, report, one), one) for one in report.groups],
        "points": list(zip(report.bounds, report.points, strict=False)),
        "calls": calls.rows,
        **_pages(visit, _path(question, by=by), calls),
    }  # fmt: skip
    return Page("refusals.html", title, context, 404 if error else 200, formats=question.formats(visit))


async def _look_up(visit: Visit, request_id: str) -> Redirect | GatewayError:
    """To the refused call of this id, or to the call that was forwarded."""
    try:
        call = await find_refused_call(visit.pool, visit.actor, request_id)
        return Redirect(f"/refusals/{call.request_id}")
    except GatewayError as error:
        refused = error
    try:
        forwarded = await find_call(visit.pool, visit.actor, request_id)
        return Redirect(f"/usage/calls/{forwarded.row.request_id}")
    except GatewayError:
        return refused


def _texts(visit: Visit, question: Question, by: str) -> dict[str, Any]:
    _ = visit.messages.gettext
    return {
        "action": question.audience.refusals_path,
        "by": by,
        "by_text": _(BY[by]),
        "by_choices": [(one, _(text)) for one, text in BY.items()],
        "kept_days": KEPT.days,
        "period_links": [
            (_path(question, period=one, by=by), _(text), None) for one, text in PERIODS.items() if one != CUSTOM
        ],
        "period_path": _path(question, by=by),
    }


def _pages(visit: Visit, path: str, calls: PageOfCalls[RefusedCall]) -> dict[str, str | None]:
    number = len(calls.rows)
    text = visit.messages.ngettext("%(number)s call", "%(number)s calls", number)
    return {
        "page_text": text % {"number": visit.formats.number(number)},
        "next_path": f"{path}&{urlencode({'cursor': calls.next_cursor})}" if calls.next_cursor else None,
        "first_path": path if visit.query("cursor") else None,
    }


def _path(question: Question, **changes: str) -> str:
    return question.address(question.audience.refusals_path, **changes)


def _name(visit: Visit, report: RefusalReport, group: RefusalGroup) -> str:
    _ = visit.messages.gettext
    if group.name is not None:
        return group.name
    if group.id is not None:
        return _("deleted (%(id)s)") % {"id": group.id}
    return _(WITHOUT.get(report.by, marked("none")))


def _chart(visit: Visit, question: Question, report: RefusalReport) -> stacked.Chart:
    formats = question.formats(visit)
    shown = report.groups[: stacked.COLOURS]
    series = [stacked.Series(_name(visit, report, one), one.points, colour) for colour, one in enumerate(shown)]
    listed = [sum(column) for column in zip(*(one.points for one in shown), strict=True)] or [0] * len(report.points)
    rest = [total - its for total, its in zip(report.points, listed, strict=True)]
    if any(rest):
        series.append(stacked.Series(visit.messages.gettext("Other"), rest, stacked.COLOURS))
    return stacked.stack(
        visit.messages.gettext("Refused calls over time"),
        visit.messages.gettext("A bar for each step of the period. The table below has the same numbers."),
        [formats.short_step(start, report.step) for start in report.bounds[:-1]],
        series,
        formats.number,
    )
