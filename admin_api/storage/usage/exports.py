"""Reads usage page by page for exports: each page by short statements of its own, so that a slow reader keeps no
connection and no snapshot. Keys only grow from page to page of a day: no line comes twice."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from admin_api.storage.usage.queries import ANY_SUM, SUM_COLUMNS, SUM_NAMES
from admin_api.storage.usage.rollup_tables import OF_CALL, WITHIN, Selection, Table, conditions_of
from gateway.domain.rollup_ranges import bounds_of_steps, ceiling, cut, floor
from gateway.domain.usage_rows import EXPORTED_COLUMNS

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    import asyncpg

    from gateway.storage.postgres import Pool

PAGE: Final = 2000
# More than the longest period has.
MAX_DAYS: Final = 10_000
DAY_KEY: Final = ("account_id", "user_id", "api_key_id", "model_id", "ending", "error_class")
_TYPES: Final = ("bigint", "bigint", "bigint", "bigint", "text", "text")
_LEDGER: Final = Table("usage_entries", "entry_id", error_class=OF_CALL)
Line = dict[str, Any]


class Day(NamedTuple):
    """What of a day of a time zone is selected: from `start` up to `end`, in UTC."""

    date: date
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class PagedSQL:
    """A statement of one page and its arguments."""

    sql: str
    arguments: list[Any]


def days_of(selection: Selection, zone: "ZoneInfo") -> list[Day]:
    """The days of the time zone; the first and the last one may be parts of a day."""
    bounds = bounds_of_steps(selection.start, selection.end, "day", zone, maximum=MAX_DAYS)
    if bounds is None:
        raise RuntimeError("the selection is longer than any period may be")
    return [Day(start.astimezone(zone).date(), start, end) for start, end in pairwise(bounds)]


def ask_accounts(selection: Selection, day: Day, after: int, limit: int) -> PagedSQL:
    """The accounts, above the id `after`, of the first `limit` lines that the day's UTC days have; once a line."""
    arguments: list[Any] = [after, limit]
    conditions = conditions_of(selection, WITHIN["day"], None, arguments)
    first, last = floor(day.start, "day").date(), ceiling(day.end, "day").date()
    days = [first + timedelta(days=n) for n in range((last - first).days)]
    places = range(len(arguments) + 1, len(arguments) + 1 + len(days))
    selects = [
        f"(SELECT r.account_id FROM usage_days AS r WHERE r.day = ${place}::date AND r.account_id > $1{conditions} "
        f"ORDER BY r.account_id LIMIT $2)"
        for place in places
    ]
    found = " UNION ALL ".join(selects)
    sql = f"SELECT account_id FROM ({found}) AS found ORDER BY account_id LIMIT $2"
    return PagedSQL(sql, [*arguments, *days])


def ask_day(selection: Selection, day: Day, after: tuple[Any, ...] | None, limit: int) -> PagedSQL:
    """Lines of the selected accounts, those after the key `after`: UTC days, and the quarters of an hour by which the
    day of the time zone differs from them."""
    arguments: list[Any] = []
    selects = []
    key = ", ".join(f"r.{name}" for name in DAY_KEY)
    for part in cut(day.start, day.end, list(WITHIN)):
        table = WITHIN[part.grain]
        conditions = conditions_of(selection, table, None, arguments)
        sums = ", ".join(f"{'-' if part.sign < 0 else ''}r.{name} AS {name}" for name in SUM_NAMES)
        n = len(arguments)
        arguments += [part.start.date(), part.end.date()] if part.grain == "day" else [part.start, part.end]
        selects.append(
            f"SELECT {key}, {sums} FROM {table.name} AS r "
            f"WHERE r.{table.time} >= ${n + 1} AND r.{table.time} < ${n + 2}{conditions}"
        )
    follows = ""
    if after is not None:
        n = len(arguments)
        arguments += after
        follows = f" WHERE ({key}) > ({', '.join(f'${n + 1 + i}::{kind}' for i, kind in enumerate(_TYPES))})"
    arguments.append(limit)
    sql = (
        f"SELECT {key}, {SUM_COLUMNS} FROM ({' UNION ALL '.join(selects)}) AS r{follows} "
        f"GROUP BY {key} HAVING {ANY_SUM} ORDER BY {key} LIMIT ${len(arguments)}"
    )
    return PagedSQL(sql, arguments)


def ask_calls(selection: Selection, after: object | None, limit: int) -> PagedSQL:
    """Rows of the ledger and corrections, by entry id, those after the id `after`."""
    arguments: list[Any] = [selection.start, selection.end]
    conditions = conditions_of(selection, _LEDGER, None, arguments)
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


async def page_days(
    pool: "Pool", selection: Selection, zone: "ZoneInfo", *, size: int = PAGE
) -> AsyncIterator[list[Line]]:
    """Sums by day of the time zone and everything else, day by day."""
    for day in days_of(selection, zone):
        named = {"day": day.date, "time_zone": zone.key, "day_start": day.start, "day_end": day.end}
        async for rows in _page_day(pool, selection, day, size):
            yield [named | dict(row) for row in rows]


async def _page_day(pool: "Pool", selection: Selection, day: Day, size: int) -> "AsyncIterator[list[asyncpg.Record]]":
    """A few accounts at a time, so that a page does not read the rest of the day, however large it is."""
    last_account = 0
    while found := await _fetch(pool, ask_accounts(selection, day, last_account, size)):
        accounts = sorted({row["account_id"] for row in found})
        own, last_account = replace(selection, account_ids=accounts), accounts[-1]
        after: tuple[Any, ...] | None = None
        while rows := await _fetch(pool, ask_day(own, day, after, size)):
            yield rows
            if len(rows) < size:
                break
            after = tuple(rows[-1][name] for name in DAY_KEY)
        if len(found) < size:
            return


async def page_calls(
    pool: "Pool", selection: Selection, zone: "ZoneInfo", *, size: int = PAGE
) -> AsyncIterator[list[Line]]:
    """Rows of the ledger and corrections, oldest first: a correction when it was made, with what it adds. Times are of
    the time zone."""
    after = None
    while rows := await _fetch(pool, ask_calls(selection, after, size)):
        yield [dict(row) | {"started_at": row["started_at"].astimezone(zone)} for row in rows]
        if len(rows) < size:
            return
        after = rows[-1]["entry_id"]


async def _fetch(pool: "Pool", page: PagedSQL) -> "list[asyncpg.Record]":
    return await pool.fetch(page.sql, *page.arguments)
