"""`litemaas limits requests`, `approve` and `deny`."""

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from admin_api.cli.cells import with_units
from admin_api.cli.columns import columns
from admin_api.cli.options import words_option
from admin_api.cli.session import AsJSON, Confirm, Cursor, PageSize, act, operator, show, show_page
from admin_api.operations.limits import requests
from admin_api.operations.limits.parsing import AmountInput
from admin_api.schemas.requests import LimitRequestView
from admin_api.schemas.shapes import PageView
from admin_api.storage.limit_requests import REQUEST_STATUSES
from gateway.domain.limits import amount_text

if TYPE_CHECKING:
    from admin_api.operations.limits.requests import RequestedLimit

REQUESTS: Final = columns("id", "limit_id", "user_email", "kind", "window", "amount", "requested", "status", "reason")
RequestID = Annotated[int, typer.Argument(metavar="ID", help="Id of the request.")]
AmountOption = Annotated[
    str | None, typer.Option("--amount", help="Another than was asked for: a whole number, not for kind cost.")
]
AmountUSD = Annotated[
    str | None, typer.Option("--amount-usd", help="Another than was asked for, for kind cost: US dollars, e.g. 25.00.")
]
AmountNanoUSD = Annotated[
    int | None, typer.Option("--amount-nano-usd", min=0, help="The same in billionths of a US dollar.")
]


def list_requests(
    status: Annotated[str | None, words_option(REQUEST_STATUSES)] = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """List requests for more of a limit."""
    page = act(lambda pool: requests.list_requests(pool, operator(), status=status, limit=limit, cursor=cursor))
    view = PageView[LimitRequestView].of(page, LimitRequestView.of)
    show_page(view, what="requests", as_json=as_json, columns=REQUESTS, as_row=_row)


def approve(
    request: RequestID,
    amount: AmountOption = None,
    amount_usd: AmountUSD = None,
    amount_nano_usd: AmountNanoUSD = None,
    reason: Annotated[str | None, typer.Option(help="The user reads it.")] = None,
    confirm: Confirm = False,
    as_json: AsJSON = False,
) -> None:
    """Approve a request for more of a limit: the limit becomes what was asked for, or the amount that is given."""
    given = AmountInput(amount=amount, amount_usd=amount_usd, amount_nano_usd=amount_nano_usd)
    done = act(
        lambda pool: requests.decide_request(
            pool,
            operator(),
            request,
            "approve",
            amount=None if given == AmountInput() else given,
            reason=reason,
            confirmed=confirm,
        )
    )
    _show(done, as_json=as_json)


def deny(
    request: RequestID,
    reason: Annotated[str, typer.Option(help="The user reads it.")],
    as_json: AsJSON = False,
) -> None:
    """Deny a request for more of a limit."""
    _show(act(lambda pool: requests.decide_request(pool, operator(), request, "deny", reason=reason)), as_json=as_json)


def _show(done: "RequestedLimit", *, as_json: bool) -> None:
    now = amount_text(done.limit.kind, done.limit.amount)
    sentence = f"Request {done.request.id} is {done.request.status}: limit {done.limit.id} is {now}."
    show(LimitRequestView.of(done), as_json=as_json, sentence=sentence)


def _row(request: dict[str, Any]) -> dict[str, Any]:
    """The cells of a request with those of its limit, money as `25 USD`."""
    limit = with_units(request["limit"])
    of_limit = {"limit_id": limit["id"], "kind": limit["kind"], "window": limit["window"], "amount": limit["amount"]}
    return with_units(request) | of_limit
