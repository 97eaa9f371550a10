"""Fills the database of the usage benchmark: users, rows of 90 days, and their rollups."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg

from deploy.embedded.postgres import OWNER, Postgres

SQL: Final = Path(__file__).with_name("usage_rows.sql")
# What rebuilding does, for empty tables: by days, as rows would have come.
ADD_UP_DAY: Final = "SELECT add_up_usage_rows($1, $2), add_up_usage_days($1, $2)"
ADD_UP_MONTH: Final = "SELECT add_up_usage_months($1::date, ($1::date + interval '1 month')::date)"


async def fill(
    postgres: Postgres, *, rows: int, days: int, sizes: Mapping[str, int], today: datetime, say: Callable[[str], None]
) -> None:
    """`rows` calls in the `days` before `today`, by as many connections as there are cores. `sizes`: of users, keys and
    teams."""
    owner = await asyncpg.connect(postgres.url(OWNER))
    _, partitions, people, calls = SQL.read_text().split("\n---- ")
    sizes = {"days": days, **sizes}
    for text in (partitions, people):
        await owner.execute("-- " + _with(text, sizes))
    insert = "-- " + _with(calls, sizes)
    began = time.monotonic()
    shares = [rows * (day + 1) // days - rows * day // days for day in range(days)]
    starts = [today - timedelta(days=days - day) for day in range(days)]
    await _share_out(postgres, [(insert, start, share) for start, share in zip(starts, shares, strict=True)])
    say(f"{time.monotonic() - began:6.0f} s  {rows} rows")
    await _share_out(postgres, [(ADD_UP_DAY, start, start + timedelta(days=1)) for start in starts])
    months = sorted({start.date().replace(day=1) for start in starts})
    await _share_out(postgres, [(ADD_UP_MONTH, month) for month in months])
    say(f"{time.monotonic() - began:6.0f} s  all rollups made of them")
    await owner.execute("VACUUM (ANALYZE)", timeout=3600)
    say(f"{time.monotonic() - began:6.0f} s  vacuumed")
    await owner.close()


async def _share_out(postgres: Postgres, todo: Sequence[tuple[Any, ...]]) -> None:
    """Each a statement and its arguments, carried out by as many connections as there are cores."""
    left = list(reversed(todo))

    async def work() -> None:
        connection = await asyncpg.connect(postgres.url(OWNER))
        await connection.execute("SET synchronous_commit = off; SET jit = off; SET work_mem = '256MB'")
        while left:
            statement, *arguments = left.pop()
            await connection.execute(statement, *arguments, timeout=3600)
        await connection.close()

    await asyncio.gather(*(work() for _ in range(os.cpu_count() or 1)))


def _with(text: str, sizes: Mapping[str, int]) -> str:
    for name, size in sizes.items():
        text = text.replace("{" + name + "}", str(size))
    return text
