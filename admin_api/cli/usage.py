"""`litemaas usage …`"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from admin_api.cli.clickhouse import ask
from admin_api.cli.columns import Column, columns
from admin_api.cli.options import words_argument, words_option
from admin_api.cli.session import (
    AsJSON,
    Cursor,
    PageSize,
    act,
    operator,
    show_details,
    show_page,
    show_rows,
    zone_named,
)
from admin_api.cli.usage_options import filtered
from admin_api.cli.usage_rows import call_row, group_rows, latency_rows, overview_rows, point_rows, week_rows
from admin_api.operations.csv_formats import LOCALE
from admin_api.operations.usage import calls, exports, overview, reports
from admin_api.operations.usage.grouping import BY, ORDERS
from admin_api.operations.usage.overview import OverviewInput
from admin_api.operations.usage.scope import UsageFilter
from admin_api.schemas import usage_files
from admin_api.schemas.usage import CallView, UsageView
from admin_api.schemas.usage_overview import UsageOverviewView, UsageWeekView
from admin_api.schemas.usage_reports import (
    RangeView,
    UsageBreakdownView,
    UsagePercentilesView,
    UsageSeriesView,
    UsageSummaryView,
)

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

app = typer.Typer(no_args_is_help=True, help="Usage reports and exports.")
SUMS: Final = ("calls", "success_share", "prompt_tokens", "completion_tokens", "cost_usd", "mean_total_ms")
CALLS: Final = columns("started_at", "owner", "key", "model_asked", "tokens", "cost_usd", "ending", "request_id")
SUMMARY: Final = columns(*SUMS)
SERIES: Final = {step: columns(step, *SUMS) for step in reports.STEPS}
BREAKDOWNS: Final = {by: columns(*(("id",) if by == "key" else ()), by, *SUMS) for by in BY}
OVERVIEWS: Final = {
    by: columns(*(("id",) if by == "key" else ()), by, "calls", "tokens", "cost_usd", "cost_before_usd") for by in BY
}
WEEK: Final = columns("weekday", "hour", "calls", "prompt_tokens", "completion_tokens", "cost_usd")
PERCENTILES: Final = columns("name", "of", "calls", "p50", "p90", "p95", "p99")


@app.callback()
def group() -> None:
    """Usage reports and exports."""


@app.command("show")
@filtered()
def show_(
    query: UsageFilter,
    client_request_id: Annotated[str | None, typer.Option(help="Only with this id, which the caller sent.")] = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """List calls that match, newest first, with the totals of all pages."""
    found = act(
        lambda pool: calls.show_calls(
            pool, operator(), query, client_request_id=client_request_id, limit=limit, cursor=cursor
        )
    )
    view = UsageView.of(found)
    zone = zone_named(query.time_zone)
    show_page(view, what="calls", as_json=as_json, columns=CALLS, as_row=call_row, zone=zone)
    if view.rows and not as_json:
        totals = view.totals
        tokens = f"{totals.prompt_tokens} + {totals.completion_tokens} tokens"
        typer.echo(f"Total: {totals.calls} calls, {tokens}, {totals.cost_usd} USD.")


@app.command("summary")
@filtered()
def summary(query: UsageFilter, as_json: AsJSON = False) -> None:
    """Show the totals of the period."""
    view = UsageSummaryView.from_summary(
        ask(lambda pool, store: reports.summarize(pool, operator(), query, store=store))
    )
    _show(view, [view.model_dump(mode="json")], SUMMARY, as_json=as_json)


@app.command("series")
@filtered()
def series(
    query: UsageFilter,
    step: Annotated[str, words_option(reports.STEPS)] = "day",
    as_json: AsJSON = False,
) -> None:
    """Show the totals of each hour, day, week or month."""
    view = UsageSeriesView.of(
        ask(lambda pool, store: reports.read_series(pool, operator(), query, step=step, store=store))
    )
    _show(view, point_rows(view), SERIES[step], as_json=as_json)


@app.command("breakdown")
@filtered()
def breakdown(
    query: UsageFilter,
    by: Annotated[str, words_argument(BY)],
    order: Annotated[str, words_option(ORDERS, hint="The largest first.")] = "cost",
    limit: PageSize = 100,
    as_json: AsJSON = False,
) -> None:
    """Show the totals of each model, provider, key, user, account, team, ending or error class."""
    found = ask(
        lambda pool, store: reports.break_down(pool, operator(), query, by=by, order=order, limit=limit, store=store)
    )
    view = UsageBreakdownView.of(found)
    number, rows = len(view.groups), group_rows(view)
    is_cut = view.number_of_groups > number
    of = f" of {view.number_of_groups}, the largest by {order}; --limit shows more" if is_cut else ""
    note = f"{number} {'row' if number == 1 else 'rows'}{of}. "
    _show(view, rows, BREAKDOWNS[by], as_json=as_json, note=note)


@app.command("overview")
@filtered()
def show_overview(
    query: UsageFilter,
    by: Annotated[str, words_argument(BY)],
    then_by: Annotated[str | None, words_option(BY, "--then-by", hint="Parts of each group.")] = None,
    order: Annotated[str, words_option(ORDERS, hint="The largest first.")] = "cost",
    step: Annotated[
        str | None, words_option(reports.STEPS, hint="Of the points in JSON; by the period if left out.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=overview.MAX_GROUPS, help="Groups shown separately.")] = 20,
    as_json: AsJSON = False,
) -> None:
    """Show the largest groups, what each consists of, and the period before."""
    question = OverviewInput(by=by, then_by=then_by, order=order, step=step, limit=limit)
    view = UsageOverviewView.of(
        ask(lambda pool, store: overview.read_overview(pool, operator(), query, question, store=store))
    )
    _show(view, overview_rows(view), OVERVIEWS[by], as_json=as_json)


@app.command("week")
@filtered()
def show_week(query: UsageFilter, as_json: AsJSON = False) -> None:
    """Show the totals of each hour of the week."""
    view = UsageWeekView.of(ask(lambda pool, store: overview.read_week(pool, operator(), query, store=store)))
    _show(view, week_rows(view), WEEK, as_json=as_json)


@app.command("call")
def show_call(
    request_id: Annotated[str, typer.Argument(metavar="REQUEST-ID", help="As in x-request-id of the answer.")],
    as_json: AsJSON = False,
) -> None:
    """Show one forwarded call: what it cost, how it ended, and which limits count such calls."""
    found = act(lambda pool: calls.find_call(pool, operator(), request_id))
    show_details(CallView.of_call(found), as_json=as_json)


@app.command("percentiles")
@filtered()
def percentiles(
    query: UsageFilter,
    by: Annotated[str | None, words_option(BY)] = None,
    as_json: AsJSON = False,
) -> None:
    """Show percentiles of latency in milliseconds, accurate to 5 %."""
    view = UsagePercentilesView.of(
        ask(lambda pool, store: reports.measure_latencies(pool, operator(), query, by=by, store=store))
    )
    _show(view, latency_rows(view), PERCENTILES, as_json=as_json)


@app.command("export")
@filtered()
def export(
    query: UsageFilter,
    file_format: Annotated[str, words_option(exports.FORMATS, "--format", hint="FOCUS is 1.2, as CSV.")] = "csv",
    detail: Annotated[
        str, words_option(exports.DETAILS, hint="Sums by day of the time zone, or single calls.")
    ] = "days",
    locale: Annotated[str | None, typer.Option(help=f"{LOCALE}.")] = None,
) -> None:
    """Export usage to stdout, in any amount."""

    async def write(pool: "Pool") -> None:
        found = await exports.export_usage(
            pool, operator(), query, file_format=file_format, detail=detail, locale=locale
        )
        async for part in usage_files.parts_of(found):
            sys.stdout.buffer.write(part)

    act(write)


def _show(
    view: RangeView, rows: Sequence[dict[str, Any]], columns: Sequence[Column], *, as_json: bool, note: str = ""
) -> None:
    """As JSON, or as a table with its period below, in the time zone of its days."""
    if as_json:
        typer.echo(view.model_dump_json())
        return
    zone = zone_named(view.time_zone)
    show_rows(rows, columns, what="calls", zone=zone)
    since, until = (f"{at.astimezone(zone):%Y-%m-%d %H:%M}" for at in (view.since, view.until))
    typer.echo(f"{note if rows else ''}From {since} to {until}, {view.time_zone}.")
