"""The days of response_owners: made ahead, dropped when they are over, and never in the way of a usage row."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest
from conftest import Database

from gateway.storage.postgres import Pool
from gateway.storage.response_owners import AHEAD, SELECT_OWNERS, keep_response_days

INSERT = """
INSERT INTO response_owners (id_hash, account_id, model_id, total_tokens, day)
SELECT gen_random_uuid(), 1 + n % 50, 1, 1000, (now() AT TIME ZONE 'UTC')::date + $1::integer
FROM generate_series(1, $2) n
"""
DAYS = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'response_owners'::regclass ORDER BY c.relname
"""
TODAY = "SELECT (now() AT TIME ZONE 'UTC')::date::timestamp"
IN_PARTITION = "SELECT count(*) FROM response_owners WHERE tableoid = $1::regclass"
# With the index: what a million stored responses a day cost is said in docs/endpoints.md.
MAX_BYTES = 140


async def days(pool: Pool) -> list[str]:
    return [row["relname"] for row in await pool.fetch(DAYS)]


def name_of(offset: int, today: datetime) -> str:
    return f"response_owners_{today + timedelta(days=offset):%Y%m%d}"


async def test_days_are_made_ahead_and_dropped_after_their_time(database: Database, pool: Pool) -> None:
    owner = await asyncpg.connect(database.owner_url)
    today = (await pool.fetchval(TODAY)).replace(tzinfo=UTC)
    assert await days(pool) == [*(name_of(n, today) for n in range(-1, AHEAD + 1)), "response_owners_default"]
    for offset in (-5, -6, -31):
        name = name_of(offset, today)
        bounds = f"FROM ('{today.date() + timedelta(days=offset)}') TO ('{today.date() + timedelta(days=offset + 1)}')"
        await owner.execute(f"CREATE TABLE {name} PARTITION OF response_owners FOR VALUES {bounds}")
        await owner.execute(INSERT, offset, 1)
    await owner.close()

    assert await keep_response_days(pool, 30) == [name_of(-31, today)]
    assert await keep_response_days(pool, 5) == [name_of(-6, today)]
    assert await keep_response_days(pool, 5) == []
    assert await pool.fetchval("SELECT count(*) FROM response_owners") == 1


async def test_rows_of_a_day_that_was_not_made_move_to_it(database: Database, pool: Pool) -> None:
    owner = await asyncpg.connect(database.owner_url)
    today = await pool.fetchval(TODAY)
    await owner.execute(f"DROP TABLE {name_of(0, today)}")
    await owner.execute(INSERT, -40, 2)
    await pool.execute(INSERT, 0, 5)
    assert await owner.fetchval("SELECT count(*) FROM response_owners_default") == 7

    await keep_response_days(pool, 30)

    assert await owner.fetchval("SELECT count(*) FROM response_owners_default") == 0
    assert await owner.fetchval(IN_PARTITION, name_of(0, today)) == 5
    await owner.close()


async def test_the_app_changes_and_drops_no_owner(pool: Pool) -> None:
    for statement in ("UPDATE response_owners SET account_id = 2", "DELETE FROM response_owners"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.execute(statement)


async def test_a_row_has_the_size_that_is_documented(database: Database, pool: Pool) -> None:
    await pool.execute(INSERT, 0, 20_000)
    today = await pool.fetchval(TODAY)

    size = await pool.fetchval("SELECT pg_total_relation_size($1::regclass)", name_of(0, today))

    assert 100 < size / 20_000 < MAX_BYTES


async def test_a_look_up_reads_one_index_of_each_day(pool: Pool) -> None:
    await pool.execute(INSERT, 0, 20_000)
    plan = await pool.fetch(f"EXPLAIN {SELECT_OWNERS}", [uuid4()], 1)

    assert not any("Seq Scan" in line[0] for line in plan)
