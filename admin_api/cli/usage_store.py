"""`litemaas usage-store …`"""

from datetime import UTC, date, datetime
from typing import Annotated

import typer

from admin_api.cli.clickhouse import act_on_clickhouse
from admin_api.cli.session import AsJSON, operator, show, show_details
from admin_api.operations.maintenance import usage_store
from admin_api.operations.validation import invalid
from admin_api.schemas.usage_store import SentView, UsageStoreCheckView, UsageStoreView
from admin_api.storage.clickhouse.entries import ENGINE, create_statements

app = typer.Typer(no_args_is_help=True, help="ClickHouse, from which usage questions can be answered.")


@app.callback()
def group() -> None:
    """ClickHouse, from which usage questions can be answered."""


@app.command()
def init(
    engine: Annotated[
        str, typer.Option(help="Engine of the tables, with its arguments; one that replaces rows by version.")
    ] = ENGINE,
    only_print: Annotated[bool, typer.Option("--print", help="Only print the statements.")] = False,
    as_json: AsJSON = False,
) -> None:
    """Create the tables in ClickHouse. Those that are there stay."""
    if only_print:
        typer.echo(";\n".join(create_statements(engine)) + ";")
        return
    act_on_clickhouse(lambda pool, clickhouse: usage_store.create_tables(pool, operator(), clickhouse, engine))
    show(SentView(sent=0), as_json=as_json, sentence="The tables are there.")


@app.command()
def feed(as_json: AsJSON = False) -> None:
    """Send ClickHouse what it lacks, once. The admin API does this all the time."""
    sent = act_on_clickhouse(lambda pool, clickhouse: usage_store.feed_once(pool, operator(), clickhouse))
    show(SentView(sent=sent), as_json=as_json, sentence=f"{sent} calls and corrections were sent.")


@app.command()
def status(as_json: AsJSON = False) -> None:
    """Show how far ClickHouse is."""
    found = act_on_clickhouse(lambda pool, clickhouse: usage_store.read_status(pool, operator(), clickhouse))
    show_details(UsageStoreView.of(found), as_json=as_json)


@app.command()
def verify(
    days: Annotated[int, typer.Option(help="Number of UTC days, up to and including today.")] = 31,
    as_json: AsJSON = False,
) -> None:
    """Compare every sum in ClickHouse with the rollups. Exit code 1 if they differ."""
    found = act_on_clickhouse(
        lambda pool, clickhouse: usage_store.verify_usage_store(pool, operator(), clickhouse, days=days)
    )
    view = UsageStoreCheckView.of(found)
    lines = [f"{view.sums} sums of {view.days} days; {len(view.differing)} days differ."]
    lines += [f"{one.day}: {one.sums} sums differ" for one in view.differing]
    show(view, as_json=as_json, sentence="\n".join(lines))
    if not view.agrees:
        raise typer.Exit(1)


@app.command()
def rebuild(
    first: Annotated[str, typer.Option("--from", help="First UTC day, e.g. 2027-01-31.")],
    last: Annotated[str | None, typer.Option("--to", help="Last UTC day; today if left out.")] = None,
    as_json: AsJSON = False,
) -> None:
    """Delete these days in ClickHouse and send them again. Meanwhile questions are answered from Postgres."""
    days = (_day("from", first), _day("to", last) if last else datetime.now(UTC).date())
    sent = act_on_clickhouse(
        lambda pool, clickhouse: usage_store.rebuild_days(pool, operator(), clickhouse, first=days[0], last=days[1])
    )
    show(SentView(sent=sent), as_json=as_json, sentence=f"{sent} calls and corrections were sent.")


def _day(option: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise invalid(option, f"{option} must be a date, e.g. 2027-01-31.") from None
