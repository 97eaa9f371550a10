"""`litemaas ledger …`"""

import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

import typer

from admin_api.cli.columns import columns
from admin_api.cli.options import moment_option
from admin_api.cli.price_texts import repriced_text
from admin_api.cli.session import AsJSON, act, operator, parse_moment, show, table
from admin_api.operations.limits.parsing import parse_decimal
from admin_api.operations.maintenance import ledger
from admin_api.operations.maintenance.new_prices import apply_new_prices, preview_new_prices
from admin_api.operations.maintenance.reconciliation import reconcile_ledger
from admin_api.operations.maintenance.repricing import reprice_call
from admin_api.operations.validation import invalid
from admin_api.schemas.explanations import LedgerCheckView
from admin_api.schemas.ledger import ClosedDaysView, LedgerStatusView, RebuildView, ReplayView, RepricedView
from admin_api.schemas.prices import NewPricesView
from admin_api.schemas.reconciliation import ReconciliationView

app = typer.Typer(no_args_is_help=True, help="The usage ledger.")
JOURNALS: Final = columns("worker", "alive", "pid", "host", "rows", "bytes", "begun", "oldest", "error", "error_at")
PARTITIONS: Final = columns("name", "rows", "bytes")
STDIN: Final = Path("-")


@app.callback()
def group() -> None:
    """The usage ledger."""


@app.command()
def verify(
    days: Annotated[int, typer.Option(help="Number of UTC days, up to and including today.")] = 31,
    closed: Annotated[
        bool, typer.Option("--sealed", help="Check the seals of all days, and the rows of sealed days among these.")
    ] = False,
    anchor: Annotated[
        str | None, typer.Option(help="With --sealed: DAY:HASH, as it was printed before and you noted it elsewhere.")
    ] = None,
    as_json: AsJSON = False,
) -> None:
    """Compare the ledger's rows with their rollups, or with their seals. Exit code 1 if they differ."""
    if closed:
        _verify_closed(days, anchor, as_json=as_json)
        return
    if anchor is not None:
        raise invalid("anchor", "--anchor needs --sealed.")
    check = act(lambda pool: ledger.verify_ledger(pool, operator(), days=days))
    view = LedgerCheckView.of(check)
    if as_json:
        typer.echo(view.model_dump_json())
    else:
        typer.echo(
            f"{view.rows} rows, {view.reaped} of them reaped; {len(view.differences)} differences from the rollups."
        )
        for line in view.differences:
            typer.echo(f"{line.day} account {line.account_id} model {line.model_id}: {line.sums}")
    if not view.agrees:
        raise typer.Exit(1)


MODEL_COSTS: Final = columns("model", "calls", "dearer_calls", "cost_usd", "own_cost_usd", "litellm_cost_usd")


def _verify_closed(days: int, anchor: str | None, *, as_json: bool) -> None:
    view = ClosedDaysView.of(act(lambda pool: ledger.verify_closed_days(pool, operator(), days=days, anchor=anchor)))
    lines = [
        f"{view.closed} seals, rows of {view.days} days, {view.dropped} days dropped by retention; "
        f"{len(view.findings)} findings. Head: {view.head or '-'}"
    ]
    lines += [f"{one.fault}: {one.day}" for one in view.findings]
    show(view, as_json=as_json, sentence="\n".join(lines))
    if not view.intact:
        raise typer.Exit(1)


FINDINGS: Final = columns(
    "finding",
    "request_id",
    "model",
    "ending",
    "estimated_why",
    "prompt_tokens",
    "completion_tokens",
    "cost_usd",
)
# The value of the ledger and that of LiteLLM, in one cell.
BOTH = ("prompt_tokens", "completion_tokens", "cost_usd")


def _file_or_stdin(path: Path) -> Path:
    """As typer's `exists`, whose `allow_dash` does not know a dash that is a Path; typer looks at the rest itself."""
    if path != STDIN and not path.exists():
        raise typer.BadParameter(f"file '{path}' does not exist.")
    return path


@app.command()
def reconcile(
    litellm_log: Annotated[
        Path,
        typer.Option(
            help="JSON lines of LiteLLM's StandardLoggingPayload; - for standard input.",
            dir_okay=False,
            callback=_file_or_stdin,
        ),
    ],
    since: Annotated[str | None, moment_option(help="Start of the period.")] = None,
    until: Annotated[str | None, moment_option(help="End of the period, exclusive.")] = None,
    tolerance_nano_usd: Annotated[int, typer.Option(help="Largest difference in cost that is accepted.")] = 0,
    skip_estimated: Annotated[
        bool, typer.Option(help="Ignore estimated rows, e.g. of clients that disconnected.")
    ] = False,
    limit: Annotated[int, typer.Option(help="Maximum number of calls listed; all are counted.")] = 100,
    as_json: AsJSON = False,
) -> None:
    """Compare the ledger with LiteLLM's log. Exit code 1 if they differ.

    By default the period runs from the first to the last call of the log.
    """
    with sys.stdin.buffer if litellm_log == STDIN else litellm_log.open("rb") as lines:
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
            f"{view.lines} lines: {view.repeated} duplicates, {view.foreign} of calls outside the gateway, "
            f"{view.unreadable} unreadable."
        )
        for finding, count in view.counts.items():
            typer.echo(
                f"{finding}: {count.calls} calls; ledger {count.tokens} tokens, {count.cost_usd} USD; "
                f"LiteLLM {count.litellm_tokens} tokens, {count.litellm_cost_usd} USD."
            )
        if view.models:
            typer.echo("Costs that differ, by model:")
            typer.echo(table([costs.model_dump(mode="json") for costs in view.models], MODEL_COSTS))
        if view.findings:
            typer.echo("Calls, each with the ledger's / LiteLLM's figure:")
            typer.echo(table([_both(finding.model_dump(mode="json")) for finding in view.findings], FINDINGS))
    if not view.agrees:
        raise typer.Exit(1)


def _both(row: dict[str, Any]) -> dict[str, Any]:
    return row | {name: f"{row[name]} / {row[f'litellm_{name}']}" for name in BOTH}


@app.command("rebuild-rollups")
def rebuild_rollups(
    first: Annotated[str, typer.Option("--from", help="First UTC day, e.g. 2027-01-31.")],
    last: Annotated[str | None, typer.Option("--to", help="Last UTC day; today if left out.")] = None,
    as_json: AsJSON = False,
) -> None:
    """Rebuild the rollups of these days from the rows, one transaction per day. The gateway may stay in use."""
    days = (_day("from", first), _day("to", last) if last else datetime.now(UTC).date())
    count = act(lambda pool: ledger.rebuild_rollups(pool, operator(), first=days[0], last=days[1]))
    show(RebuildView(days=count), as_json=as_json, sentence=f"The rollups of {count} days were rebuilt.")


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="journal/refused.log, or a recovered journal.")],
    keep: Annotated[bool, typer.Option("--keep", help="Keep the rows in the file after writing them.")] = False,
    as_json: AsJSON = False,
) -> None:
    """Write the rows of a file into the ledger. Rows the ledger already has are skipped. Exit code 1 if any is
    rejected."""
    done = act(lambda pool: ledger.replay(pool, operator(), file, keep=keep))
    view = ReplayView(
        written=done.written,
        replaced=done.replaced,
        known=done.known,
        refused=list(done.refused),
        damaged=done.damaged,
    )
    written = f"{done.written} rows written, {done.replaced} estimates replaced, {done.known} already in the ledger"
    lines = [f"{written}; {len(done.refused)} rejected, {done.damaged} damaged lines.", *done.refused]
    show(view, as_json=as_json, sentence="\n".join(lines))
    if done.refused or done.damaged:
        raise typer.Exit(1)


@app.command()
def reprice(
    request_id: Annotated[UUID, typer.Argument(help="Id of the call.")],
    cost_usd: Annotated[str, typer.Option(help="What it costs, in US dollars.")],
    reason: Annotated[str, typer.Option(help="Why; kept with the correction and in the audit log.")],
    as_json: AsJSON = False,
) -> None:
    """Change what a call is charged. The row stays; a correction counts the difference from now on."""
    cost = parse_decimal("cost_usd", cost_usd)
    done = act(lambda pool: reprice_call(pool, operator(), request_id, cost=cost, reason=reason))
    view = RepricedView.of(done)
    was = "nothing" if view.was_usd is None else f"{view.was_usd} USD"
    show(view, as_json=as_json, sentence=f"{was} before, {view.cost_usd} USD now.")


@app.command("reprice-calls")
def reprice_calls(
    model: Annotated[str, typer.Option(help="Name of the model.")],
    since: Annotated[str, moment_option(help="Start of the period.")],
    until: Annotated[str | None, moment_option(help="End of the period, exclusive; now if left out.")] = None,
    reason: Annotated[str, typer.Option(help="Why; kept with the corrections and in the audit log.")] = "",
    preview: Annotated[bool, typer.Option("--preview", help="Only show which calls, and what they cost.")] = False,
    as_json: AsJSON = False,
) -> None:
    """Price the calls of a time again by the prices of their time, after a price was corrected."""
    first, last = parse_moment("since", since), parse_moment("until", until)
    if first is None:
        raise invalid("since", "since must be a time, e.g. 2027-01-31T12:00:00Z.")
    if preview:
        found = act(lambda pool: preview_new_prices(pool, operator(), model, since=first, until=last))
    else:
        found = act(lambda pool: apply_new_prices(pool, operator(), model, since=first, until=last, reason=reason))
    view = NewPricesView.of(found)
    show(view, as_json=as_json, sentence=repriced_text(view, is_preview=preview))


@app.command()
def status(
    state_dir: Annotated[
        Path, typer.Option(envvar="LITEMAAS_STATE_DIR", help="The gateway's state folder on this machine.")
    ] = Path("state"),
    as_json: AsJSON = False,
) -> None:
    """Show this machine's journals with their last errors, the months of the ledger and the days of response owners."""
    view = LedgerStatusView.of(act(lambda pool: ledger.ledger_status(pool, operator(), state_dir)))
    if as_json:
        typer.echo(view.model_dump_json())
        return
    shown = view.model_dump(mode="json")
    if view.refused is None:
        typer.echo(f"There is no {state_dir / 'journal'}: journals are shown where a gateway runs, in its container.")
    else:
        typer.echo(table(shown["journals"], JOURNALS) if view.journals else f"No journals in {state_dir / 'journal'}.")
        typer.echo(f"{view.rows_waiting} rows are waiting; {view.refused} were rejected by Postgres and set aside.")
    typer.echo(table(shown["partitions"], PARTITIONS))
    owners = view.response_owners
    size = sum(partition.bytes for partition in owners)
    typer.echo(f"Owners of stored responses: {len(owners) - 1} days, {size} bytes.")
    typer.echo(
        f"Rows are kept since {view.kept_from:%Y-%m-%d}." if view.kept_from else "No month has been dropped yet."
    )


def _day(option: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise invalid(option, f"{option} must be a date, e.g. 2027-01-31.") from None
