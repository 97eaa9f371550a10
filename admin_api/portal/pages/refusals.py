"""Refused calls: one's own or of all, by time and reason, and why one was refused by the id that its answer had."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from admin_api.operations.actors import require_reader
from admin_api.operations.usage.calls import find_call
from admin_api.operations.usage.refusal_counts import RefusalGroup, RefusalReport, count_refusals
from admin_api.operations.usage.refusals import KEPT, find_refused_call, list_refused_calls
from admin_api.portal.charts import stacked
from admin_api.portal.pages.refusal_advice import advice_for, details_of, said_of_call
from admin_api.portal.pages.usage.choices import choices_of
from admin_api.portal.pages.usage.question import CUSTOM, GROUPS, OF_ALL, OWN, PERIODS, Audience, Question
from admin_api.portal.pages.usage.rows import shown_name
from admin_api.portal.rendering import Page, Redirect
from admin_api.portal.texts import marked
from admin_api.portal.visits import Visit
from gateway.domain.errors import GatewayError

PAGE_ROWS: Final = 50
TOP: Final = 20
BY: Final[Mapping[str, str]] = {
    "code": marked("Reason"),
    **{by: GROUPS[by] for by in ("model", "key", "user", "account")},
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
    context = {
        "call": call,
        "said": said_of_call(visit, call),
        "advice": advice_for(visit, call),
        "details": details_of(visit, call),
    }
    return Page("refusal.html", title, context)


async def _answer(visit: Visit, audience: Audience, title: str) -> Page | Redirect:
    request_id = visit.query("request_id") or ""
    found = await _look_up(visit, request_id) if request_id else None
    if isinstance(found, Redirect):
        return found
    question = Question.of(visit, audience)
    asked = {
        "question": question,
        "asked_id": request_id,
        "error": None if found is None else visit.in_language(found.message),
    }
    by = visit.choice("by", BY)
    context = asked | await choices_of(visit, question) | _texts(visit, question, by)
    context |= await _report(visit, question, by) | await _calls(visit, question, by)
    return Page("refusals.html", title, context, 404 if found else 200, formats=question.formats(visit))


async def _report(visit: Visit, question: Question, by: str) -> dict[str, Any]:
    code = question.code or None
    report = await count_refusals(visit.pool, visit.actor, question.filter, by=by, code=code, limit=TOP)
    return {
        "report": report,
        "chart": _chart(visit, question, report),
        "groups": [(_name(visit, report, one), one) for one in report.groups],
        "points": list(zip(report.bounds, report.points, strict=False)),
    }


async def _calls(visit: Visit, question: Question, by: str) -> dict[str, Any]:
    """A page of those that are kept."""
    code, cursor, path = question.code or None, visit.query("cursor"), _path(question, by=by)
    calls = await list_refused_calls(
        visit.pool, visit.actor, question.filter, code=code, limit=PAGE_ROWS, cursor=cursor
    )
    number = len(calls.rows)
    text = visit.messages.ngettext("%(number)s call", "%(number)s calls", number)
    return {
        "calls": calls.rows,
        "page_text": text % {"number": visit.formats.number(number)},
        "next_path": f"{path}&{urlencode({'cursor': calls.next_cursor})}" if calls.next_cursor else None,
        "first_path": path if cursor else None,
    }


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


def _path(question: Question, **changes: str) -> str:
    return question.address(question.audience.refusals_path, **changes)


def _name(visit: Visit, report: RefusalReport, group: RefusalGroup) -> str:
    return shown_name(visit, group.id, group.name, WITHOUT.get(report.by))


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
