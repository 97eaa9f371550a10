"""Subscriptions that wait for an admin, decided one or many at a time."""

from typing import Any, Final

from admin_api.operations import subscriptions
from admin_api.operations.actors import require_reader
from admin_api.operations.decisions import DECISIONS, Decided
from admin_api.operations.pagination import Page as Rows
from admin_api.operations.validation import invalid
from admin_api.portal.decision_results import Result, reason_after
from admin_api.portal.form_values import ids_of
from admin_api.portal.forms import NONE, Refusal, refusal_of
from admin_api.portal.rendering import Page
from admin_api.portal.subscription_texts import colour_of, text_of
from admin_api.portal.visits import Visit
from admin_api.storage.subscriptions import Subscription
from gateway.domain.errors import GatewayError
from gateway.domain.subscriptions import Status

PAGE_ROWS: Final = 100


async def show(visit: Visit, refused: Refusal = NONE, results: list[Result] | None = None) -> Page:
    """Those that wait; after a decision, its result for each."""
    require_reader(visit.actor)
    page = await _waiting(visit)
    context: dict[str, Any] = {
        "rows": page.rows,
        **visit.paging(page.next_cursor),
        "refused": refused,
        "results": results or [],
        "chosen": visit.fields("ids"),
        "reason": reason_after(visit, results),
        "may_decide": visit.actor.role == "admin",
    }
    return Page("admin_requests.html", visit.messages.gettext("Requests"), context, refused.status)


async def decide(visit: Visit) -> Page:
    """Approves or denies the chosen ones, or all of the page; says what became of each."""
    decision = visit.field("decision")
    before = {row.id: row for row in (await _waiting(visit)).rows}
    try:
        if decision not in DECISIONS:
            raise invalid("decision", visit.messages.gettext("Choose a decision."))
        decided = await subscriptions.decide_subscriptions(
            visit.pool, visit.actor, _chosen(visit), decision, reason=visit.field("reason")
        )
    except GatewayError as error:
        return await show(visit, refusal_of(visit, error, "reason"))
    return await show(visit, NONE, [_result(visit, one, before.get(one.id)) for one in decided])


async def _waiting(visit: Visit) -> Rows[Subscription]:
    return await subscriptions.list_subscriptions(
        visit.pool, visit.actor, status="pending", limit=PAGE_ROWS, cursor=visit.query("cursor")
    )


def _chosen(visit: Visit) -> list[int]:
    """Of all rows only those that the page had."""
    return ids_of(visit, "listed" if visit.field("all") else "ids")


def _result(visit: Visit, decided: Decided[Status], row: Subscription | None) -> Result:
    status = decided.status
    name = None if row is None else f"{row.account_name} · {row.model_name}"
    return Result.of(
        visit, decided, name, ("", None) if status is None else (text_of(visit, status), colour_of(status))
    )
