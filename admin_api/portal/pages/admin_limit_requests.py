"""Requests for more of a limit, decided by admins one or many at a time."""

from typing import Any, Final

from admin_api.operations.actors import require_reader
from admin_api.operations.decisions import DECISIONS, Decided
from admin_api.operations.limits import requests
from admin_api.operations.validation import invalid
from admin_api.portal.form_values import ids_of
from admin_api.portal.forms import NONE, Refusal, refusal_of
from admin_api.portal.pages.limits import request_line
from admin_api.portal.rendering import Page
from admin_api.portal.visits import Visit
from admin_api.storage.limit_requests import RequestStatus
from gateway.domain.errors import GatewayError

PAGE_ROWS: Final = 100


async def show(visit: Visit, refused: Refusal = NONE, decided: list[Decided[RequestStatus]] | None = None) -> Page:
    """Those that wait; after a decision, its result for each."""
    require_reader(visit.actor)
    page = await requests.list_requests(
        visit.pool, visit.actor, status="pending", limit=PAGE_ROWS, cursor=visit.query("cursor")
    )
    context: dict[str, Any] = {
        "rows": [request_line(visit, one) for one in page.rows],
        **visit.paging(page.next_cursor),
        "refused": refused,
        "decided": decided or [],
        "chosen": ids_of(visit, "ids"),
        "reason": visit.field("reason") or "",
        "may_decide": visit.actor.role == "admin",
    }
    return Page("admin_limit_requests.html", visit.messages.gettext("Requests for more"), context, refused.status)


async def decide(visit: Visit) -> Page:
    """Approves or denies the chosen ones as asked for; the page shows what became of each."""
    decision = visit.field("decision")
    try:
        if decision not in DECISIONS:
            raise invalid("decision", visit.messages.gettext("Choose a decision."))
        decided = await requests.decide_requests(
            visit.pool, visit.actor, ids_of(visit, "ids"), decision, reason=visit.field("reason")
        )
    except GatewayError as error:
        return await show(visit, refusal_of(visit, error, "reason"))
    return await show(visit, NONE, decided)
