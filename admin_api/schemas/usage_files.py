"""Usage as a file: CSV, JSON, or FOCUS (the FinOps Foundation's cost and usage specification), as a stream.

At most one page of lines is in memory, for files of any size. Text that a spreadsheet would read as a formula begins
with an apostrophe (OWASP, "CSV Injection").
"""

import csv
import io
from collections.abc import AsyncIterator, Callable, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Final

import msgspec

from admin_api.schemas.csv_cells import cell
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
    "day", *_WHO, "model", "provider", "ending", "error_class",
    *(name for name in SUM_NAMES if name not in _COSTS),
    *chain.from_iterable((nano.replace("_nano_usd", "_usd"), nano) for nano in _COSTS),
)  # fmt: skip


def name_of(export: "Export") -> str:
    """The file's name."""
    return f"usage-{export.since:%Y%m%d}-{export.until:%Y%m%d}.{_ENDS[export.file_format]}"


def parts_of(export: "Export") -> AsyncIterator[bytes]:
    """The file's content."""
    columns = CALL_COLUMNS if export.detail == "calls" else DAY_COLUMNS
    pages = _with_usd(export.pages)
    if export.file_format == "json":
        return _as_json(pages, columns)
    if export.file_format == "focus":
        return _as_csv(pages, FOCUS_COLUMNS, focus_line)
    return _as_csv(pages, columns, lambda line: line)


async def _with_usd(pages: "AsyncIterator[list[Line]]") -> "AsyncIterator[list[Line]]":
    async for page in pages:
        for line in page:
            for nano in _COSTS:
                cost = line.get(nano)
                line[nano.replace("_nano_usd", "_usd")] = None if cost is None else usd_text(cost)
        yield page


async def _as_csv(
    pages: "AsyncIterator[list[Line]]", columns: tuple[str, ...], make: "Callable[[Line], Line]"
) -> AsyncIterator[bytes]:
    yield (",".join(columns) + "\r\n").encode()
    async for page in pages:
        text = io.StringIO()
        writer = csv.writer(text)
        for line in page:
            made = make(line)
            writer.writerow([cell(made.get(column)) for column in columns])
        yield text.getvalue().encode()


async def _as_json(pages: "AsyncIterator[list[Line]]", columns: tuple[str, ...]) -> AsyncIterator[bytes]:
    """One array of objects."""
    begin = b"["
    async for page in pages:
        lines = (msgspec.json.encode({column: line.get(column) for column in columns}) for line in page)
        yield begin + b",\n".join(lines)
        begin = b",\n"
    yield b"[]\n" if begin == b"[" else b"]\n"
