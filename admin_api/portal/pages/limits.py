"""A person's limits, and their requests for more."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from admin_api.operations.limits import limits, requests
from admin_api.operations.limits.parsing import AmountInput
from admin_api.operations.limits.requests import RequestedLimit
from admin_api.operations.limits.uses import list_own_uses
from admin_api.portal.flashes import Flash
from admin_api.portal.form_values import amount_of_kind, needed
from admin_api.portal.forms import NONE, Refusal, refusal_of, typed
from admin_api.portal.limit_lines import lines_of, read_or_none
from admin_api.portal.limit_texts import amount_of, name_of, target_of
from admin_api.portal.rendering import Page, Redirect
from admin_api.portal.texts import marked
from admin_api.portal.visits import Visit
from admin_api.storage.limit_requests import LimitRequest, RequestStatus
from gateway.domain.errors import GatewayError
from gateway.domain.limits import is_money

PAGE_ROWS: Final = 50
FIELDS: Final = ("amount", "reason")
STATES: Final[Mapping[RequestStatus, tuple[str, str | None]]] = {
    "pending": (marked("waits for approval"), "orange"),
    "approved": (marked("approved"), "green"),
    "denied": (marked("denied"), "red"),
    "withdrawn": (marked("withdrawn"), None),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLine:
    """A request for more of a limit; texts are in the person's language."""

    request: LimitRequest
    name: str
    target: str
    now: str
    requested: str
    granted: str
    state: str
    colour: str | None


async def show_list(visit: Visit) -> Page:
    """All limits that hold for the person, the tightest first, and what they asked for."""
    uses = await read_or_none(visit, lambda counters: list_own_uses(visit.pool, counters, visit.actor))
    asked = await requests.list_own_requests(visit.pool, visit.actor, limit=PAGE_ROWS, cursor=visit.query("cursor"))
    context = {
        "limits": None if uses is None else lines_of(visit, uses),
        "requests": [request_line(visit, one) for one in asked.rows],
        **visit.paging(asked.next_cursor),
    }
    return Page("limits.html", visit.messages.gettext("Limits"), context)


async def show_more(visit: Visit, refused: Refusal = NONE) -> Page:
    """The form that asks for more of a limit."""
    row = await limits.find_limit(visit.pool, visit.actor, visit.request.path_params["id"])
    context = {
        "row": row,
        "name": name_of(visit, row.kind, row.window),
        "target": target_of(visit, row),
        "amount": amount_of(visit, row.kind, row.amount),
        "sent": typed(visit, *FIELDS),
        "refused": refused,
    }
    return Page("limit_more.html", visit.messages.gettext("Ask for more"), context, refused.status)


async def ask(visit: Visit) -> Page | Redirect:
    """Asks; an admin decides."""
    limit_id: int = visit.request.path_params["id"]
    row = await limits.find_limit(visit.pool, visit.actor, limit_id)
    try:
        needed(visit, "amount")
        amount = amount_of_kind(visit, "amount", row.kind)
        given = AmountInput(amount_nano_usd=amount) if is_money(row.kind) else AmountInput(amount=amount)
        await requests.ask_for_more(visit.pool, visit.actor, limit_id, amount=given, reason=visit.field("reason") or "")
    except GatewayError as error:
        return await show_more(visit, refusal_of(visit, error, *FIELDS))
    return Redirect("/limits", Flash("success", visit.messages.gettext("You have asked for more. An admin decides.")))


async def withdraw(visit: Visit) -> Redirect:
    """Takes a request back."""
    await requests.withdraw_request(visit.pool, visit.actor, visit.request.path_params["id"])
    return Redirect("/limits", Flash("success", visit.messages.gettext("You have withdrawn the request.")))


def request_line(visit: Visit, one: RequestedLimit) -> RequestLine:
    """As tables show it."""
    request, limit = one.request, one.limit
    text, colour = STATES[request.status]
    return RequestLine(
        request=request,
        name=name_of(visit, limit.kind, limit.window),
        target=target_of(visit, limit),
        now=amount_of(visit, limit.kind, limit.amount),
        requested=amount_of(visit, limit.kind, request.amount),
        granted="–" if request.granted is None else amount_of(visit, limit.kind, request.granted),
        state=visit.messages.gettext(text),
        colour=colour,
    )
