"""Steps shared by all commands: read settings, connect to Postgres, run one operation, print its result."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar
from zoneinfo import ZoneInfo

import typer

from admin_api import settings as environment
from admin_api.cli.columns import Column
from admin_api.cli.empty_lists import none_found
from admin_api.cli.operator import OPERATOR, context_value, name_operator
from admin_api.cli.operator import operator as operator
from admin_api.cli.options import time_zone
from admin_api.cli.tables import details
from admin_api.cli.tables import table as table
from admin_api.operations.dates import read_moment
from admin_api.operations.lookups import find_key_id
from admin_api.operations.validation import check_time_zone, invalid
from gateway.storage import postgres

if TYPE_CHECKING:
    from pydantic import BaseModel

    from gateway.storage.postgres import Pool

T = TypeVar("T")
AGES: Final = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
AsJSON = Annotated[bool, typer.Option("--json", help="Compact JSON on stdout.")]
Confirm = Annotated[bool, typer.Option("--confirm", help="Money may change by more than a thousandfold.")]
PageSize = Annotated[int, typer.Option("--limit", help="Maximum number of rows shown.")]
Cursor = Annotated[str | None, typer.Option("--cursor", help="next_cursor of the previous page.")]


def act(work: "Callable[[Pool], Awaitable[T]]", settings: "environment.DatabaseSettings | None" = None) -> T:
    """Runs one operation on a pool of one connection. Errors are raised to `main`."""
    database = settings or environment.DatabaseSettings.from_env()

    async def run() -> T:
        url = database.database_url.get_secret_value()
        pool = postgres.new_pool(
            url, size=1, behind_pgbouncer=database.pgbouncer, tls=database.tls("database"), name="litemaas-cli"
        )
        async with pool:
            if database.operator or context_value(OPERATOR):
                async with pool.acquire() as connection:
                    await name_operator(connection, database.operator)
            return await work(pool)

    return asyncio.run(run())


def show(view: "BaseModel", *, as_json: bool, sentence: str) -> None:
    """Prints one object, as JSON or as a sentence."""
    typer.echo(view.model_dump_json() if as_json else sentence)


def show_page(
    view: "BaseModel",
    *,
    what: str,
    as_json: bool,
    columns: Sequence[Column],
    as_row: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    zone: tzinfo | None = None,
) -> None:
    """Prints a page of a list, as JSON or as a table with these columns; `as_row` makes a row's cells of its fields.
    `what` the list is of is said if it is empty. Times are in the zone, by default that of --time-zone."""
    if as_json:
        typer.echo(view.model_dump_json())
        return
    zone = zone_named(time_zone()) if zone is None else zone
    page = view.model_dump(mode="json")
    show_rows([as_row(row) for row in page["rows"]], columns, what=what, zone=zone)
    if page["rows"] and zone is not UTC:
        typer.echo(f"Times are of {zone}.")
    if page["next_cursor"]:
        typer.echo(f"More: --cursor {page['next_cursor']}")


def show_rows(rows: Sequence[dict[str, Any]], columns: Sequence[Column], *, what: str, zone: tzinfo = UTC) -> None:
    """Prints a table, or that there is nothing of what the command looked for."""
    typer.echo(table(rows, columns, zone=zone) if rows else none_found(what))


def show_details(view: "BaseModel", *, as_json: bool) -> None:
    """Prints one object, as JSON or with a line for each field. Lists of objects are tables."""
    typer.echo(view.model_dump_json() if as_json else details(view.model_dump(mode="json")))


def zone_named(name: str | None) -> tzinfo:
    """UTC by default. Raises GatewayError `validation_failed`."""
    return UTC if name in (None, "UTC") else ZoneInfo(check_time_zone(name))


def act_on_key(
    reference: str, work: "Callable[[Pool, int], Awaitable[T]]", settings: "environment.DatabaseSettings | None" = None
) -> T:
    """As `act`, on the key with this id or these last four characters."""

    async def run(pool: "Pool") -> T:
        async with pool.acquire() as connection:
            key_id = await find_key_id(connection, reference)
        return await work(pool, key_id)

    return act(run, settings)


def key_id_of(reference: str | None) -> int | None:
    """The id of the key with this id or these last four characters. Raises GatewayError as `find_key_id` does."""

    async def found(_: "Pool", key_id: int) -> int:
        return key_id

    return None if reference is None else act_on_key(reference, found)


def parse_moment(option: str, text: str | None) -> datetime | None:
    """A date, month, time or distance, in UTC; dates are of the zone of --time-zone. Raises GatewayError
    `validation_failed`."""
    return None if text is None else read_moment(option, text, ZoneInfo(check_time_zone(time_zone())))


def parse_age(option: str, text: str | None) -> datetime | None:
    """The moment that was so long ago: `90d`, `12w`, `36h`. Raises GatewayError `validation_failed`."""
    if text is None:
        return None
    number, unit = text[:-1], AGES.get(text[-1:])
    if unit is None or not (number.isascii() and number.isdigit() and len(number) < 6):
        raise invalid(option, f"{option} must be an age, e.g. 90d, 12w or 36h.")
    return datetime.now(UTC) - int(number) * unit
