"""Requests for more of a limit, decided by admins one or many at a time."""

from dataclasses import dataclass
from typing import Any, Final

from admin_api.operations.actors import require_reader
from admin_api.operations.decisions import DECISIONS, Decided
from admin_api.operations.limits import requests
from admin_api.operations.limits.parsing import AmountInput
from admin_api.operations.limits.requests import RequestedLimit
from admin_api.operations.pagination import Page as Rows
from admin_api.operations.validation import invalid
from admin_api.portal.decision_results import Result, reason_after
from admin_api.portal.form_values import ids_of
from admin_api.portal.forms import NONE, Refusal, refusal_of, said_of
from admin_api.portal.pages.limits import STATES, RequestLine, request_line
from admin_api.portal.rendering import Page
from admin_api.portal.visits import Visit
from admin_api.storage.limit_requests import RequestStatus
from gateway.domain.errors import GatewayError
from gateway.domain.limits import is_money
from gateway.domain.money import Money

PAGE_ROWS: Final = 100


@dataclass(frozen=True, slots=True)
class Line:
    """A request that waits; `field` is that of the amount to approve, `amount` what is in it."""

    asked: RequestLine
    field: str
    amount: str


async def show(visit: Visit, refused: Refusal = NONE, results: list[Result] | None = None) -> Page:
    """Those that wait; after a decision, its result for each."""
    require_reader(visit.actor)
    page = await _waiting(visit)
    context: dict[str, Any] = {
        "rows": [_line(visit, one) for one in page.rows],
        **visit.paging(page.next_cursor),
        "refused": refused,
        "results": results or [],
        "chosen": ids_of(visit, "ids"),
        "reason": reason_after(visit, results),
        "may_decide": visit.actor.role == "admin",
    }
    return Page("admin_limit_requests.html", visit.messages.gettext("Requests for more"), context, refused.status)


async def decide(visit: Visit) -> Page:
    """Approves or denies the chosen ones, or all of the page; says what became of each."""
    decision, ids = visit.field("decision"), ids_of(visit, "listed" if visit.field("all") else "ids")
    before = {one.request.id: one for one in (await _waiting(visit)).rows}
    try:
        if decision not in DECISIONS:
            raise invalid("decision", visit.messages.gettext("Choose a decision."))
        decided = await requests.decide_requests(
            visit.pool,
            visit.actor,
            ids,
            decision,
            reason=visit.field("reason"),
            amounts={one: given for one in ids if (given := _given(visit, one)) != AmountInput()},
            confirmed=visit.field("confirm") is not None,
        )
    except GatewayError as error:
        return await show(visit, refusal_of(visit, error, "reason"))
    results = [_result(visit, one, before.get(one.id)) for one in decided]
    return await show(visit, _doubt(visit, decided), results)


async def _waiting(visit: Visit) -> Rows[RequestedLimit]:
    return await requests.list_requests(
        visit.pool, visit.actor, status="pending", limit=PAGE_ROWS, cursor=visit.query("cursor")
    )


def _given(visit: Visit, request_id: int) -> AmountInput:
    """What was typed; the operation checks its unit."""
    return AmountInput(amount=visit.field(f"amount-{request_id}"), amount_usd=visit.field(f"amount_usd-{request_id}"))


def _line(visit: Visit, one: RequestedLimit) -> Line:
    request, has_money = one.request, is_money(one.limit.kind)
    field = f"{'amount_usd' if has_money else 'amount'}-{request.id}"
    asked = Money(request.amount).usd if has_money else str(request.amount)
    return Line(request_line(visit, one), field, visit.field(field) or asked)


def _result(visit: Visit, decided: Decided[RequestStatus], one: RequestedLimit | None) -> Result:
    line = None if one is None else request_line(visit, one)
    name = None if line is None else f"{line.request.user_email} · {line.name}"
    text, colour = STATES[decided.status or "pending"]
    return Result.of(visit, decided, name, (visit.messages.gettext(text), colour))


def _doubt(visit: Visit, decided: list[Decided[RequestStatus]]) -> Refusal:
    """Of an amount that has to be confirmed: the form asks."""
    doubts = [one.error.message for one in decided if one.error is not None and one.error.param == "confirm"]
    return Refusal(fields={"confirm": said_of(visit, doubts[0])}) if doubts else NONE
