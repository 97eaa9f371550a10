"""What every command does: settings, a connection to Postgres, one operation, its result on stdout."""

import asyncio
import os
import pwd
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from admin_api.operations.actors import Actor
from admin_api.operations.validation import invalid
from admin_api.settings import DatabaseSettings
from gateway.storage.postgres import new_pool

if TYPE_CHECKING:
    from pydantic import BaseModel

    from gateway.storage.postgres import Pool

T = TypeVar("T")
AsJSON = Annotated[bool, typer.Option("--json", help="Compact JSON on stdout.")]
PageSize = Annotated[int, typer.Option("--limit", help="Most rows shown.")]
Cursor = Annotated[str | None, typer.Option("--cursor", help="next_cursor of the page before.")]


def operator() -> Actor:
    """Whoever has a shell here is an admin; the audit log names his account on this machine."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        # OpenShift runs containers as a user without a name.
        name = str(os.getuid())
    return Actor(name=f"cli:{name}", role="admin")


def act(work: "Callable[[Pool], Awaitable[T]]", settings: DatabaseSettings | None = None) -> T:
    """Runs one operation on a pool of one connection; errors go on to `main`."""
    database = settings or DatabaseSettings.from_env()

    async def run() -> T:
        url = database.database_url.get_secret_value()
        pool = new_pool(
            url, size=1, behind_pgbouncer=database.pgbouncer, ca_file=database.database_ca_file, name="litemaas-cli"
        )
        async with pool:
            return await work(pool)

    return asyncio.run(run())


def show(view: "BaseModel", *, as_json: bool, sentence: str) -> None:
    """One thing: as JSON, or said in a sentence."""
    typer.echo(view.model_dump_json() if as_json else sentence)


def show_page(view: "BaseModel", *, as_json: bool, columns: Sequence[str]) -> None:
    """A list: as JSON, or as a table of these columns."""
    if as_json:
        typer.echo(view.model_dump_json())
        return
    page = view.model_dump(mode="json")
    typer.echo(table(page["rows"], columns))
    if page["next_cursor"]:
        typer.echo(f"More: --cursor {page['next_cursor']}")


def table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    """Columns as wide as they need to be; nothing is shown as `-`."""
    lines = [list(columns), *([_cell(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def parse_moment(option: str, text: str | None) -> datetime | None:
    """An ISO time with its zone; raises GatewayError `validation_failed`, also for one that UTC has no year for."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise invalid(option, f"{option} is a time as 2027-01-31T12:00:00Z.") from None
    return moment


def _cell(value: Any) -> str:
    if value is None or value == [] or value == "":
        return "-"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
