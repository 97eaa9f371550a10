"""`litemaas audit …`"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer

from admin_api.cli.session import AsJSON, operator, parse_moment
from admin_api.operations.validation import invalid
from admin_api.settings import DatabaseSettings, SettingsError
from gateway.storage import audit
from gateway.storage.postgres import connect

# The same period as in the database schema, which enforces it.
KEPT: Final = timedelta(days=90)
app = typer.Typer(no_args_is_help=True, help="The audit log.")


@app.callback()
def group() -> None:
    """Keeps `prune` a subcommand: Typer would merge a single command with its group."""


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
