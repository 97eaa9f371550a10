"""Usage as a file: CSV, JSON, or FOCUS (the FinOps Foundation's cost and usage specification), as a stream.

At most one page of lines is in memory, for files of any size.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from decimal import Decimal
from itertools import chain
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import msgspec

from admin_api.operations.csv_formats import PLAIN, CSVFormat
from admin_api.schemas.csv_cells import header, lines
from admin_api.schemas.focus import FOCUS_COLUMNS, focus_line
from admin_api.storage.usage.queries import SUM_NAMES, UsageSums
from gateway.domain.money import usd_text
from gateway.domain.usage_rows import LEDGER_COLUMNS

if TYPE_CHECKING:
    from admin_api.operations.usage.exports import Export, Line
    from admin_api.operations.usage.overview import Overview

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


TABLE_COLUMNS: Final = (
    "group", "part", "calls", "failed_calls", "prompt_tokens", "completion_tokens", "cost_usd", "cost_nano_usd"
)  # fmt: skip
OTHERS: Final = "(others)"


def name_of(export: "Export") -> str:
    """The file's name."""
    return f"usage-{export.since:%Y%m%d}-{export.until:%Y%m%d}.{_ENDS[export.file_format]}"


def name_of_table(overview: "Overview") -> str:
    """The file's name."""
    zone = ZoneInfo(overview.time_zone)
    since, until = (moment.astimezone(zone) for moment in (overview.since, overview.until))
    return f"usage-by-{overview.by}-{since:%Y%m%d}-{until:%Y%m%d}.csv"


async def table_of(overview: "Overview", csv_format: CSVFormat) -> AsyncIterator[bytes]:
    """The table of an overview as CSV: a line for each group, or for each of its parts, and for what others add up to.
    All lines add up to the total."""
    yield header(TABLE_COLUMNS, csv_format)
    yield lines((_table_line(*one) for one in _table_sums(overview)), csv_format)


def _table_sums(overview: "Overview") -> Iterator[tuple[str, str, UsageSums]]:
    for group in overview.groups:
        name = group.name or group.id or ""
        for part in group.parts:
            yield name, part.name or part.id or "", part.sums
        if group.number_of_parts > len(group.parts) or not group.parts:
            yield name, OTHERS if group.parts else "", group.other_parts
    if overview.number_of_groups > len(overview.groups) or overview.others.sums != UsageSums():
        yield OTHERS, "", overview.others.sums


def _table_line(group: str, part: str, sums: UsageSums) -> list[object]:
    counts = (sums.calls, sums.failed_calls, sums.prompt_tokens, sums.completion_tokens)
    return [group, part, *counts, Decimal(usd_text(sums.cost_nano_usd)), sums.cost_nano_usd]


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
