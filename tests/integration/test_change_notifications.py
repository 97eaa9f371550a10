"""Gateways hear of every change that matters to a cached key, and of nothing else."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import asyncpg
import pytest
from conftest import Database
from factories import ADMIN, apply, make_key, make_model, make_team, make_user, seen_model

from admin_api.operations import subscriptions
from admin_api.operations.keys import keys
from admin_api.operations.limits import limits
from admin_api.operations.models import models
from admin_api.operations.people import teams, users
from gateway.storage.postgres import Pool


class Ears:
    """Collects payloads; `drain` returns those of everything committed before it."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection
        self._heard: asyncio.Queue[str] = asyncio.Queue()

    def hear(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        self._heard.put_nowait(str(payload))

    async def drain(self) -> set[str]:
        # Payloads come in the order of commits, so all before this one have come when it has.
        await self._connection.execute("SELECT pg_notify('litemaas_changes', 'end')")
        heard = set()
        while (payload := await asyncio.wait_for(self._heard.get(), 5)) != "end":
            heard.add(payload)
        return heard


@pytest.fixture
async def ears(database: Database) -> AsyncIterator[Ears]:
    connection = await asyncpg.connect(database.app_url)
    ears = Ears(connection)
    await connection.add_listener("litemaas_changes", ears.hear)
    yield ears
    await connection.close()


async def test_revoking_a_key_notifies_its_id(pool: Pool, ears: Ears) -> None:
    made = await make_key(pool)
    await ears.drain()

    await keys.revoke_key(pool, ADMIN, made.row.id)

    assert await ears.drain() == {f"k:{made.row.id}"}


async def test_revoking_again_notifies_nothing(pool: Pool, ears: Ears) -> None:
    made = await make_key(pool)
    await keys.revoke_key(pool, ADMIN, made.row.id)
    await ears.drain()

    await keys.revoke_key(pool, ADMIN, made.row.id)

    assert await ears.drain() == set()


async def test_suspending_a_subscription_notifies_its_account(pool: Pool, ears: Ears) -> None:
    user = await make_user(pool)
    row = await subscriptions.create_subscription(pool, ADMIN, model=await make_model(pool), user=user.email)
    await ears.drain()

    await subscriptions.change_subscription(pool, ADMIN, row.id, "suspend", reason="unpaid")

    assert await ears.drain() == {f"a:{user.account_id}"}


async def test_setting_a_limit_notifies_and_setting_the_same_again_does_not(pool: Pool, ears: Ears) -> None:
    made = await make_key(pool)
    fields = limits.LimitInput(kind="rpm", amount=5)
    await ears.drain()

    for expected in ({f"a:{made.row.account_id}"}, set()):
        await limits.set_limit(pool, ADMIN, fields, level="key", target=str(made.row.id), model=None, team=None)

        assert await ears.drain() == expected


async def test_deactivating_a_user_notifies_their_id(pool: Pool, ears: Ears) -> None:
    user = await make_user(pool)
    await ears.drain()

    await users.update_user(pool, ADMIN, user.email, status="deactivated")

    assert await ears.drain() == {f"u:{user.id}"}


async def test_a_new_price_notifies_its_model(pool: Pool, ears: Ears) -> None:
    name = await make_model(pool)
    model = (await models.find_model(pool, ADMIN, name)).model
    await ears.drain()

    await models.set_price(pool, ADMIN, name, {"input": Decimal("0.000003")})

    assert await ears.drain() == {f"m:{model.id}"}


async def test_removing_a_member_notifies_the_team(pool: Pool, ears: Ears) -> None:
    user = await make_user(pool)
    team = await make_team(pool, user)
    await ears.drain()

    await teams.remove_member(pool, ADMIN, team.name, user=user.email)

    assert await ears.drain() == {f"a:{team.id}"}


async def test_an_update_without_a_change_notifies_nothing(pool: Pool, ears: Ears) -> None:
    await make_user(pool)
    await ears.drain()

    await pool.execute("UPDATE users SET name = name")

    assert await ears.drain() == set()


async def test_a_change_of_very_many_rows_notifies_everything_instead_of_a_long_list(pool: Pool, ears: Ears) -> None:
    await pool.execute("INSERT INTO models (name) SELECT 'model ' || n FROM generate_series(1, 3000) AS n")

    assert await ears.drain() == {"*"}


async def test_a_sync_without_changes_notifies_nothing(pool: Pool, ears: Ears) -> None:
    await apply(pool, seen_model("small"), seen_model("large"))
    await ears.drain()

    await apply(pool, seen_model("small"), seen_model("large"))

    assert await ears.drain() == set()
