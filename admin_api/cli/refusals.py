"""`litemaas refusals …`"""

from typing import TYPE_CHECKING, Annotated

import typer

from admin_api.cli.session import AsJSON, Cursor, PageSize, act, operator, show, show_page
from admin_api.cli.usage_options import filtered
from admin_api.operations.usage import refusals
from admin_api.operations.usage.scope import UsageFilter
from admin_api.schemas.refusals import RefusalCountView, RefusedCallView
from admin_api.schemas.shapes import PageView

if TYPE_CHECKING:
    from admin_api.storage.usage.refusals import RefusedCall

app = typer.Typer(no_args_is_help=True, help="Refused calls: how many by hour, and one by its request id.")


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
    columns = ("hour", "account_name", "api_key_id", "model", "code", "count")
    show_page(PageView[RefusalCountView].model_validate(page), as_json=as_json, columns=columns)


@app.command("show")
def show_(
    request_id: Annotated[str, typer.Argument(metavar="REQUEST_ID", help="As in x-request-id of the answer.")],
    as_json: AsJSON = False,
) -> None:
    """Show a refused call of the last seven days, as its caller was answered. What would be now: `limits explain`."""
    call = act(lambda pool: refusals.find_refused_call(pool, operator(), request_id))
    show(RefusedCallView.model_validate(call), as_json=as_json, sentence=sentence_of(call))


def sentence_of(call: "RefusedCall") -> str:
    """When, who, what and why."""
    what = f" of {call.model_asked}" if call.model_asked else ""
    whose = f"key {call.api_key_id} of {call.user_email or call.account_name}"
    return f"{call.at:%Y-%m-%d %H:%M:%S} UTC, {whose}: the call{what} was refused.\n{call.code}: {call.message}"
