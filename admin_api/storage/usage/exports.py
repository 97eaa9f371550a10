"""Reads usage page by page for exports: each page a short statement of its own, so that a slow reader keeps no
connection and no snapshot. Keys only grow from page to page: no line comes twice."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

from admin_api.storage.usage.queries import SUM_NAMES
from admin_api.storage.usage.rollup_tables import WITHIN, Selection, Table, conditions_of
from gateway.domain.rollup_ranges import ceiling, floor
from gateway.domain.usage_rows import EXPORTED_COLUMNS

if TYPE_CHECKING:
    import asyncpg

    from gateway.storage.postgres import Pool

PAGE: Final = 2000
DAY_KEY: Final = ("account_id", "user_id", "api_key_id", "model_id", "ending", "error_class")
_TYPES: Final = ("bigint", "bigint", "bigint", "bigint", "text", "text")
_LEDGER: Final = Table("usage_entries", "entry_id")


@dataclass(frozen=True, slots=True)
class PagedSQL:
    """A statement of one page and its arguments."""

    sql: str
    arguments: list[Any]


def ask_day(selection: Selection, day: date, after: tuple[Any, ...] | None, limit: int) -> PagedSQL:
    """Of one UTC day, those after the key `after`."""
    arguments: list[Any] = [day]
    conditions = conditions_of(selection, WITHIN["day"], None, arguments)
    if after is not None:
        n = len(arguments)
        arguments += after
        places = ", ".join(f"${n + 1 + i}::{kind}" for i, kind in enumerate(_TYPES))
        key = ", ".join(f"r.{name}" for name in DAY_KEY)
        conditions += f" AND r.account_id >= ${n + 1}::bigint AND ({key}) > ({places})"
    arguments.append(limit)
    reported = ", ".join(f"r.{name}" for name in (*DAY_KEY, *SUM_NAMES))
    order = ", ".join(f"r.{name}" for name in DAY_KEY)
    sql = (
        f"SELECT r.day, {reported} FROM usage_days AS r WHERE r.day = $1{conditions} AND r.calls <> 0 "
        f"ORDER BY {order} LIMIT ${len(arguments)}"
    )
    return PagedSQL(sql, arguments)


def ask_calls(selection: Selection, after: object | None, limit: int) -> PagedSQL:
    """Rows of the ledger and corrections, by entry id, those after the id `after`."""
    arguments: list[Any] = [selection.start, selection.end]
    plain = replace(selection, error_classes=None)
    conditions = conditions_of(plain, _LEDGER, None, arguments)
    if selection.error_classes is not None:
        arguments.append(list(selection.error_classes))
        reported = "error_class(r.ending, r.status, r.error_code, r.estimated_why)"
        conditions += f" AND {reported} = ANY(${len(arguments)}::text[])"
    if after is not None:
        arguments.append(after)
        conditions += f" AND r.entry_id > ${len(arguments)}::uuid"
    arguments.append(limit)
    sql = (
        f"SELECT r.entry_id, r.correction, {', '.join(f'r.{name}' for name in EXPORTED_COLUMNS)} "
        f"FROM usage_entries AS r WHERE r.entry_id >= uuid7_floor($1) AND r.entry_id < uuid7_floor($2){conditions} "
        f"ORDER BY r.entry_id LIMIT ${len(arguments)}"
    )
    return PagedSQL(sql, arguments)


async def page_days(pool: "Pool", selection: Selection, *, size: int = PAGE) -> "AsyncIterator[list[asyncpg.Record]]":
    """Sums by UTC day and everything else, day by day; days that the selection only touches are whole."""
    day, last = floor(selection.start, "day").date(), ceiling(selection.end, "day").date()
    while day < last:
        after: tuple[Any, ...] | None = None
        while rows := await _fetch(pool, ask_day(selection, day, after, size)):
            yield rows
            if len(rows) < size:
                break
            after = tuple(rows[-1][name] for name in DAY_KEY)
        day += timedelta(days=1)


async def page_calls(pool: "Pool", selection: Selection, *, size: int = PAGE) -> "AsyncIterator[list[asyncpg.Record]]":
    """Rows of the ledger and corrections, oldest first: a correction when it was made, with what it adds."""
    after = None
    while rows := await _fetch(pool, ask_calls(selection, after, size)):
        yield rows
        if len(rows) < size:
            return
        after = rows[-1]["entry_id"]


async def _fetch(pool: "Pool", page: PagedSQL) -> "list[asyncpg.Record]":
    return await pool.fetch(page.sql, *page.arguments)
