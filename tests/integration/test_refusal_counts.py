"""Refused calls are counted by the hour, even if a worker stops during the write; and sums of all accounts beside."""

import asyncio
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
from conftest import Database

from admin_api.storage.migrate import migrate, migrations_folder
from admin_api.storage.usage.refusal_sums import RefusalsBy, ask_refusal_sums
from admin_api.storage.usage.rollup_tables import Selection
from deploy.embedded.postgres import APP
from gateway.storage.postgres import Executor, Pool
from gateway.storage.refusal_counts import ADD_REFUSALS, RefusalCounts

HOUR = datetime(2027, 3, 1, 12, tzinfo=UTC)
SUMS = "SELECT hour, code, model_id, sum(count)::bigint AS count FROM refusals GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
STORED = "SELECT hour, code, model_id, count FROM refusal_hours WHERE count <> 0 ORDER BY 1, 2, 3"


def some_refusals(pick: Random, number: int) -> list[dict[str, Any]]:
    """Of few hours, codes and models, so that writers meet at them."""
    rows = {
        (HOUR + timedelta(hours=pick.randrange(3)), pick.randrange(40), pick.randrange(4), pick.choice("abc"))
        for _ in range(number)
    }
    return [
        {
            "hour": hour.isoformat(), "account_id": account, "user_id": 0, "api_key_id": account, "model_id": model,
            "limit_id": 0, "code": code, "count": pick.randint(1, 9),
        }
        for hour, account, model, code in rows
    ]  # fmt: skip


async def assert_sums_agree(executor: Executor) -> None:
    stored = await executor.fetch(STORED)
    assert stored
    assert stored == await executor.fetch(SUMS)


async def test_a_stop_during_a_write_loses_no_refusal_count(pool: Pool) -> None:
    counts = RefusalCounts(pool)
    for _ in range(7):
        counts.count(account_id=1, user_id=None, api_key_id=1, model_id=1, limit_id=1, code="rate_limit_exceeded")
    async with pool.acquire() as other:
        holding = other.transaction()
        await holding.start()
        await other.execute("LOCK TABLE refusals IN EXCLUSIVE MODE")
        writing = asyncio.create_task(counts.write())
        async with asyncio.timeout(10):
            while not await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                await asyncio.sleep(0.02)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await holding.rollback()

    await counts.write()

    assert await pool.fetchval("SELECT sum(count) FROM refusals") == 7


async def test_sums_of_all_accounts_agree_while_workers_write(pool: Pool) -> None:
    """Each statement inserts some rows and adds to others."""
    pick = Random(11)
    for _ in range(20):
        batches = [json.dumps(some_refusals(pick, 60)) for _ in range(4)]
        await asyncio.gather(*(pool.execute(ADD_REFUSALS, batch) for batch in batches))
    await assert_sums_agree(pool)

    await pool.execute("DELETE FROM refusals WHERE account_id < 20")
    await pool.execute("UPDATE refusals SET hour = hour + interval '1 day', count = count + 1 WHERE account_id < 30")
    await assert_sums_agree(pool)


async def test_two_writers_never_wait_for_each_other(database: Database, pool: Pool) -> None:
    """Each adds to a row of one hour and then inserts one of the other's; between the two it pauses."""
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute(
        "CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END';"
        "CREATE TRIGGER then_pause AFTER UPDATE ON refusals FOR EACH STATEMENT EXECUTE FUNCTION pause()"
    )
    await owner.close()
    early, late = HOUR.isoformat(), (HOUR + timedelta(hours=1)).isoformat()
    one = some_refusals(Random(1), 1)[0]

    def rows(*which: tuple[str, int]) -> str:
        return json.dumps([one | {"hour": hour, "account_id": account, "code": "a"} for hour, account in which])

    await pool.execute(ADD_REFUSALS, rows((early, 1), (late, 2)))
    await asyncio.gather(
        pool.execute(ADD_REFUSALS, rows((early, 1), (late, 3))), pool.execute(ADD_REFUSALS, rows((late, 2), (early, 4)))
    )
    await assert_sums_agree(pool)


async def test_refusals_of_before_are_in_the_sums(empty_database: Database, tmp_path: Path) -> None:
    before = tmp_path / "before"
    shutil.copytree(migrations_folder(), before)
    for path in before.glob("*.sql"):
        if path.name[:4] >= "0062":
            path.unlink()
    owner = await asyncpg.connect(empty_database.owner_url)
    await migrate(owner, app_role=APP, folder=before)
    await owner.execute(ADD_REFUSALS, json.dumps(some_refusals(Random(1), 200)))
    await migrate(owner, app_role=APP)
    await owner.execute(ADD_REFUSALS, json.dumps(some_refusals(Random(2), 200)))
    await assert_sums_agree(owner)
    await owner.close()


async def test_a_report_of_all_accounts_reads_no_key(pool: Pool) -> None:
    everybody = Selection(start=HOUR, end=HOUR + timedelta(days=30))
    one = Selection(start=HOUR, end=HOUR + timedelta(days=30), account_ids=[1])

    async def table_of(selection: Selection, by: RefusalsBy) -> str:
        sql, arguments = ask_refusal_sums(selection, [HOUR, one.end], by, code=None, limit=20)
        plan = json.dumps((await pool.fetch(f"EXPLAIN (FORMAT JSON) {sql}", *arguments))[0][0])
        return "refusal_hours" if '"refusal_hours' in plan.replace("\\", "") else "refusals"

    assert [await table_of(everybody, by) for by in ("code", "model")] == ["refusal_hours"] * 2
    assert [await table_of(everybody, by) for by in ("account", "user", "key")] == ["refusals"] * 3
    assert [await table_of(one, by) for by in ("code", "model")] == ["refusals"] * 2
