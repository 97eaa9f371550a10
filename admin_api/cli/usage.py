"""`litemaas usage …`"""

import sys
from collections.abc import Callable, Sequence
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Annotated, Any

import typer

from admin_api.cli.options import moment_option, words_argument, words_option
from admin_api.cli.session import AsJSON, Cursor, PageSize, act, key_id_of, operator, show_page, table
from admin_api.operations.csv_formats import LOCALE
from admin_api.operations.dates import PERIODS
from admin_api.operations.usage import calls, exports, reports
from admin_api.operations.usage.scope import UsageFilter
from admin_api.schemas import usage_files
from admin_api.schemas.usage import UsageView
from admin_api.schemas.usage_reports import (
    UsageBreakdownView,
    UsagePercentilesView,
    UsageSeriesView,
    UsageSummaryView,
)
from gateway.domain.calls import ENDINGS
from gateway.domain.error_classes import ERROR_CLASSES

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

app = typer.Typer(no_args_is_help=True, help="Usage reports and exports.")
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
    """Usage reports and exports."""


SUMS = ("calls", "success_share", "prompt_tokens", "completion_tokens", "cost_usd", "mean_total_ms")
Since = Annotated[str | None, moment_option(help="Start; 30 days ago if left out.")]
Until = Annotated[str | None, moment_option(help="End, exclusive; now if left out.")]
Period = Annotated[str | None, typer.Option(help=f"Instead of start and end: {PERIODS}.")]
Zone = Annotated[
    str | None,
    typer.Option(
        "--time-zone", metavar="ZONE", help="IANA name of the zone of dates and days; the account's if left out."
    ),
]
User = Annotated[str | None, typer.Option("--user", help="E-mail address or id.")]
Team = Annotated[str | None, typer.Option("--team", help="Name or id of the team.")]
Key = Annotated[str | None, typer.Option("--key", metavar="KEY", help="Id or last four characters of a key.")]
Models = Annotated[list[str] | None, typer.Option("--model", help="Name of a model; may be repeated.")]
Provider = Annotated[str | None, typer.Option(help="Provider of the models.")]
Endings = Annotated[list[str] | None, words_option(ENDINGS, "--ending", hint="May be repeated.")]
Classes = Annotated[list[str] | None, words_option(ERROR_CLASSES, "--error-class", hint="May be repeated.")]


def _filter(
    since: Since = None,
    until: Until = None,
    period: Period = None,
    time_zone: Zone = None,
    user: User = None,
    team: Team = None,
    key: Key = None,
    model: Models = None,
    provider: Provider = None,
    ending: Endings = None,
    error_class: Classes = None,
) -> UsageFilter:
    return UsageFilter(
        since=since,
        until=until,
        period=period,
        time_zone=time_zone,
        user=user,
        team=team,
        key=key_id_of(key),
        models=model or (),
        provider=provider,
        endings=ending or (),
        error_classes=error_class or (),
    )


def _filtered(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options of `_filter` to a command, which receives them as its parameter `query`."""
    filters = signature(_filter).parameters
    own = [p for p in signature(command).parameters.values() if p.name != "query"]

    def run(**given: Any) -> None:
        command(query=_filter(**{name: given.pop(name) for name in filters}), **given)

    kinds = [p.replace(kind=Parameter.KEYWORD_ONLY) for p in (*own, *filters.values())]
    run.__signature__ = signature(command).replace(parameters=kinds)  # type: ignore[attr-defined]  # typer reads it
    run.__doc__ = command.__doc__
    return run


@app.command("show")
@_filtered
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
    show_page(view, as_json=as_json, columns=COLUMNS)
    if not as_json:
        totals = view.totals
        tokens = f"{totals.prompt_tokens} + {totals.completion_tokens} tokens"
        typer.echo(f"Total: {totals.calls} calls, {tokens}, {totals.cost_usd} USD.")


@app.command("summary")
@_filtered
def summary(query: UsageFilter, as_json: AsJSON = False) -> None:
    """Show the totals of the period."""
    view = UsageSummaryView.from_summary(act(lambda pool: reports.summarize(pool, operator(), query)))
    _show(view.model_dump_json(), [view.model_dump(mode="json")], SUMS, as_json=as_json)


@app.command("series")
@_filtered
def series(
    query: UsageFilter,
    step: Annotated[str, words_option(reports.STEPS)] = "day",
    as_json: AsJSON = False,
) -> None:
    """Show the totals of each hour, day, week or month."""
    view = UsageSeriesView.of(act(lambda pool: reports.read_series(pool, operator(), query, step=step)))
    points = [point.model_dump(mode="json") for point in view.points]
    _show(view.model_dump_json(), points, ("start", *SUMS), as_json=as_json)


@app.command("breakdown")
@_filtered
def breakdown(
    query: UsageFilter,
    by: Annotated[str, words_argument(reports.BY)],
    order: Annotated[str, words_option(reports.ORDERS, hint="The largest first.")] = "cost",
    limit: PageSize = 100,
    as_json: AsJSON = False,
) -> None:
    """Show the totals of each model, provider, key, user, account, team, ending or error class."""
    found = act(lambda pool: reports.break_down(pool, operator(), query, by=by, order=order, limit=limit))
    view = UsageBreakdownView.of(found)
    rows = [group.model_dump(mode="json") for group in view.groups]
    rest = {"id": None, "name": "all others"} | view.others.model_dump(mode="json")
    _show(view.model_dump_json(), [*rows, rest] if view.others.calls else rows, ("id", "name", *SUMS), as_json=as_json)


@app.command("percentiles")
@_filtered
def percentiles(
    query: UsageFilter,
    by: Annotated[str | None, words_option(reports.BY)] = None,
    as_json: AsJSON = False,
) -> None:
    """Show percentiles of latency in milliseconds, accurate to 5 %."""
    view = UsagePercentilesView.of(act(lambda pool: reports.measure_latencies(pool, operator(), query, by=by)))
    rows = [
        {"name": row.name or row.id or "all", "of": of} | latency.model_dump(mode="json")
        for row in view.rows
        for of, latency in (("whole call", row.total_ms), ("first byte", row.first_byte_ms))
    ]
    _show(view.model_dump_json(), rows, ("name", "of", "calls", "p50", "p90", "p95", "p99"), as_json=as_json)


@app.command("export")
@_filtered
def export(
    query: UsageFilter,
    file_format: Annotated[str, typer.Option("--format", help="csv, json or focus (FOCUS 1.2, as CSV).")] = "csv",
    detail: Annotated[str, typer.Option(help="days: sums by day of the time zone; calls: single calls.")] = "days",
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


def _show(as_text: str, rows: Sequence[dict[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    typer.echo(as_text if as_json else table(rows, columns))
