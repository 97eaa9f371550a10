"""Pages of refusals: every row that the filters select once, newest first, by whichever index they are read."""

import random
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

from admin_api.operations.usage.refusals import _cursor_of, _parse_cursor
from admin_api.storage.usage.refusals import KEY, list_refusals
from admin_api.storage.usage.rollup_tables import Selection
from gateway.storage.postgres import Pool

HOUR = datetime(2026, 11, 1, 12, tzinfo=UTC)
CODES = ("insufficient_quota", "model_not_found", "rate_limit_exceeded")
INSERT = "INSERT INTO refusals (hour, account_id, user_id, api_key_id, model_id, limit_id, code, count)"
# Of each filter: none, one value, several of which one is twice and one is of no row.
IDS = (None, [2], [1, 3, 3, 99])
PERIODS = ((-9, 9), (-3, 1), (2, 2))
PAGE = 7


async def test_every_filter_selects_its_rows_once_newest_first(pool: Pool) -> None:
    rows = await make_rows(pool)
    wrong = []
    filters = product(IDS, IDS, IDS, IDS, (None, *CODES[:1]), PERIODS)
    for accounts, users, keys, models, code, (first, last) in random.Random(3).sample(list(filters), 120):
        selection = Selection(
            start=HOUR + timedelta(hours=first),
            end=HOUR + timedelta(hours=last),
            account_ids=accounts,
            user_ids=users,
            key_ids=keys,
            model_ids=models,
        )
        by = (accounts, users, keys, models, None, code and [code])
        expected = [
            row
            for row in sorted(rows, reverse=True)
            if selection.start <= row[0] < selection.end
            and all(wanted is None or value in wanted for value, wanted in zip(row[1:], by, strict=True))
        ]
        if await all_pages(pool, selection, code) != expected:
            wrong.append((by, first, last))

    assert wrong == []


async def all_pages(pool: Pool, selection: Selection, code: str | None) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    after = None
    async with pool.acquire() as connection:
        while True:
            page = await list_refusals(connection, selection, code=code, after=after, limit=PAGE)
            found += [(row.hour, *(getattr(row, name) for name in KEY)) for row in page]
            if len(page) < PAGE:
                return found
            after = _parse_cursor(_cursor_of(page[-1]))


async def make_rows(pool: Pool) -> set[tuple[Any, ...]]:
    """A few hundred within a few hours, many of them in the same one."""
    pick = random.Random(1)
    rows = {
        (
            HOUR + timedelta(hours=pick.choice((-3, 0, 0, 1))),
            *(pick.randint(1, 3) for _ in range(5)),
            pick.choice(CODES),
        )
        for _ in range(400)
    }
    await pool.executemany(f"{INSERT} VALUES ($1, $2, $3, $4, $5, $6, $7, 1)", rows)
    return rows
