"""A limit has the names of its targets, for those who may see them."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from factories import ADMIN, PEPPERS, make_model, make_subscription, make_team, make_user, owner_of
from test_owner_routes import login

from admin_api.operations import subscriptions
from admin_api.operations.keys import keys
from admin_api.operations.limits import explain, limits
from admin_api.operations.limits.limits import LimitInput
from admin_api.operations.limits.states import list_limit_states
from admin_api.operations.people import teams
from admin_api.schemas.limits import LimitWithStateView
from admin_api.storage.users import User
from gateway.storage.counters.scripts import Counters
from gateway.storage.postgres import Pool

NAMES = ("account_name", "user_email", "key_name", "key_last_four", "model")


@pytest.fixture
async def counters(redis_url: str) -> AsyncIterator[Counters]:
    async with explain.open_counters(redis_url) as opened:
        yield opened


def names_of(rows: list[dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """By level, of limits on requests a minute; of the subscription, of tokens."""
    kinds = {"subscription": "tokens"}
    return {
        row["level"]: tuple(row[name] for name in NAMES)
        for row in rows
        if row["kind"] == kinds.get(row["level"], "rpm")
    }


async def set_all(pool: Pool, owner: User, member: User) -> tuple[str, str]:
    """A team with a limit at each level, of a member and their key; the ends of their key and of the service key."""
    await make_team(pool, member, name="red")
    await teams.add_member(pool, ADMIN, "red", user=owner.email, role="owner")
    model = await make_model(pool, "acme/small")
    await subscriptions.create_subscription(pool, ADMIN, model=model, team="red")
    made = [
        await keys.create_key(pool, ADMIN, PEPPERS, keys.KeyInput(models=[model], team="red", **about))
        for about in ({"user": member.email, "name": "app", "rpm": 5}, {"name": "robot", "tpm": 5})
    ]
    place: dict[str, Any] = {"model": None, "team": None}
    for level, target, more in (
        ("key_model", str(made[0].row.id), {"model": model}),
        ("user", member.email, {"team": "red"}),
        ("team", "red", {}),
    ):
        fields = LimitInput(kind="rpm", amount=7)
        await limits.set_limit(pool, ADMIN, fields, level=level, target=target, **(place | more))
    return made[0].row.last_four, made[1].row.last_four


async def test_a_limit_has_the_names_of_its_targets(admin: httpx2.AsyncClient, pool: Pool, counters: Counters) -> None:
    owner, member = await make_user(pool), await make_user(pool)
    own, service = await set_all(pool, owner, member)
    expected = {
        "key": ("red", member.email, "app", own, None),
        "key_model": ("red", member.email, "app", own, "acme/small"),
        "subscription": ("red", None, None, None, "acme/small"),
        "user": ("red", member.email, None, None, None),
        "team": ("red", None, None, None, None),
    }

    for who in (None, owner, member):
        headers = await login(pool, who) if who else {}
        listed = (await admin.get("/api/v1/limits", params={"team": "red"}, headers=headers)).json()["rows"]
        assert names_of(listed) == expected
        for row in listed:
            assert (await admin.get(f"/api/v1/limits/{row['id']}", headers=headers)).json() == row
        robots = [(row["key_name"], row["key_last_four"], row["user_email"]) for row in listed if row["kind"] == "tpm"]
        # A member does not see other keys of the team.
        assert robots == ([] if who is member else [("robot", service, None)])
    states = await list_limit_states(pool, counters, owner_of(member), team="red")
    assert names_of([LimitWithStateView.with_state(one).model_dump() for one in states.rows]) == expected


async def test_setting_a_limit_returns_its_names(admin: httpx2.AsyncClient, pool: Pool) -> None:
    user = await make_user(pool)
    row = await make_subscription(pool, user, await make_model(pool))
    fields = {"level": "subscription", "id": row.id, "kind": "rpm", "amount": 3}

    answer = await admin.put("/api/v1/limits", json=fields)
    page = (await admin.get("/api/v1/limits", params={"level": "subscription", "id": row.id, "limit": 2})).json()
    rest = (
        await admin.get("/api/v1/limits", params={"level": "subscription", "id": row.id, "cursor": page["next_cursor"]})
    ).json()

    assert (answer.json()["account_name"], answer.json()["model"]) == (user.email, "small")
    assert [one["kind"] for one in page["rows"] + rest["rows"]] == ["requests", "tokens", "rpm"]
    assert answer.headers["etag"] == (await admin.get(f"/api/v1/limits/{answer.json()['id']}")).headers["etag"]
