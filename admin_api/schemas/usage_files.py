"""Usage as a file: CSV, JSON, or FOCUS (the FinOps Foundation's cost and usage specification), as a stream.

At most one page of lines is in memory, for files of any size.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from decimal import Decimal
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import msgspec

from admin_api.operations.csv_formats import PLAIN, CSVFormat
from admin_api.schemas.csv_cells import header, lines
from admin_api.schemas.focus import FOCUS_COLUMNS, focus_line
from admin_api.storage.usage.queries import SUM_NAMES
from gateway.domain.money import usd_text
from gateway.domain.usage_rows import LEDGER_COLUMNS

if TYPE_CHECKING:
    from admin_api.operations.usage.exports import Export, Line

MEDIA_TYPES: Final[Mapping[str, str]] = {"csv": "text/csv", "json": "application/json", "focus": "text/csv"}
_ENDS: Final = {"csv": "csv", "json": "json", "focus": "focus.csv"}

# `correction` is the reason of a correction, whose amounts are what it adds or takes away; empty for a call.
CALL_COLUMNS: Final = (*chain.from_iterable(facts.exported_as for facts in LEDGER_COLUMNS.values()), "correction")
_COSTS: Final = ("cost_nano_usd", "own_cost_nano_usd", "litellm_cost_nano_usd")
_WHO: Final = ("account_id", "account", "user_id", "user", "api_key_id", "api_key")
DAY_COLUMNS: Final = (
    "day", "time_zone", *_WHO, "model", "provider", "ending", "error_class",
    *(name for name in SUM_NAMES if name not in _COSTS),
    *chain.from_iterable((nano.replace("_nano_usd", "_usd"), nano) for nano in _COSTS),
)  # fmt: skip


def name_of(export: "Export") -> str:
    """The file's name."""
    return f"usage-{export.since:%Y%m%d}-{export.until:%Y%m%d}.{_ENDS[export.file_format]}"


def parts_of(export: "Export") -> AsyncIterator[bytes]:
    """The file's content."""
    columns = CALL_COLUMNS if export.detail == "calls" else DAY_COLUMNS
    if export.file_format == "json":
        return _as_json(export.pages, columns)
    if export.file_format == "focus":
        return _as_csv(export.pages, FOCUS_COLUMNS, focus_line, PLAIN)
    return _as_csv(export.pages, columns, lambda line: line | _usd(line, Decimal), export.csv_format)


def _usd(line: "Line", make: Callable[[str], Any]) -> "Line":
    costs = {nano.replace("_nano_usd", "_usd"): line.get(nano) for nano in _COSTS}
    return {name: None if nano is None else make(usd_text(nano)) for name, nano in costs.items()}


async def _as_csv(
    pages: "AsyncIterator[list[Line]]",
    columns: tuple[str, ...],
    make: "Callable[[Line], Line]",
    csv_format: CSVFormat,
) -> AsyncIterator[bytes]:
    yield header(columns, csv_format)
    async for page in pages:
        made = map(make, page)
        yield lines(([line.get(column) for column in columns] for line in made), csv_format)


async def _as_json(pages: "AsyncIterator[list[Line]]", columns: tuple[str, ...]) -> AsyncIterator[bytes]:
    """One array of objects."""
    begin = b"["
    async for page in pages:
        made = (line | _usd(line, str) for line in page)
        objects = (msgspec.json.encode({column: line.get(column) for column in columns}) for line in made)
        yield begin + b",\n".join(objects)
        begin = b",\n"
    yield b"[]\n" if begin == b"[" else b"]\n"
