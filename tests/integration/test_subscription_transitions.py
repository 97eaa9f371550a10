"""Subscriptions on a real database: one permanent row, a history, and one winner of two concurrent transitions."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from factories import ADMIN, READER, make_model, make_subscription, make_team, make_user, owner_of

from admin_api.operations import subscriptions
from admin_api.operations.limits import limits
from admin_api.operations.models import models
from admin_api.storage.subscriptions import Subscription
from gateway.domain.errors import GatewayError
from gateway.storage.postgres import Pool


async def make_pending(pool: Pool) -> Subscription:
    number = await pool.fetchval("SELECT count(*) FROM models")
    name = await make_model(pool, f"restricted {number}", restricted=True)
    return await make_subscription(pool, await make_user(pool), name)


async def test_an_open_model_is_active_at_once_with_the_default_limits(pool: Pool) -> None:
    row = await make_subscription(pool, await make_user(pool), await make_model(pool))

    found = (await limits.list_limits(pool, READER, level="subscription", target=str(row.id))).rows
    assert row.status == "active"
    assert [(limit.kind, limit.window, limit.amount) for limit in found] == [
        ("requests", "month", 10_000),
        ("tokens", "month", 1_000_000),
    ]


async def test_a_restricted_model_waits_for_an_admin(pool: Pool) -> None:
    assert (await make_pending(pool)).status == "pending"


async def test_concurrent_requests_create_one_subscription_of_an_account_to_a_model(pool: Pool) -> None:
    user, model = await make_user(pool), await make_model(pool)

    made = await asyncio.gather(*(make_subscription(pool, user, model) for _ in range(8)), return_exceptions=True)

    assert sorted(getattr(one, "code", "made") for one in made) == ["conflict"] * 7 + ["made"]
    assert await pool.fetchval("SELECT count(*) FROM limits") == 2


async def test_of_two_concurrent_decisions_one_wins_and_the_other_is_a_conflict(pool: Pool) -> None:
    for _ in range(10):
        row = await make_pending(pool)
        decided = await asyncio.gather(
            subscriptions.change_subscription(pool, ADMIN, row.id, "approve"),
            subscriptions.change_subscription(pool, ADMIN, row.id, "deny", reason="no budget"),
            return_exceptions=True,
        )

        winners = [one for one in decided if isinstance(one, Subscription)]
        losers = [one for one in decided if isinstance(one, GatewayError)]
        assert [loser.code for loser in losers] == ["conflict"]
        now, history = await subscriptions.find_subscription(pool, READER, row.id)
        assert [winner.status for winner in winners] == [now.status]
        assert [entry.to_status for entry in history] == ["pending", now.status]


async def test_every_transition_has_a_history_row_and_an_audit_row(pool: Pool) -> None:
    row = await make_pending(pool)

    await subscriptions.change_subscription(pool, ADMIN, row.id, "deny", reason="not now")
    await subscriptions.change_subscription(pool, ADMIN, row.id, "request_review")
    await subscriptions.change_subscription(pool, ADMIN, row.id, "approve")

    _, history = await subscriptions.find_subscription(pool, READER, row.id)
    actions = await pool.fetch("SELECT action FROM audit_logs WHERE target_kind = 'subscription' ORDER BY id")
    assert [(entry.from_status, entry.to_status, entry.reason) for entry in history] == [
        (None, "pending", None),
        ("pending", "denied", "not now"),
        ("denied", "pending", None),
        ("pending", "active", None),
    ]
    assert [entry["action"].removeprefix("subscription.") for entry in actions] == [
        "create",
        "deny",
        "request_review",
        "approve",
    ]


@pytest.mark.parametrize("action", ["deny", "suspend"])
async def test_a_transition_against_the_user_needs_a_reason(pool: Pool, action: str) -> None:
    row = await make_pending(pool)

    with pytest.raises(GatewayError) as caught:
        await subscriptions.change_subscription(pool, ADMIN, row.id, action, reason=" ")

    assert caught.value.code == "validation_failed"


async def test_a_subscription_its_owner_cancelled_returns_active_as_the_same_row(pool: Pool) -> None:
    user, model = await make_user(pool), await make_model(pool)
    row = await make_subscription(pool, user, model)
    await subscriptions.change_subscription(pool, owner_of(user), row.id, "cancel")

    back = await subscriptions.create_subscription(pool, owner_of(user), model=model, user=user.email)

    assert (back.id, back.status) == (row.id, "active")


async def test_a_subscription_an_admin_cancelled_returns_pending(pool: Pool) -> None:
    user, model = await make_user(pool), await make_model(pool)
    row = await make_subscription(pool, user, model)
    await subscriptions.change_subscription(pool, ADMIN, row.id, "cancel")

    back = await subscriptions.create_subscription(pool, owner_of(user), model=model, user=user.email)

    assert (back.id, back.status) == (row.id, "pending")


async def test_a_model_restricted_in_between_needs_an_approval_again(pool: Pool) -> None:
    user, model = await make_user(pool), await make_model(pool)
    row = await make_subscription(pool, user, model)
    await subscriptions.change_subscription(pool, owner_of(user), row.id, "cancel")
    await models.update_model(pool, ADMIN, model, restricted=True)

    back = await subscriptions.create_subscription(pool, owner_of(user), model=model, user=user.email)

    assert back.status == "pending"


async def test_a_suspended_subscription_cannot_be_cancelled_and_renewed(pool: Pool) -> None:
    user = await make_user(pool)
    row = await make_subscription(pool, user, await make_model(pool))
    await subscriptions.change_subscription(pool, ADMIN, row.id, "suspend", reason="misuse")

    with pytest.raises(GatewayError, match="suspended") as caught:
        await subscriptions.change_subscription(pool, owner_of(user), row.id, "cancel")

    assert caught.value.code == "conflict"


async def test_an_owner_cannot_approve_their_own_subscription(pool: Pool) -> None:
    user = await make_user(pool)
    row = await make_subscription(pool, user, await make_model(pool, restricted=True))

    with pytest.raises(GatewayError) as caught:
        await subscriptions.change_subscription(pool, owner_of(user), row.id, "approve")

    assert caught.value.code == "forbidden"


async def test_a_subscription_of_another_user_is_not_found(pool: Pool) -> None:
    row = await make_subscription(pool, await make_user(pool), await make_model(pool))
    stranger = owner_of(await make_user(pool))

    for attempt in (
        subscriptions.change_subscription(pool, stranger, row.id, "cancel"),
        subscriptions.find_subscription(pool, stranger, row.id),
    ):
        with pytest.raises(GatewayError) as caught:
            await attempt
        assert caught.value.code == "not_found"


@pytest.mark.parametrize(("is_enabled", "is_listed"), [(False, True), (True, False)])
async def test_an_unavailable_model_accepts_no_subscription(pool: Pool, is_enabled: bool, is_listed: bool) -> None:
    model = await make_model(pool)
    await pool.execute("UPDATE models SET enabled = $1, listed = $2", is_enabled, is_listed)

    with pytest.raises(GatewayError) as caught:
        await make_subscription(pool, await make_user(pool), model)

    assert caught.value.code == "conflict"


async def test_a_team_and_a_member_have_separate_subscriptions(pool: Pool) -> None:
    user, model = await make_user(pool), await make_model(pool)
    team = await make_team(pool, user)

    own = await make_subscription(pool, user, model)
    shared = await subscriptions.create_subscription(pool, ADMIN, model=model, team=team.name)

    assert own.id != shared.id
    assert shared.account_id == team.id


async def test_the_scheduler_expires_a_subscription_once_with_any_number_of_replicas(pool: Pool) -> None:
    user, model = await make_user(pool), await make_model(pool)
    soon = datetime.now(UTC) + timedelta(hours=1)
    row = await subscriptions.create_subscription(pool, ADMIN, model=model, user=user.email, expires_at=soon)

    early = await subscriptions.expire_subscriptions(pool, soon - timedelta(seconds=1))
    ended = await asyncio.gather(*(subscriptions.expire_subscriptions(pool, soon) for _ in range(4)))

    now, history = await subscriptions.find_subscription(pool, READER, row.id)
    assert (early, sum(ended), now.status) == (0, 1, "expired")
    assert [entry.actor for entry in history] == ["test", "system"]


async def test_a_renewed_expired_subscription_does_not_expire_again_at_once(pool: Pool) -> None:
    user, model = await make_user(pool), await make_model(pool)
    soon = datetime.now(UTC) + timedelta(hours=1)
    row = await subscriptions.create_subscription(pool, ADMIN, model=model, user=user.email, expires_at=soon)
    await subscriptions.expire_subscriptions(pool, soon)

    back = await make_subscription(pool, user, model)
    await subscriptions.change_subscription(pool, ADMIN, back.id, "approve")
    await subscriptions.expire_subscriptions(pool, soon)

    now, _ = await subscriptions.find_subscription(pool, READER, row.id)
    assert (now.id, now.status, now.expires_at) == (row.id, "active", None)
