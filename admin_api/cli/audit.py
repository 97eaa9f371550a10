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

# As in the schema, which holds to it whoever asks.
KEPT: Final = timedelta(days=90)
app = typer.Typer(no_args_is_help=True, help="The audit log.")


@app.callback()
def group() -> None:
    """So that `prune` is a command of its group, though there is no other yet."""


@app.command()
def prune(
    before: Annotated[str, typer.Option(help="An ISO time, 90 days ago or longer.")], as_json: AsJSON = False
) -> None:
    """Delete audit rows from before a time, as LITEMAAS_OWNER_DATABASE_URL; leaves a row that says so."""
    settings = DatabaseSettings.from_env()
    if settings.owner_database_url is None:
        raise SettingsError("LITEMAAS_OWNER_DATABASE_URL is not set; only the owner's role may delete audit rows.")
    owner_url = settings.owner_database_url.get_secret_value()
    moment = parse_moment("before", before)
    if moment is None or moment.tzinfo is None:
        raise invalid("before", "before needs a time zone, as in 2027-01-31T12:00:00Z.")
    if moment > datetime.now(UTC) - KEPT:
        raise invalid("before", f"Audit rows are kept for {KEPT.days} days at least.")

    async def run() -> int:
        connection = await connect(owner_url, ca_file=settings.database_ca_file, name="litemaas-cli")
        try:
            async with connection.transaction():
                return await audit.prune(connection, moment, operator().name)
        finally:
            await connection.close()

    pruned = asyncio.run(run())
    typer.echo(f'{{"pruned":{pruned}}}' if as_json else f"{pruned} audit rows deleted.")
