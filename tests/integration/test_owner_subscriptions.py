"""Subscriptions for their owners: transitions by state and role, and concurrent decisions."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, get_args

import httpx2
import pytest
from factories import ADMIN, READER, make_model, make_subscription, make_team, make_user, owner_of

from admin_api.operations import subscriptions
from admin_api.operations.actors import Actor
from admin_api.operations.people import teams
from admin_api.operations.subscriptions import decide_subscriptions
from admin_api.routes.subscriptions import Move
from gateway.domain.errors import GatewayError
from gateway.domain.subscriptions import STATUSES
from gateway.storage.postgres import Pool

# Move -> (from, to, who besides an admin). Written from the design's table, not from the code.
OWNERS = {"owner", "team owner"}
TABLE = {
    "approve": ({"pending"}, "active", set()),
    "deny": ({"pending"}, "denied", set()),
    "request_review": ({"denied"}, "pending", OWNERS),
    "suspend": ({"active"}, "suspended", set()),
    "reactivate": ({"suspended"}, "active", set()),
    "cancel": ({"active", "pending", "denied"}, "cancelled", OWNERS),
}


async def try_move(pool: Pool, actor: Actor, subscription_id: int, move: str) -> str:
    """The new status, or the error code."""
    try:
        return (await subscriptions.change_subscription(pool, actor, subscription_id, move, reason="because")).status
    except GatewayError as error:
        names_both = error.details.get("status", "?") in error.message and "allowed" in error.details
        return error.code if error.code != "conflict" or names_both else "a conflict that says nothing"


async def test_every_transition_from_every_state_by_every_role_is_as_in_the_table(pool: Pool) -> None:
    ann, bob, carol, model = await make_user(pool), await make_user(pool), await make_user(pool), await make_model(pool)
    team = await make_team(pool, carol)
    await teams.add_member(pool, ADMIN, team.name, user=bob.email, role="owner")
    own = (await make_subscription(pool, ann, model)).id
    shared = (await subscriptions.create_subscription(pool, ADMIN, model=model, team=team.name)).id
    roles = {
        "admin": (ADMIN, own),
        "reader": (READER, own),
        "owner": (owner_of(ann), own),
        "stranger": (owner_of(bob), own),
        "team owner": (owner_of(bob), shared),
        "team member": (owner_of(carol), shared),
    }
    wrong = []
    for status, role, move in product(STATUSES, roles, TABLE):
        actor, row_id = roles[role]
        await pool.execute("UPDATE subscriptions SET status = $1 WHERE status <> $1", status)
        sources, target, others = TABLE[move]
        if role == "stranger":
            expected = "not_found"
        elif role in ("reader", "team member"):
            expected = "forbidden"
        elif status not in sources:
            expected = "conflict"
        else:
            expected = target if role == "admin" or role in others else "forbidden"
        found = await try_move(pool, actor, row_id, move)
        if found != expected:
            wrong.append((status, role, move, found, expected))

    assert wrong == []
    assert set(TABLE) == {move.replace("-", "_") for move in get_args(Move)}


async def test_a_hundred_concurrent_approvals_and_denials_have_one_winner_each(pool: Pool) -> None:
    user = await make_user(pool)
    await pool.execute("INSERT INTO models (name) SELECT 'm' || n FROM generate_series(1, 100) AS n")
    await pool.execute(
        "INSERT INTO subscriptions (account_id, model_id, status) SELECT $1, id, 'pending' FROM models", user.account_id
    )
    ids = [row["id"] for row in await pool.fetch("SELECT id FROM subscriptions")]
    moves = [(subscription_id, move) for subscription_id in ids for move in ("approve", "deny")]

    ends = await asyncio.gather(*(try_move(pool, ADMIN, *move) for move in moves))

    pairs = [sorted(ends[n : n + 2]) for n in range(0, 200, 2)]
    assert all(pair in (["active", "conflict"], ["conflict", "denied"]) for pair in pairs)
    counted = await pool.fetch(
        "SELECT s.id, s.status, (SELECT array_agg(h.to_status) FROM subscription_history h"
        " WHERE h.subscription_id = s.id) AS history, (SELECT array_agg(a.new ->> 'status') FROM audit_logs a"
        " WHERE a.target_kind = 'subscription' AND a.target_id = s.id::text) AS audit FROM subscriptions s"
    )
    assert len(counted) == 100
    for row in counted:
        assert row["history"] == row["audit"] == [row["status"]]


async def test_a_user_sees_only_the_subscriptions_of_themselves_and_their_teams(pool: Pool) -> None:
    ann, bob = await make_user(pool), await make_user(pool)
    model, other = await make_model(pool), await make_model(pool, "other")
    team = await make_team(pool, ann)
    own = await make_subscription(pool, ann, model)
    shared = await subscriptions.create_subscription(pool, ADMIN, model=other, team=team.name)
    foreign = await make_subscription(pool, bob, model)

    async def seen(actor: Actor, **filters: Any) -> list[int]:
        return [row.id for row in (await subscriptions.list_subscriptions(pool, actor, **filters)).rows]

    assert await seen(owner_of(ann)) == [own.id, shared.id]
    assert await seen(owner_of(bob)) == [foreign.id]
    assert await seen(READER) == [own.id, shared.id, foreign.id]
    assert await seen(owner_of(ann), model=other) == await seen(owner_of(ann), team=team.name) == [shared.id]
    assert await seen(READER, user=bob.email, status="active") == [foreign.id]
    assert await seen(READER, status="denied") == []
    assert [await seen(actor, account=team.id) for actor in (READER, owner_of(ann), owner_of(bob))] == [
        [shared.id],
        [shared.id],
        [],
    ]
    for filters in ({"user": ann.email}, {"team": team.name}, {"user": "nobody@x.org"}, {"team": "none"}):
        with pytest.raises(GatewayError) as caught:
            await seen(owner_of(bob), **filters)
        # The same message, whether it exists or not.
        ((word, name),) = filters.items()
        assert caught.value.message == f"There is no {word} '{name}'."


async def test_a_user_can_subscribe_themselves_and_a_member_cannot_subscribe_the_team(pool: Pool) -> None:
    ann, bob = await make_user(pool), await make_user(pool)
    open_model, restricted = await make_model(pool), await make_model(pool, "restricted", restricted=True)
    team = await make_team(pool, ann)
    await make_model(pool, "hidden")
    await pool.execute("UPDATE models SET hidden = true WHERE name = 'hidden'")

    made = [await subscriptions.create_subscription(pool, owner_of(ann), model=m) for m in (open_model, restricted)]

    assert [(row.account_id, row.status) for row in made] == [(ann.account_id, "active"), (ann.account_id, "pending")]
    for actor, fields, code in (
        (owner_of(ann), {"model": "hidden"}, "not_found"),
        (owner_of(ann), {"model": open_model, "team": team.name}, "forbidden"),
        (owner_of(bob), {"model": open_model, "team": team.name}, "not_found"),
        (owner_of(bob), {"model": open_model, "user": ann.email}, "not_found"),
        (READER, {"model": open_model, "user": bob.email}, "forbidden"),
        (owner_of(ann), {"model": open_model}, "conflict"),
    ):
        with pytest.raises(GatewayError) as caught:
            await subscriptions.create_subscription(pool, actor, **fields)
        assert caught.value.code == code, fields
    assert caught.value.details == {"id": made[0].id, "status": "active", "allowed": ["cancel"]}


async def test_cancelling_and_renewing_does_not_extend_a_subscription(pool: Pool) -> None:
    user, model = await make_user(pool), await make_model(pool)
    soon = datetime.now(UTC) + timedelta(hours=1)
    row = await subscriptions.create_subscription(pool, ADMIN, model=model, user=user.email, expires_at=soon)

    async def come_back(expires_at: datetime | None) -> tuple[str, datetime | None]:
        await subscriptions.change_subscription(pool, owner_of(user), row.id, "cancel")
        back = await subscriptions.create_subscription(pool, owner_of(user), model=model, expires_at=expires_at)
        return back.status, back.expires_at

    assert await come_back(None) == ("active", soon)
    assert await come_back(soon + timedelta(days=9)) == ("active", soon)
    sooner = soon - timedelta(minutes=1)
    assert await come_back(sooner) == ("active", sooner)
    await subscriptions.change_subscription(pool, owner_of(user), row.id, "cancel")
    await pool.execute("UPDATE subscriptions SET expires_at = now() - interval '1 second'")
    back = await subscriptions.create_subscription(pool, owner_of(user), model=model)
    # It had expired: an admin decides.
    assert (back.id, back.status, back.expires_at) == (row.id, "pending", None)


async def test_bulk_decisions_are_made_independently(pool: Pool, admin: httpx2.AsyncClient) -> None:
    user = await make_user(pool)
    rows = [await make_subscription(pool, user, await make_model(pool, f"r{n}", restricted=n < 2)) for n in range(3)]
    ids = [row.id for row in rows]
    path = "/api/v1/admin/subscriptions"

    answer = await admin.post(f"{path}/approve", json={"subscription_ids": [*ids, ids[0], 999]})

    body = answer.json()
    assert (answer.status_code, body["successful"], body["failed"]) == (200, 2, 2)
    reported = [(row["id"], row["status"], row["error"] and row["error"]["code"]) for row in body["rows"]]
    assert reported == [
        (ids[0], "active", None),
        (ids[1], "active", None),
        (ids[2], "active", "conflict"),
        (999, None, "not_found"),
    ]
    assert body["rows"][2]["error"]["details"]["allowed"] == ["suspend", "cancel"]
    assert (await admin.post(f"{path}/deny", json={"subscription_ids": ids})).status_code == 422
    for actor in (READER, owner_of(user)):
        with pytest.raises(GatewayError) as caught:
            await decide_subscriptions(pool, actor, ids, "approve")
        assert caught.value.code == "forbidden"
