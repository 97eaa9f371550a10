"""Which counters a change of limits requires to be seeded: those that may have missed calls, and no others."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest
from conftest import Database
from factories import ADMIN, make_key, make_team

from admin_api.operations.limits import limits
from admin_api.operations.limits.limits import LimitInput
from gateway.storage.counters.epochs import raise_epochs, record_redis_run
from gateway.storage.key_records import find_key_record_by_id
from gateway.storage.postgres import Pool

DAILY = LimitInput(kind="cost", window="day", amount=100)
WEEKLY = replace(DAILY, window="week")
DAY, WEEK = "C|k{}|day", "C|k{}|week"
SET_FOR_USERS = (
    "INSERT INTO limits (account_id, level, user_id, kind, amount) "
    "SELECT a.id, 'user', u.id, 'rpm', $2 FROM users u, accounts a WHERE a.id = ANY($1) ORDER BY a.id, u.id"
)
TICKS = "SELECT tick FROM accounts WHERE id = ANY($1) ORDER BY id"
EPOCHS = "SELECT DISTINCT account_id, epoch FROM limits WHERE amount = $1 ORDER BY account_id"
# As in the triggers of limits.
COUNTER_OF = "SELECT max(l.epoch) FROM limits l WHERE l.account_id = ($1).account_id AND shares_counter(l, $1)"
IN_AN_HOUR = datetime.now(UTC) + timedelta(hours=1)


@dataclass
class Key:
    """A key whose limits are changed."""

    pool: Pool
    key_id: int
    account_id: int

    async def set(self, fields: LimitInput) -> None:
        await limits.set_limit(self.pool, ADMIN, fields, level="key", target=str(self.key_id), model=None, team=None)

    async def expire(self, *, set_by: str = "admin") -> None:
        """As time does."""
        sql = "UPDATE limits SET expires_at = now() - interval '1 s' WHERE api_key_id = $1 AND set_by = $2"
        await self.pool.execute(sql + " AND expires_at IS NOT NULL", self.key_id, set_by)

    async def epochs(self) -> dict[str, int]:
        """Of every counter, from which on it is taken to be right."""
        record = await find_key_record_by_id(self.pool, self.key_id)
        assert record is not None
        (grant,) = record.grants.values()
        found: dict[str, int] = {}
        for limit in grant.limits:
            found[limit.field] = max(record.epoch, limit.epoch, found.get(limit.field, 0))
        return found

    async def of(self, field: str) -> int:
        return (await self.epochs())[field.format(self.key_id)]


@pytest.fixture
async def key(pool: Pool) -> Key:
    row = (await make_key(pool)).row
    return Key(pool, row.id, row.account_id)


async def test_a_new_limit_requires_a_seed_of_its_own_counter_only(key: Key) -> None:
    await key.set(DAILY)
    before = await key.epochs()

    await key.set(WEEKLY)

    after = await key.epochs()
    new = WEEK.format(key.key_id)
    assert after[new] > max(before.values())
    assert {field: epoch for field, epoch in after.items() if field != new} == before


async def test_a_changed_limit_keeps_its_counter(key: Key) -> None:
    await key.set(DAILY)
    before = await key.epochs()

    await key.set(replace(DAILY, amount=7, reserve="maximum"))

    assert await key.epochs() == before


async def test_a_restored_limit_requires_a_seed(key: Key) -> None:
    await key.set(DAILY)
    before = await key.of(DAY)
    await key.set(replace(DAILY, amount=None))

    await key.set(DAILY)

    assert await key.of(DAY) > before


@pytest.mark.parametrize("other", [replace(DAILY, set_by="owner"), replace(DAILY, shadow=True)])
async def test_a_limit_that_shares_a_current_counter_needs_no_seed(key: Key, other: LimitInput) -> None:
    await key.set(DAILY)
    before = await key.epochs()

    await key.set(other)
    await key.set(replace(DAILY, expires_at=IN_AN_HOUR))

    assert await key.epochs() == before


async def test_an_expiring_limit_does_not_keep_the_counter_current_for_others(key: Key) -> None:
    await key.set(replace(DAILY, expires_at=datetime.now(UTC) + timedelta(seconds=30)))
    before = await key.of(DAY)

    await key.set(replace(DAILY, set_by="owner"))

    assert await key.of(DAY) > before


async def test_an_expired_limit_that_is_extended_requires_a_seed(key: Key) -> None:
    await key.set(replace(DAILY, expires_at=IN_AN_HOUR))
    before = await key.of(DAY)
    await key.expire()
    assert DAY.format(key.key_id) not in await key.epochs()

    await key.set(replace(DAILY, expires_at=IN_AN_HOUR))

    assert await key.of(DAY) > before


async def test_a_limit_extended_before_it_expires_needs_no_seed(key: Key) -> None:
    await key.set(replace(DAILY, expires_at=IN_AN_HOUR))
    before = await key.epochs()

    await key.set(replace(DAILY, expires_at=IN_AN_HOUR + timedelta(days=1)))

    assert await key.epochs() == before


async def test_removing_a_limit_keeps_the_epoch_of_a_shared_counter(key: Key) -> None:
    await key.set(replace(DAILY, expires_at=datetime.now(UTC) + timedelta(seconds=30)))
    await key.set(replace(DAILY, set_by="owner"))
    before = await key.of(DAY)
    await key.expire()
    await key.set(DAILY)
    assert await key.of(DAY) == before

    # The one that came last goes.
    await key.pool.execute("DELETE FROM limits WHERE api_key_id = $1 AND set_by = 'owner'", key.key_id)

    assert await key.of(DAY) == before


async def move(key: Key) -> None:
    sql = "UPDATE accounts SET time_zone = CASE time_zone WHEN 'UTC' THEN 'Asia/Tokyo' ELSE 'UTC' END WHERE id = $1"
    await key.pool.execute(sql, key.account_id)


async def repair(key: Key) -> None:
    await raise_epochs(key.pool, [key.account_id])


async def record_another_redis(key: Key) -> None:
    run_id = uuid4().hex
    assert await record_redis_run(key.pool, run_id)
    assert not await record_redis_run(key.pool, run_id)


@pytest.mark.parametrize("event", [move, repair, record_another_redis])
async def test_an_event_that_concerns_all_counters_requires_seeds_of_all(
    key: Key, event: Callable[[Key], Awaitable[None]]
) -> None:
    for fields in (DAILY, WEEKLY, replace(DAILY, set_by="owner")):
        await key.set(fields)
    for _ in range(3):
        before = await key.epochs()
        await event(key)
        assert all(epoch > before[field] for field, epoch in (await key.epochs()).items())


async def test_the_epoch_of_the_next_new_limit_is_higher(key: Key) -> None:
    await repair(key)
    await repair(key)
    before = await key.epochs()

    await key.set(DAILY)

    assert await key.of(DAY) > max(before.values())


async def test_limits_of_one_transaction_have_the_next_epoch_of_their_account(key: Key) -> None:
    """The tick of a large team would be raised thousands of times."""
    await key.pool.execute(
        "INSERT INTO users (email, name, role, status) SELECT format('u%s@example.com', i), 'U', 'user', 'active' "
        "FROM generate_series(1, 20) AS i"
    )
    await make_team(key.pool)
    accounts = [row["id"] for row in await key.pool.fetch("SELECT id FROM accounts ORDER BY id")]
    before = [row["tick"] for row in await key.pool.fetch(TICKS, accounts)]
    assert len(accounts) > 1
    async with key.pool.acquire() as connection, connection.transaction():
        for account in accounts:
            await connection.execute(SET_FOR_USERS, [account], 1)
            # A savepoint takes its epoch back with its limits.
            nested = connection.transaction()
            await nested.start()
            await repair(replace(key, pool=connection, account_id=account))
            await nested.rollback()

    assert [tuple(row) for row in await key.pool.fetch(EPOCHS, 1)] == [
        (account, tick + 1) for account, tick in zip(accounts, before, strict=True)
    ]
    assert [row["tick"] for row in await key.pool.fetch(TICKS, accounts)] == [tick + 1 for tick in before]

    await key.pool.execute("DELETE FROM limits")
    await key.pool.execute(SET_FOR_USERS, accounts, 2)

    assert all(epoch > tick + 1 for (_, epoch), tick in zip(await key.pool.fetch(EPOCHS, 2), before, strict=True))


async def test_limits_that_share_a_counter_are_looked_up(key: Key, database: Database) -> None:
    """A new limit would be compared with each of a large team."""
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute(
        "INSERT INTO users (email, name, role, status) SELECT format('u%s@example.com', i), 'U', 'user', 'active' "
        "FROM generate_series(1, 1000) AS i"
    )
    await owner.execute(SET_FOR_USERS, [key.account_id], 1)
    await owner.execute("ANALYZE limits")
    await owner.execute("SET plan_cache_mode = force_generic_plan")
    await owner.execute(f"PREPARE counter_of(limits) AS {COUNTER_OF}")
    plan = "\n".join(row[0] for row in await owner.fetch("EXPLAIN EXECUTE counter_of(NULL)"))
    await owner.close()

    assert "using limits_one_of_a_kind" in plan, plan
    assert re.search("Index Cond: .*user_id", plan), plan
