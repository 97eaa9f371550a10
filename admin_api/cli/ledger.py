"""`litemaas ledger …`"""

from typing import Annotated

import typer

from admin_api.cli.session import AsJSON, act, operator
from admin_api.operations.ledger import verify_ledger
from admin_api.views.explanations import DifferenceView, LedgerCheckView

app = typer.Typer(no_args_is_help=True, help="The usage ledger.")


@app.callback()
def group() -> None:
    """The usage ledger."""


@app.command()
def verify(
    days: Annotated[int, typer.Option(help="So many UTC days back, today included.")] = 31,
    as_json: AsJSON = False,
) -> None:
    """Compare the rows with their rollups; exit code 1 when they differ."""
    check = act(lambda pool: verify_ledger(pool, operator(), days=days))
    differences = [
        DifferenceView(day=day, account_id=account, model_id=model, told=told)
        for day, account, model, told in check.differences
    ]
    view = LedgerCheckView(agrees=not differences, rows=check.rows, reaped=check.reaped, differences=differences)
    if as_json:
        typer.echo(view.model_dump_json())
    else:
        typer.echo(f"{view.rows} rows, {view.reaped} of them reaped; {len(differences)} differences to the rollups.")
        for line in differences:
            typer.echo(f"{line.day} account {line.account_id} model {line.model_id}: {line.told}")
    if differences:
        raise typer.Exit(1)
