"""`litemaas usage …`"""

from typing import Annotated

import typer

from admin_api.cli.session import AsJSON, Cursor, PageSize, act, operator, show_page
from admin_api.operations import usage
from admin_api.views.usage import UsageView

app = typer.Typer(no_args_is_help=True, help="What was used.")
COLUMNS = (
    "started_at",
    "model_asked",
    "prompt_tokens",
    "completion_tokens",
    "cost_usd",
    "status",
    "ending",
    "request_id",
)


@app.callback()
def group() -> None:
    """What was used."""


@app.command("show")
def show_(
    key: Annotated[int | None, typer.Option(help="Only of this key.")] = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """Show calls, newest first, and the totals of all of them."""
    view = UsageView.of(act(lambda pool: usage.show_usage(pool, operator(), key_id=key, limit=limit, cursor=cursor)))
    show_page(view, as_json=as_json, columns=COLUMNS)
    if not as_json:
        totals = view.totals
        tokens = f"{totals.prompt_tokens} + {totals.completion_tokens} tokens"
        typer.echo(f"In all: {totals.calls} calls, {tokens}, {totals.cost_usd} USD.")
