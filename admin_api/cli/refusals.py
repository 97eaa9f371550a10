"""`litemaas refusals …`"""

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from admin_api.cli.cells import key_text, owner_text, time_text
from admin_api.cli.columns import columns
from admin_api.cli.session import AsJSON, Cursor, PageSize, act, operator, show, show_page, zone_named
from admin_api.cli.usage_options import filtered
from admin_api.operations.usage import refusals
from admin_api.operations.usage.scope import UsageFilter
from admin_api.schemas.refusals import RefusalCountView, RefusedCallView
from admin_api.schemas.shapes import PageView

if TYPE_CHECKING:
    from admin_api.storage.usage.refusals import RefusedCall

app = typer.Typer(no_args_is_help=True, help="Refused calls: how many by hour, and one by its request id.")
REFUSALS: Final = columns("hour", "owner", "key", "model", "code", "count")


@app.command("list")
@filtered(without=("provider", "ending", "error_class"))
def list_(
    query: UsageFilter,
    code: Annotated[str | None, typer.Option(help="Error code, e.g. insufficient_quota.")] = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """List refused calls by hour, newest first."""
    page = act(lambda pool: refusals.list_refusals(pool, operator(), query, code=code, limit=limit, cursor=cursor))
    view = PageView[RefusalCountView].model_validate(page)
    zone = zone_named(query.time_zone)
    show_page(view, what="refusals", as_json=as_json, columns=REFUSALS, as_row=_row, zone=zone)


def _row(refusal: dict[str, Any]) -> dict[str, Any]:
    return refusal | {
        "owner": owner_text(refusal["account_name"], refusal["user_email"]),
        "key": key_text(refusal["key_name"], refusal["key_last_four"]),
    }


@app.command("show")
def show_(
    request_id: Annotated[str, typer.Argument(metavar="REQUEST-ID", help="As in x-request-id of the answer.")],
    as_json: AsJSON = False,
) -> None:
    """Show a refused call of the last seven days, as its caller was answered. What would be now: `limits explain`."""
    call = act(lambda pool: refusals.find_refused_call(pool, operator(), request_id))
    show(RefusedCallView.model_validate(call), as_json=as_json, sentence=sentence_of(call))


def sentence_of(call: "RefusedCall") -> str:
    """When, who, what and why."""
    what = f" of {call.model_asked}" if call.model_asked else ""
    key = key_text(call.key_name, call.key_last_four) or call.api_key_id
    whose = f"key {key} of {owner_text(call.account_name, call.user_email)}"
    lines = [
        f"{time_text(call.at, seconds=True)}, {whose}: the call{what} was refused.",
        f"{call.code}: {call.message}",
        call.missing_cause_text,
    ]
    return "\n".join(line for line in lines if line)
