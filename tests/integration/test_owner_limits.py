"""Limits set by owners, boosts, bulk changes, and the remaining amounts of an account."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from factories import (
    ADMIN,
    PEPPERS,
    READER,
    code_of,
    make_key,
    make_model,
    make_subscription,
    make_team,
    make_user,
    owner_of,
)

from admin_api.operations import runtime_settings, subscriptions
from admin_api.operations.actors import Actor
from admin_api.operations.keys import keys, owner_limits
from admin_api.operations.limits import boosts, bulk, limits
from admin_api.operations.limits import explain as explanations
from admin_api.operations.limits.bulk import Filter
from admin_api.operations.limits.limits import LimitInput
from admin_api.operations.limits.parsing import AmountInput
from admin_api.operations.limits.states import list_limit_states
from gateway.storage.counters.scripts import Counters
from gateway.storage.postgres import Pool


@pytest.fixture
async def counters(redis_url: str) -> AsyncIterator[Counters]:
    async with explanations.open_counters(redis_url) as opened:
        yield opened


async def set_own(pool: Pool, actor: Actor, target: int, amount: int | None, **about: Any) -> Any:
    place = {"level": "key", "model": None, "team": None} | {n: about.pop(n) for n in ("level", "model") if n in about}
    fields = LimitInput(**({"kind": "rpm", "amount": amount} | about))
    return await owner_limits.set_own_limit(pool, actor, fields, target=str(target), **place)


async def test_an_owner_can_lower_the_limits_of_their_keys_and_raise_none(pool: Pool) -> None:
    user = await make_user(pool)
    await make_subscription(pool, user, await make_model(pool))
    key = (await make_key(pool, user)).row
    owner, stranger = owner_of(user), owner_of(await make_user(pool))
    place = {"level": "key", "target": str(key.id), "model": None, "team": None}
    by_admin = (await limits.set_limit(pool, ADMIN, LimitInput(kind="rpm", amount=60), **place)).row
    await runtime_settings.update_settings(pool, ADMIN, {"key_maximum_tpm": 500})
    assert by_admin is not None

    own = (await set_own(pool, owner, key.id, 10)).limit
    ends = [
        await code_of(attempt)
        for attempt in (
            set_own(pool, owner, key.id, 61),
            set_own(pool, owner, key.id, 501, kind="tpm"),
            set_own(pool, owner, key.id, 500, kind="tpm"),
            set_own(pool, owner, key.id, 1, level="key_model", model="small"),
            set_own(pool, owner, key.id, 1, level="subscription"),
            set_own(pool, stranger, key.id, 1),
            set_own(pool, READER, key.id, 1),
            owner_limits.delete_own_limit(pool, owner, by_admin.id),
            owner_limits.delete_own_limit(pool, stranger, own.id),
        )
    ]

    assert ends == [
        *["validation_failed"] * 2,
        "done",
        "done",
        "forbidden",
        "not_found",
        *["forbidden"] * 2,
        "not_found",
    ]
    seen = (await limits.list_limits(pool, owner, level="key")).rows
    assert {(row.kind, row.set_by, row.amount) for row in seen} == {
        ("rpm", "admin", 60),
        ("rpm", "owner", 10),
        ("tpm", "owner", 500),
    }
    assert (await limits.list_limits(pool, stranger)).rows == []
    await set_own(pool, owner, key.id, None)
    assert [row.set_by for row in (await limits.list_limits(pool, owner, level="key")).rows] == ["admin", "owner"]


async def test_a_member_sees_the_limits_of_the_team_and_their_own(pool: Pool) -> None:
    ann, bob, model = await make_user(pool), await make_user(pool), await make_model(pool)
    team = await make_team(pool, ann, bob)
    await subscriptions.create_subscription(pool, ADMIN, model=model, team=team.name)
    for user in (ann, bob):
        fields = keys.KeyInput(models=[model], team=team.name, user=user.email, rpm=user.id)
        key = (await keys.create_key(pool, ADMIN, PEPPERS, fields)).row
        place = {"level": "user", "target": user.email, "model": None, "team": team.name}
        await limits.set_limit(pool, ADMIN, LimitInput(kind="tpm", amount=user.id), **place)
        assert key.account_id == team.id

    seen = (await limits.list_limits(pool, owner_of(ann), team=team.name)).rows

    assert {(row.level, row.amount) for row in seen} == {
        ("subscription", 10_000),
        ("subscription", 1_000_000),
        ("key", ann.id),
        ("user", ann.id),
    }


async def test_a_boost_replaces_a_limit_and_its_remaining_amount_is_shown(pool: Pool, counters: Counters) -> None:
    key = (await make_key(pool)).row
    owner = Actor(name="owner", role="user", user_id=key.user_id)
    stranger = owner_of(await make_user(pool))
    place = {"level": "key", "target": str(key.id), "model": None, "team": None}
    budget = LimitInput(kind="cost", amount=0, window="month")
    lasting = (await limits.set_limit(pool, ADMIN, budget, **place)).row
    assert lasting is not None

    async def explain(actor: Actor) -> explanations.Explanation:
        return await explanations.explain_limits(
            pool, counters, actor, key_id=key.id, call=explanations.CallInput(model="small", tokens=10)
        )

    before = await explain(owner)
    soon = datetime.now(UTC) + timedelta(hours=1)
    more = AmountInput(amount_nano_usd=10**9)
    boost = (await boosts.boost_limit(pool, ADMIN, lasting.id, amount=more, expires_at=soon, reason="demo day")).limit
    after = await explain(owner)

    assert (before.allowed, before.code, after.allowed) == (False, "insufficient_quota", True)
    assert await code_of(explain(stranger)) == "not_found"
    states = {one.row.id: one.left for one in (await list_limit_states(pool, counters, owner)).rows}
    assert states[lasting.id] is None
    left = states[boost.id]
    assert left is not None
    assert (left["remaining"], left["remaining_nano_usd"], left["used_usd"]) == (None, 10**9, "0")
    assert sorted(state["remaining"] for state in states.values() if state and state["kind"] != "cost") == [
        10_000,
        1_000_000,
    ]
    assert await code_of(list_limit_states(pool, counters, stranger, user=str(key.user_id))) == "not_found"
    assert (boost.reason, boost.expires_at) == ("demo day", soon)
    again = boosts.boost_limit(pool, ADMIN, boost.id, amount=AmountInput(amount=1), expires_at=soon, reason="x")
    assert await code_of(again) == "conflict"
    assert (
        await code_of(
            boosts.boost_limit(pool, owner, lasting.id, amount=AmountInput(amount=9), expires_at=soon, reason="x")
        )
        == "forbidden"
    )


async def test_a_bulk_change_of_limits_matches_its_preview_or_changes_nothing(
    admin: httpx2.AsyncClient, pool: Pool
) -> None:
    small, large = await make_model(pool), await make_model(pool, "large")
    users = [await make_user(pool) for _ in range(3)]
    for user in users:
        await make_subscription(pool, user, small)
    await make_subscription(pool, users[0], large)
    path = "/api/v1/admin/limits"
    fields = {
        "level": "subscription",
        "model": small,
        "kind": "tokens",
        "window": "month",
        "amount": 5,
        "reason": "less",
    }

    async def amounts() -> list[int]:
        rows = await pool.fetch("SELECT amount FROM limits WHERE kind = 'tokens' ORDER BY subscription_id")
        return [row["amount"] for row in rows]

    preview = (await admin.post(f"{path}/preview", json=fields)).json()
    assert (preview["changes"], preview["unchanged"]) == (3, 0)
    assert [row["amount"] for row in preview["rows"]] == [1_000_000] * 3
    assert await amounts() == [1_000_000] * 4
    await make_subscription(pool, await make_user(pool), small)
    stale = await admin.post(f"{path}/apply", json=fields | {"token": preview["token"]})
    assert stale.status_code == 409
    assert await amounts() == [1_000_000] * 5

    preview = (await admin.post(f"{path}/preview", json=fields)).json()
    other = await admin.post(f"{path}/apply", json=fields | {"amount": 6, "token": preview["token"]})
    assert other.status_code == 409
    done = await admin.post(f"{path}/apply", json=fields | {"token": preview["token"]})

    assert (done.status_code, done.json()) == (200, preview)
    assert await amounts() == [5, 5, 5, 1_000_000, 5]
    reported = await pool.fetch(
        "SELECT new ->> 'amount' AS n, old ->> 'amount' AS o FROM audit_logs WHERE new ? 'target'"
    )
    assert [tuple(row) for row in reported] == [("5", "1000000")] * 4
    again = (await admin.post(f"{path}/preview", json=fields)).json()
    assert (again["changes"], again["unchanged"]) == (0, 4)
    lifted = fields | {"amount": "unlimited", "users": [users[0].email, str(users[1].id)]}
    preview = (await admin.post(f"{path}/preview", json=lifted)).json()
    await admin.post(f"{path}/apply", json=lifted | {"token": preview["token"]})
    assert await amounts() == [5, 1_000_000, 5]


async def test_bulk_targets_are_those_of_the_level_that_match_every_filter(pool: Pool) -> None:
    model, ann, bob = await make_model(pool), await make_user(pool), await make_user(pool)
    gone = await make_user(pool)
    await pool.execute("UPDATE users SET status = 'deactivated' WHERE id = $1", gone.id)
    team = await make_team(pool, bob, name="red")
    await make_subscription(pool, ann, model)
    kept, ended = [(await make_key(pool, ann)).row for _ in range(2)]
    await keys.revoke_key(pool, ADMIN, ended.id)
    fields = LimitInput(kind="rpm", amount=5)

    async def labels(level: str, **filters: Any) -> list[str]:
        found = await bulk.preview_limits(pool, ADMIN, Filter(level=level, **filters), fields)
        return [target.label for target in found.targets]

    assert await labels("user") == [ann.email, bob.email]
    assert await labels("user", team="red") == [f"{bob.email} in team red"]
    assert await labels("user", users=[ann.email]) == [ann.email]
    assert await labels("team") == await labels("team", team=str(team.id)) == ["red"]
    assert await labels("key") == await labels("key", model=model) == [f"{ann.email} {kept.name}"]
    assert await labels("key", users=[bob.email]) == []
    for actor in (READER, owner_of(ann)):
        assert await code_of(bulk.preview_limits(pool, actor, Filter(level="user"), fields)) == "forbidden"
    assert await code_of(bulk.preview_limits(pool, ADMIN, Filter(level="key_model"), fields)) == "validation_failed"
