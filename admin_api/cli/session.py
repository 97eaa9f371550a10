"""Steps shared by all commands: read settings, connect to Postgres, run one operation, print its result."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from admin_api.cli.operator import is_named, name_operator
from admin_api.cli.operator import operator as operator
from admin_api.operations.validation import invalid
from admin_api.settings import DatabaseSettings
from gateway.storage.postgres import new_pool

if TYPE_CHECKING:
    from pydantic import BaseModel

    from gateway.storage.postgres import Pool

T = TypeVar("T")
AsJSON = Annotated[bool, typer.Option("--json", help="Compact JSON on stdout.")]
Confirm = Annotated[bool, typer.Option("--confirm", help="Money may change by more than a thousandfold.")]
PageSize = Annotated[int, typer.Option("--limit", help="Maximum number of rows shown.")]
Cursor = Annotated[str | None, typer.Option("--cursor", help="next_cursor of the previous page.")]


def act(work: "Callable[[Pool], Awaitable[T]]", settings: DatabaseSettings | None = None) -> T:
    """Runs one operation on a pool of one connection. Errors are raised to `main`."""
    database = settings or DatabaseSettings.from_env()

    async def run() -> T:
        url = database.database_url.get_secret_value()
        pool = new_pool(
            url, size=1, behind_pgbouncer=database.pgbouncer, ca_file=database.database_ca_file, name="litemaas-cli"
        )
        async with pool:
            if database.operator or is_named():
                async with pool.acquire() as connection:
                    await name_operator(connection, database.operator)
            return await work(pool)

    return asyncio.run(run())


def show(view: "BaseModel", *, as_json: bool, sentence: str) -> None:
    """Prints one object, as JSON or as a sentence."""
    typer.echo(view.model_dump_json() if as_json else sentence)


def show_page(view: "BaseModel", *, as_json: bool, columns: Sequence[str]) -> None:
    """Prints a page of a list, as JSON or as a table with these columns."""
    if as_json:
        typer.echo(view.model_dump_json())
        return
    page = view.model_dump(mode="json")
    typer.echo(table(page["rows"], columns))
    if page["next_cursor"]:
        typer.echo(f"More: --cursor {page['next_cursor']}")


def table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    """A text table with columns as wide as their longest cell. Empty cells are shown as `-`."""
    lines = [list(columns), *([_cell(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def parse_moment(option: str, text: str | None) -> datetime | None:
    """An ISO 8601 time, in UTC if it has a time zone. Raises GatewayError `validation_failed`, also for a time outside
    the years 1 to 9999 in UTC."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise invalid(option, f"{option} must be a time, e.g. 2027-01-31T12:00:00Z.") from None
    return moment


def _cell(value: Any) -> str:
    if value is None or value == [] or value == "":
        return "-"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
