"""Calls behind a figure, and one call."""

from typing import Final

from admin_api.operations.actors import require_reader
from admin_api.operations.usage import calls
from admin_api.portal.ending_texts import COLOURS, text_of_ending
from admin_api.portal.pages.usage.call_limits import limits_of
from admin_api.portal.pages.usage.question import OF_ALL, OWN, Audience, Question
from admin_api.portal.rendering import Page
from admin_api.portal.visits import Visit
from admin_api.schemas.usage import CallView, UsageView

PAGE_ROWS: Final = 50


async def show_list(visit: Visit) -> Page:
    """The person's own, or those of a team they own."""
    return await _list(visit, OWN, visit.messages.gettext("Calls"))


async def show_list_of_all(visit: Visit) -> Page:
    """Of all accounts, for admins."""
    require_reader(visit.actor)
    return await _list(visit, OF_ALL, visit.messages.gettext("Calls of all"))


async def show_one(visit: Visit) -> Page:
    """What it cost, how it ended, whose it was, and which limits count such calls."""
    found = await calls.find_call(visit.pool, visit.actor, visit.request.path_params["request_id"])
    view = CallView.of_call(found)
    context = {
        "call": view,
        "cost_nano_usd": found.cost_nano_usd,
        "limits": limits_of(visit, found),
        "ending_text": text_of_ending(visit, view.ending),
        "ending_colour": COLOURS[view.ending],
    }
    return Page("call.html", visit.messages.gettext("Call"), context)


async def _list(visit: Visit, audience: Audience, title: str) -> Page:
    question = Question.of(visit, audience)
    page = await calls.list_selected_calls(
        visit.pool, visit.actor, question.filter, limit=PAGE_ROWS, cursor=visit.query("cursor")
    )
    view = UsageView.of(page)
    context = {
        "question": question,
        "rows": [(row, text_of_ending(visit, row.ending), COLOURS[row.ending]) for row in view.rows],
        "totals": page.totals,
        **visit.paging(page.next_cursor),
    }
    return Page("calls.html", title, context, formats=question.formats(visit))
