"""`litemaas audit …`"""

import asyncio
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final, get_args

import typer

from admin_api import settings as environment
from admin_api.cli.audit_texts import entry_text
from admin_api.cli.empty_lists import none_found
from admin_api.cli.operator import name_operator, operator
from admin_api.cli.options import moment_option, time_zone, words_option
from admin_api.cli.session import AsJSON, Cursor, PageSize, act, parse_moment, show, zone_named
from admin_api.operations import audit
from admin_api.operations.csv_formats import LOCALE, csv_format_of
from admin_api.operations.validation import invalid
from admin_api.schemas.audit import AuditCheckView, AuditView, FileFormat, as_csv, as_json
from admin_api.schemas.shapes import PageView
from gateway.storage import postgres
from gateway.storage.audit import AuditFilter, prune

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

FORMATS: Final = get_args(FileFormat)
app = typer.Typer(no_args_is_help=True, help="The audit log: every change, by whom and why.")
About = Annotated[
    str | None,
    typer.Option(help="All rows about one thing: user:ana@example.org, team:red, key:7, model:small, limit:12 …"),
]
ActorOption = Annotated[
    str | None,
    typer.Option(
        "--actor", help="Only changes by them: a name as in the rows, with cli: before it only those by commands."
    ),
]
Action = Annotated[str | None, typer.Option(help="Only of this kind, e.g. subscription.approve.")]
Since = Annotated[str | None, moment_option(help="Start.")]
Until = Annotated[str | None, moment_option(help="End, exclusive.")]


@app.command("list")
def list_(
    about: About = None,
    actor: ActorOption = None,
    action: Action = None,
    since: Since = None,
    until: Until = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """List changes, newest first: what was before and is now, who made it, and the reason or the command."""
    only = _filter(about, actor, action, since, until)
    found = act(lambda pool: audit.list_audit(pool, operator(), only, limit=limit, cursor=cursor))
    if as_json:
        rows = [AuditView.of(entry) for entry in found.rows]
        typer.echo(PageView[AuditView](rows=rows, next_cursor=found.next_cursor).model_dump_json())
        return
    zone = zone_named(time_zone())
    typer.echo("\n".join(entry_text(entry, zone) for entry in found.rows) or none_found("audit entries"))
    if found.rows and zone is not UTC:
        typer.echo(f"Times are of {zone}.")
    if found.next_cursor:
        typer.echo(f"More: --cursor {found.next_cursor}")


@app.command()
def export(
    about: About = None,
    actor: ActorOption = None,
    action: Action = None,
    since: Since = None,
    until: Until = None,
    file_format: Annotated[str, words_option(FORMATS, "--format")] = "csv",
    locale: Annotated[str | None, typer.Option(help=f"{LOCALE}.")] = None,
) -> None:
    """Write all changes to stdout, in any amount, newest first."""
    csv_format = csv_format_of(locale)
    only = _filter(about, actor, action, since, until)

    async def run(pool: "Pool") -> None:
        rows = audit.read_parts(pool, operator(), only)
        async for part in as_csv(rows, csv_format) if file_format == "csv" else as_json(rows):
            sys.stdout.buffer.write(part)

    act(run)


@app.command()
def verify(
    anchor: Annotated[
        str | None, typer.Option(help="POSITION:HASH, as this command printed it before and you noted it elsewhere.")
    ] = None,
    as_json: AsJSON = False,
) -> None:
    """Compute the hash chain over the audit log again. Exit code 1 if a row was changed, added, deleted or moved."""
    view = AuditCheckView.of(act(lambda pool: audit.verify_audit(pool, operator(), anchor=anchor)))
    lines = [f"{view.rows} rows, {view.pruned} pruned; {len(view.findings)} findings. Head: {view.head}"]
    lines += [f"{one.fault}: position {one.position}, row {one.audit_id}" for one in view.findings]
    show(view, as_json=as_json, sentence="\n".join(lines))
    if not view.intact:
        raise typer.Exit(1)


@app.command("prune")
def prune_(before: Annotated[str, moment_option(help="At least 90 days ago.")], as_json: AsJSON = False) -> None:
    """Delete audit rows older than a time, and record that in the log. Uses LITEMAAS_OWNER_DATABASE_URL."""
    settings = environment.DatabaseSettings.from_env()
    if settings.owner_database_url is None:
        from admin_api.reported_settings import SettingsError

        raise SettingsError("LITEMAAS_OWNER_DATABASE_URL is not set. Only the owner role may delete audit rows.")
    owner_url = settings.owner_database_url.get_secret_value()
    moment = parse_moment("before", before)
    if moment is None or moment > datetime.now(UTC) - audit.KEPT:
        raise invalid("before", f"Audit rows must be kept for at least {audit.KEPT.days} days.")

    async def run() -> int:
        connection = await postgres.connect(owner_url, tls=settings.tls("database"), name="litemaas-cli")
        try:
            await name_operator(connection, settings.operator)
            async with connection.transaction():
                return await prune(connection, moment, operator().name)
        finally:
            await connection.close()

    pruned = asyncio.run(run())
    typer.echo(f'{{"pruned":{pruned}}}' if as_json else f"{pruned} audit rows deleted.")


def _filter(
    about: str | None, actor: str | None, action: str | None, since: str | None, until: str | None
) -> AuditFilter:
    return AuditFilter(
        about=about,
        actor=actor,
        action=action,
        since=parse_moment("since", since),
        until=parse_moment("until", until),
    )
