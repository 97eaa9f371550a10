"""`litemaas audit …`"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer

from admin_api.cli.session import AsJSON, act, operator, parse_moment, show
from admin_api.operations.audit import verify_audit
from admin_api.operations.validation import invalid
from admin_api.schemas.audit import AuditCheckView
from admin_api.settings import DatabaseSettings, SettingsError
from gateway.storage import audit
from gateway.storage.postgres import connect

# The same period as in the database schema, which enforces it.
KEPT: Final = timedelta(days=90)
app = typer.Typer(no_args_is_help=True, help="The audit log.")


@app.command()
def verify(
    anchor: Annotated[
        str | None, typer.Option(help="POSITION:HASH, as this command printed it before and you noted it elsewhere.")
    ] = None,
    as_json: AsJSON = False,
) -> None:
    """Compute the hash chain over the audit log again. Exit code 1 if a row was changed, added, deleted or moved."""
    view = AuditCheckView.of(act(lambda pool: verify_audit(pool, operator(), anchor=anchor)))
    lines = [f"{view.rows} rows, {view.pruned} pruned; {len(view.findings)} findings. Head: {view.head}"]
    lines += [f"{one.fault}: position {one.position}, row {one.audit_id}" for one in view.findings]
    show(view, as_json=as_json, sentence="\n".join(lines))
    if not view.intact:
        raise typer.Exit(1)


@app.command()
def prune(
    before: Annotated[str, typer.Option(help="An ISO 8601 time, at least 90 days ago.")], as_json: AsJSON = False
) -> None:
    """Delete audit rows older than a time, and record that in the log. Uses LITEMAAS_OWNER_DATABASE_URL."""
    settings = DatabaseSettings.from_env()
    if settings.owner_database_url is None:
        raise SettingsError("LITEMAAS_OWNER_DATABASE_URL is not set. Only the owner role may delete audit rows.")
    owner_url = settings.owner_database_url.get_secret_value()
    moment = parse_moment("before", before)
    if moment is None or moment.tzinfo is None:
        raise invalid("before", "before needs a time zone, e.g. 2027-01-31T12:00:00Z.")
    if moment > datetime.now(UTC) - KEPT:
        raise invalid("before", f"Audit rows must be kept for at least {KEPT.days} days.")

    async def run() -> int:
        connection = await connect(owner_url, ca_file=settings.database_ca_file, name="litemaas-cli")
        try:
            async with connection.transaction():
                return await audit.prune(connection, moment, operator().name)
        finally:
            await connection.close()

    pruned = asyncio.run(run())
    typer.echo(f'{{"pruned":{pruned}}}' if as_json else f"{pruned} audit rows deleted.")
