"""Gateways are notified of every change that concerns a cached key, and of nothing else."""

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
from admin_api.operations.models.price_input import PriceInput
from admin_api.operations.models.prices import set_price
from admin_api.operations.people import teams, users
from gateway.storage.postgres import Pool


class Listener:
    """Collects payloads; `drain` returns those of everything committed before it."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection
        self._heard: asyncio.Queue[str] = asyncio.Queue()

    def hear(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        self._heard.put_nowait(str(payload))

    async def drain(self) -> set[str]:
        # Payloads arrive in the order of commits, so this one is the last.
        await self._connection.execute("SELECT pg_notify('litemaas_changes', 'end')")
        heard = set()
        while (payload := await asyncio.wait_for(self._heard.get(), 5)) != "end":
            heard.add(payload)
        return heard


@pytest.fixture
async def listener(database: Database) -> AsyncIterator[Listener]:
    connection = await asyncpg.connect(database.app_url)
    listener = Listener(connection)
    await connection.add_listener("litemaas_changes", listener.hear)
    yield listener
    await connection.close()


async def test_revoking_a_key_notifies_its_id(pool: Pool, listener: Listener) -> None:
    made = await make_key(pool)
    await listener.drain()

    await keys.revoke_key(pool, ADMIN, made.row.id)

    assert await listener.drain() == {f"k:{made.row.id}"}


async def test_revoking_again_notifies_nothing(pool: Pool, listener: Listener) -> None:
    made = await make_key(pool)
    await keys.revoke_key(pool, ADMIN, made.row.id)
    await listener.drain()

    await keys.revoke_key(pool, ADMIN, made.row.id)

    assert await listener.drain() == set()


async def test_suspending_a_subscription_notifies_its_account(pool: Pool, listener: Listener) -> None:
    user = await make_user(pool)
    row = await subscriptions.create_subscription(pool, ADMIN, model=await make_model(pool), user=user.email)
    await listener.drain()

    await subscriptions.change_subscription(pool, ADMIN, row.id, "suspend", reason="unpaid")

    assert await listener.drain() == {f"a:{user.account_id}"}


async def test_setting_a_limit_notifies_and_setting_the_same_again_does_not(pool: Pool, listener: Listener) -> None:
    made = await make_key(pool)
    fields = limits.LimitInput(kind="rpm", amount=5)
    await listener.drain()

    for expected in ({f"a:{made.row.account_id}"}, set()):
        await limits.set_limit(pool, ADMIN, fields, level="key", target=str(made.row.id), model=None, team=None)

        assert await listener.drain() == expected


async def test_deactivating_a_user_notifies_their_id(pool: Pool, listener: Listener) -> None:
    user = await make_user(pool)
    await listener.drain()

    await users.update_user(pool, ADMIN, user.email, status="deactivated")

    assert await listener.drain() == {f"u:{user.id}"}


async def test_a_new_price_notifies_its_model(pool: Pool, listener: Listener) -> None:
    name = await make_model(pool)
    model = (await models.find_model(pool, ADMIN, name)).model
    await listener.drain()

    await set_price(pool, ADMIN, name, PriceInput(units={"input": Decimal("0.000003")}))

    assert await listener.drain() == {f"m:{model.id}"}


async def test_removing_a_member_notifies_the_team(pool: Pool, listener: Listener) -> None:
    user = await make_user(pool)
    team = await make_team(pool, user)
    await listener.drain()

    await teams.remove_member(pool, ADMIN, team.name, user=user.email)

    assert await listener.drain() == {f"a:{team.id}"}


async def test_an_update_without_a_change_notifies_nothing(pool: Pool, listener: Listener) -> None:
    await make_user(pool)
    await listener.drain()

    await pool.execute("UPDATE users SET name = name")

    assert await listener.drain() == set()


async def test_a_change_of_very_many_rows_notifies_everything_instead_of_a_long_list(
    pool: Pool, listener: Listener
) -> None:
    await pool.execute("INSERT INTO models (name) SELECT 'model ' || n FROM generate_series(1, 3000) AS n")

    assert await listener.drain() == {"*"}


async def test_a_sync_without_changes_notifies_nothing(pool: Pool, listener: Listener) -> None:
    await apply(pool, seen_model("small"), seen_model("large"))
    await listener.drain()

    await apply(pool, seen_model("small"), seen_model("large"))

    assert await listener.drain() == set()
