"""`litemaas ledger …`"""

from pathlib import Path
from typing import Annotated

import typer

from admin_api.cli.session import AsJSON, act, operator, parse_moment, table
from admin_api.operations.ledger import verify_ledger
from admin_api.operations.reconciliation import reconcile_ledger
from admin_api.views.explanations import DifferenceView, LedgerCheckView
from admin_api.views.reconciliation import ReconciliationView

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


FINDINGS = (
    "finding",
    "request_id",
    "model",
    "ending",
    "estimated_why",
    "prompt_tokens",
    "litellm_prompt_tokens",
    "completion_tokens",
    "litellm_completion_tokens",
    "cost_usd",
    "litellm_cost_usd",
)


@app.command()
def reconcile(
    litellm_log: Annotated[
        Path, typer.Option(help="JSON lines of LiteLLM's StandardLoggingPayload.", exists=True, dir_okay=False)
    ],
    since: Annotated[str | None, typer.Option(help="From then on, as 2027-01-31T00:00:00Z.")] = None,
    until: Annotated[str | None, typer.Option(help="Before then.")] = None,
    tolerance_nano_usd: Annotated[int, typer.Option(help="Costs may differ by so much.")] = 0,
    skip_estimated: Annotated[bool, typer.Option(help="Estimates may differ: of callers who hung up, …")] = False,
    limit: Annotated[int, typer.Option(help="Most calls named; all are counted.")] = 100,
    as_json: AsJSON = False,
) -> None:
    """Compare the rows with what LiteLLM logged; exit code 1 when they differ.

    Of the time from the log's first call to its last, unless said otherwise.
    """
    with litellm_log.open("rb") as lines:
        found = act(
            lambda pool: reconcile_ledger(
                pool,
                operator(),
                lines,
                since=parse_moment("since", since),
                until=parse_moment("until", until),
                tolerance_nano_usd=tolerance_nano_usd,
                skip_estimated=skip_estimated,
                limit=limit,
            )
        )
    view = ReconciliationView.of(found)
    if as_json:
        typer.echo(view.model_dump_json())
    else:
        typer.echo(
            f"{view.lines} lines: {view.repeated} of a call that has another line, {view.foreign} of calls no gateway "
            f"made, {view.unreadable} unreadable."
        )
        for finding, count in view.counts.items():
            typer.echo(
                f"{finding}: {count.calls} calls; ledger {count.tokens} tokens, {count.cost_usd} USD; "
                f"LiteLLM {count.litellm_tokens} tokens, {count.litellm_cost_usd} USD."
            )
        if view.findings:
            typer.echo(table([finding.model_dump(mode="json") for finding in view.findings], FINDINGS))
    if not view.agrees:
        raise typer.Exit(1)
