"""Audit rows have the old and new values of everything a change changed."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from factories import ADMIN, make_key, make_model, make_subscription, make_user, owner_of

from admin_api.operations import subscriptions
from admin_api.operations.keys import changes, keys
from admin_api.operations.limits import boosts, limits
from admin_api.operations.limits.limits import LimitInput
from admin_api.operations.limits.parsing import AmountInput
from admin_api.storage import accounts
from gateway.domain.errors import GatewayError
from gateway.storage.postgres import Pool


async def reported(pool: Pool, action: str) -> tuple[Any, Any]:
    """Old and new values of the last row of this action."""
    row = await pool.fetchrow(
        "SELECT old::text AS old, new::text AS new FROM audit_logs WHERE action = $1 ORDER BY id DESC LIMIT 1", action
    )
    assert row is not None
    return json.loads(row["old"] or "null"), json.loads(row["new"] or "null")


async def test_a_bulk_change_audits_every_changed_value(admin: httpx2.AsyncClient, pool: Pool) -> None:
    user = await make_user(pool)
    subscription = await make_subscription(pool, user, await make_model(pool))
    fields = {"level": "subscription", "kind": "tokens", "window": "month", "amount": 1_000_000}
    stricter = fields | {"reserve": "maximum", "reason": "no overshoot"}

    preview = (await admin.post("/api/v1/admin/limits/preview", json=stricter)).json()
    applied = await admin.post("/api/v1/admin/limits/apply", json=stricter | {"token": preview["token"]})

    assert (preview["changes"], applied.status_code) == (1, 200)
    old, new = await reported(pool, "limit.set")
    place = {"level": "subscription", "kind": "tokens", "window": "month", "account_id": user.account_id}
    place |= {"target": f"{user.email} {subscription.model_name}", "amount": 1_000_000}
    assert {name: old[name] for name in place} == {name: new[name] for name in place} == place
    assert (old["reserve"], old["reason"]) == ("expected", None)
    assert (new["reserve"], new["reason"]) == ("maximum", "no overshoot")


async def test_archiving_and_restoring_a_key_audit_the_times(pool: Pool) -> None:
    key = (await make_key(pool)).row
    await keys.revoke_key(pool, ADMIN, key.id)

    archived = await changes.archive_key(pool, ADMIN, key.id)
    assert archived.archived_at is not None
    since = {"archived_at": archived.archived_at.isoformat()}
    put_away = await reported(pool, "key.archive")
    await changes.archive_key(pool, ADMIN, key.id, archived=False)

    assert [{k: str(v).replace(" ", "T") for k, v in one.items()} for one in put_away] == [
        {"archived_at": "None"},
        since,
    ]
    back = await reported(pool, "key.unarchive")
    assert (set(back[0]), back[1]) == ({"archived_at"}, {"archived_at": None})


async def test_a_renewed_subscription_audits_its_new_end(pool: Pool) -> None:
    user = await make_user(pool)
    await make_subscription(pool, user, await make_model(pool))
    soon = datetime.now(UTC) + timedelta(days=1)
    row = (await subscriptions.list_subscriptions(pool, owner_of(user))).rows[0]
    await subscriptions.change_subscription(pool, owner_of(user), row.id, "cancel")
    assert "expires_at" not in (await reported(pool, "subscription.cancel"))[1]

    await subscriptions.create_subscription(pool, owner_of(user), model="small", expires_at=soon)

    old, new = await reported(pool, "subscription.renew")
    assert (old["status"], new["status"], old["expires_at"]) == ("cancelled", "active", None)
    assert datetime.fromisoformat(new["expires_at"]) == soon


@pytest.mark.parametrize("meanwhile", ["changed", "removed"])
async def test_a_boost_uses_the_limit_at_the_time_it_is_applied(pool: Pool, meanwhile: str) -> None:
    """A concurrent change by another admin is not undone by the boost."""
    user = await make_user(pool)
    place = {"level": "user", "target": user.email, "model": None, "team": None}
    lasting = (await limits.set_limit(pool, ADMIN, LimitInput(kind="tpm", amount=100), **place)).row
    assert lasting is not None
    soon = datetime.now(UTC) + timedelta(hours=1)
    async with pool.acquire() as connection, connection.transaction():
        await accounts.lock_account(connection, user.account_id)
        boosting = asyncio.create_task(
            boosts.boost_limit(
                pool, ADMIN, lasting.id, amount=AmountInput(amount=200), expires_at=soon, reason="demo day"
            )
        )
        await asyncio.sleep(0.2)
        if meanwhile == "removed":
            await connection.execute("DELETE FROM limits WHERE id = $1", lasting.id)
        else:
            await connection.execute("UPDATE limits SET reserve = 'maximum' WHERE id = $1", lasting.id)

    if meanwhile == "removed":
        with pytest.raises(GatewayError) as caught:
            await boosting
        assert caught.value.code == "not_found"
        assert await pool.fetchval("SELECT count(*) FROM limits") == 0
    else:
        assert (await boosting).limit.reserve == "maximum"


async def test_setting_many_limits_to_unlimited_removes_their_boosts(admin: httpx2.AsyncClient, pool: Pool) -> None:
    """As when one limit is lifted: a boost that went on would be a limit still."""
    users = [await make_user(pool) for _ in range(3)]
    soon = datetime.now(UTC) + timedelta(hours=1)
    for user, amount, boost in zip(users, (100, None, 100), (200, 300, None), strict=True):
        place = {"level": "user", "target": user.email, "model": None, "team": None}
        if amount is not None:
            await limits.set_limit(pool, ADMIN, LimitInput(kind="rpm", amount=amount), **place)
        if boost is not None:
            await limits.set_limit(pool, ADMIN, LimitInput(kind="rpm", amount=boost, expires_at=soon), **place)
    fields = {"level": "user", "kind": "rpm", "amount": "unlimited"}

    preview = (await admin.post("/api/v1/admin/limits/preview", json=fields)).json()
    applied = await admin.post("/api/v1/admin/limits/apply", json=fields | {"token": preview["token"]})

    assert [(row["amount"], row["boost_amount"]) for row in preview["rows"]] == [(100, 200), (None, 300), (100, None)]
    assert (applied.status_code, await pool.fetchval("SELECT count(*) FROM limits")) == (200, 0)
    gone = await pool.fetch("SELECT old ->> 'amount' AS amount FROM audit_logs WHERE action = 'limit.delete'")
    assert sorted(row["amount"] for row in gone) == ["100", "100", "200", "300"]
    again = (await admin.post("/api/v1/admin/limits/preview", json=fields)).json()
    assert (again["changes"], again["unchanged"]) == (0, 3)


async def test_a_boost_after_the_preview_counts_as_a_change(admin: httpx2.AsyncClient, pool: Pool) -> None:
    user = await make_user(pool)
    place = {"level": "user", "target": user.email, "model": None, "team": None}
    lasting = (await limits.set_limit(pool, ADMIN, LimitInput(kind="rpm", amount=100), **place)).row
    assert lasting is not None
    fields = {"level": "user", "kind": "rpm", "amount": "unlimited"}
    preview = (await admin.post("/api/v1/admin/limits/preview", json=fields)).json()

    soon = datetime.now(UTC) + timedelta(hours=1)
    await boosts.boost_limit(
        pool, ADMIN, lasting.id, amount=AmountInput(amount=200), expires_at=soon, reason="demo day"
    )
    applied = await admin.post("/api/v1/admin/limits/apply", json=fields | {"token": preview["token"]})

    assert (applied.status_code, await pool.fetchval("SELECT count(*) FROM limits")) == (409, 2)
