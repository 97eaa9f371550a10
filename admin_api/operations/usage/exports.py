"""Usage exports: checks the request before the first line, then reads the lines page by page."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from admin_api.operations.access import viewer_of
from admin_api.operations.actors import Actor
from admin_api.operations.csv_formats import PLAIN, CSVFormat, csv_format_of
from admin_api.operations.usage.scope import UsageFilter, resolve
from admin_api.operations.validation import check_word, invalid
from admin_api.storage.usage import exports
from admin_api.storage.usage import names as usage_names
from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

Format = Literal["csv", "json", "focus"]
Detail = Literal["days", "calls"]
FORMATS: Final = get_args(Format)
DETAILS: Final = get_args(Detail)
Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Export:
    """An export and its pages: each is a list of lines, by column. Money is in nano-USD; times are of the time zone.
    `csv_format` is for the format csv only: FOCUS files and JSON are the same in every locale."""

    file_format: Format
    detail: Detail
    since: datetime
    until: datetime
    pages: AsyncIterator[list[Line]]
    csv_format: CSVFormat = PLAIN


async def export_usage(
    pool: "Pool",
    actor: Actor,
    query: UsageFilter,
    *,
    file_format: str,
    detail: str = "days",
    locale: str | None = None,
) -> Export:
    """`days`: sums by day of the time zone, from the rollups; `calls`: rows of the ledger, as long as they are kept.

    Either adds up to the summary of the same filter. Everything is checked before the first page. Raises GatewayError
    as `resolve` does, `forbidden` for a member who requests all of a team, `validation_failed` for an unknown format,
    detail or locale.
    """
    check_word("format", file_format, FORMATS)
    check_word("detail", detail, DETAILS)
    csv_format = csv_format_of(locale)
    if file_format == "focus" and detail == "calls":
        raise invalid("detail", "Format focus requires detail days.")
    async with pool.acquire() as connection:
        scope = await resolve(connection, actor, query, now=datetime.now(UTC))
        if not scope.sees_people:
            raise GatewayError("forbidden", "Only the owners of a team can export the usage of its members.")
        providers = await usage_names.list_providers(connection)
    selection, zone = scope.selection, scope.zone
    pages = exports.page_calls if detail == "calls" else exports.page_days
    named = _named(pool, pages(pool, selection, zone), providers, shows_served=viewer_of(actor) is None)
    since, until = selection.start.astimezone(zone), selection.end.astimezone(zone)
    return Export(file_format, detail, since, until, named, csv_format)  # type: ignore[arg-type]  # checked words


async def _named(
    pool: "Pool", pages: AsyncIterator[list[Line]], providers: Mapping[str, str | None], *, shows_served: bool
) -> AsyncIterator[list[Line]]:
    """Adds names to the ids of each page. `model_served` is empty unless `shows_served`: it may name a backend that
    users must not know."""
    async for rows in pages:
        names = {}
        async with pool.acquire() as connection:
            for kind, column in (("account", "account_id"), ("user", "user_id"), ("key", "api_key_id")):
                ids = {str(row[column]) for row in rows if row[column]}
                names[column] = await usage_names.name_all(connection, kind, sorted(ids))
            models = await usage_names.name_all(connection, "model", sorted({str(row["model_id"]) for row in rows}))
        page = []
        for row in rows:
            line = dict(row)
            line["user_id"] = row["user_id"] or None
            if not shows_served and "model_served" in line:
                line["model_served"] = None
            for column, known in names.items():
                line[column.removesuffix("_id")] = known.get(str(row[column]))
            line["model"] = models.get(str(row["model_id"]))
            line["provider"] = providers.get(str(row["model_id"]))
            page.append(line)
        yield page
