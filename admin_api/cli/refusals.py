"""`litemaas refusals …`"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from admin_api.cli.cells import key_text, owner_text, time_text
from admin_api.cli.columns import Column, columns
from admin_api.cli.options import words_argument, words_option
from admin_api.cli.session import AsJSON, Cursor, PageSize, act, operator, show, show_page, show_rows, zone_named
from admin_api.cli.usage_options import filtered
from admin_api.operations.usage import refusal_counts, refusals
from admin_api.operations.usage.overview import MAX_GROUPS
from admin_api.operations.usage.refusal_counts import REFUSALS_BY
from admin_api.operations.usage.reports import STEPS
from admin_api.operations.usage.scope import UsageFilter
from admin_api.schemas.refusals import RefusalCountView, RefusalReportView, RefusedCallView
from admin_api.schemas.shapes import PageView

if TYPE_CHECKING:
    from pydantic import BaseModel

    from admin_api.storage.usage.refusals import RefusedCall

app = typer.Typer(no_args_is_help=True, help="Refused calls: how many by hour, and one by its request id.")
REFUSALS: Final = columns("hour", "owner", "key", "model", "code", "count")
REPORTS: Final = {by: columns(by, "count") for by in REFUSALS_BY}
CALLS: Final = columns("at", "owner", "key", "model_asked", "code", "request_id")

Code = Annotated[str | None, typer.Option(help="Error code, e.g. insufficient_quota.")]
_filtered: Final = filtered(without=("provider", "ending", "error_class"))


@app.command("list")
@_filtered
def list_(
    query: UsageFilter,
    code: Code = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """List refused calls by hour, newest first."""
    page = act(lambda pool: refusals.list_refusals(pool, operator(), query, code=code, limit=limit, cursor=cursor))
    view = PageView[RefusalCountView].model_validate(page)
    _show(view, query, what="refusals", columns=REFUSALS, as_json=as_json)


@app.command("report")
@_filtered
def report(
    query: UsageFilter,
    by: Annotated[str, words_argument(REFUSALS_BY)] = "code",
    step: Annotated[str | None, words_option(STEPS, hint="Of the points in JSON; by the period if left out.")] = None,
    code: Code = None,
    limit: Annotated[int, typer.Option(min=1, max=MAX_GROUPS, help="Groups shown separately.")] = 20,
    as_json: AsJSON = False,
) -> None:
    """Count refused calls by error code, model, key, user or account."""
    found = act(
        lambda pool: refusal_counts.count_refusals(pool, operator(), query, by=by, step=step, code=code, limit=limit)
    )
    view = RefusalReportView.of(found)
    if as_json:
        typer.echo(view.model_dump_json())
        return
    rows = [{by: group.name or group.id, "count": group.count} for group in view.groups]
    if view.number_of_groups > len(rows):
        rows.append({by: "all others", "count": view.others})
    if rows:
        rows.append({by: "total", "count": view.total})
    show_rows(rows, REPORTS[by], what="refusals")


@app.command("calls")
@_filtered
def list_calls(
    query: UsageFilter,
    code: Code = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """List the refused calls that are kept, newest first: of the last seven days, a few of each account and minute."""
    page = act(lambda pool: refusals.list_refused_calls(pool, operator(), query, code=code, limit=limit, cursor=cursor))
    view = PageView[RefusedCallView].model_validate(page)
    _show(view, query, what="refused calls", columns=CALLS, as_json=as_json)


def _show(view: "BaseModel", query: UsageFilter, *, what: str, columns: Sequence[Column], as_json: bool) -> None:
    """A page, with its times in the zone of the filter."""
    zone = zone_named(query.time_zone)
    show_page(view, what=what, as_json=as_json, columns=columns, as_row=_row, zone=zone)


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
