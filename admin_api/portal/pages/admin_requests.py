"""Subscriptions that wait for an admin, decided one or many at a time."""

from typing import Any, cast

from admin_api.operations import bulk_decisions, subscriptions
from admin_api.operations.actors import require_reader
from admin_api.operations.bulk_decisions import Decided, Decision
from admin_api.operations.validation import invalid
from admin_api.portal.forms import NONE, Refusal, refusal_of
from admin_api.portal.rendering import Page
from admin_api.portal.visits import Visit
from gateway.domain.errors import GatewayError

DECISIONS = ("approve", "deny")
PAGE_ROWS = 100


async def show(visit: Visit, refused: Refusal = NONE, decided: list[Decided] | None = None) -> Page:
    """Those that wait; after a decision, its result for each."""
    require_reader(visit.actor)
    page = await subscriptions.list_subscriptions(
        visit.pool, visit.actor, status="pending", limit=PAGE_ROWS, cursor=visit.query("cursor")
    )
    context: dict[str, Any] = {
        "rows": page.rows,
        "next_cursor": page.next_cursor,
        "refused": refused,
        "decided": decided or [],
        "chosen": visit.fields("ids"),
        "reason": visit.field("reason") or "",
        "may_decide": visit.actor.role == "admin",
    }
    return Page("admin_requests.html", visit.messages.gettext("Requests"), context, refused.status)


async def decide(visit: Visit) -> Page:
    """Approves or denies the chosen ones; the page shows what became of each."""
    decision = visit.field("decision")
    try:
        if decision not in DECISIONS:
            raise invalid("decision", visit.messages.gettext("Choose a decision."))
        ids = [int(one) for one in visit.fields("ids") if one.isascii() and one.isdigit() and len(one) < 19]
        decided = await bulk_decisions.decide_subscriptions(
            visit.pool, visit.actor, ids, cast("Decision", decision), reason=visit.field("reason")
        )
    except GatewayError as error:
        return await show(visit, refusal_of(visit, error, "reason"))
    return await show(visit, NONE, decided)
