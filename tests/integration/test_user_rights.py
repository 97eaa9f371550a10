"""What users must not do or find out: keys and usage of others in a team, conflicting filters, impossible times."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx2
import pytest
from admin_client import check_error
from factories import ADMIN, make_model, make_subscription, make_team, make_user
from test_owner_routes import login
from usage_rows import make_usage_row, write_rows

from admin_api.operations import subscriptions
from admin_api.operations.limits import explain
from admin_api.operations.limits.states import list_limit_states
from admin_api.operations.people import teams
from admin_api.storage.users import User
from gateway.domain.errors import GatewayError
from gateway.storage.counters.scripts import Counters
from gateway.storage.postgres import Pool
from gateway.web.logs import encode_log

FAR = ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00"]

COUNTS = """
SELECT (SELECT count(*) FROM limits) AS limits, (SELECT count(*) FROM api_keys) AS keys,
       (SELECT count(*) FROM subscriptions) AS subscriptions
"""


@pytest.fixture
async def counters(redis_url: str) -> AsyncIterator[Counters]:
    async with explain.open_counters(redis_url) as opened:
        yield opened


async def make_red_team(pool: Pool) -> tuple[User, User]:
    """A team with a subscription; its owner and a member."""
    owner, member = await make_user(pool), await make_user(pool)
    await make_team(pool, member, name="red")
    await teams.add_member(pool, ADMIN, "red", user=owner.email, role="owner")
    await subscriptions.create_subscription(pool, ADMIN, model=await make_model(pool), team="red")
    return owner, member


async def test_a_members_key_is_not_shown_to_other_members(admin: httpx2.AsyncClient, pool: Pool) -> None:
    owner, member = await make_red_team(pool)
    as_member, as_owner = {"headers": await login(pool, member)}, {"headers": await login(pool, owner)}
    fields = {"models": ["small"], "team": "red"}
    of_member = (await admin.post("/api/v1/api-keys", json=fields | {"user": member.email}, **as_member)).json()
    service = (await admin.post("/api/v1/api-keys", json=fields, **as_owner)).json()
    path = f"/api/v1/api-keys/{of_member['id']}/rotate"

    for grace in ({"grace_s": 0}, {}):
        check_error(await admin.post(path, json=grace, **as_owner), 403, "forbidden")
    kept = await pool.fetchval("SELECT last_four FROM api_keys WHERE id = $1", of_member["id"])
    done = [
        await admin.post(path, **as_member),
        await admin.post(f"/api/v1/api-keys/{service['id']}/rotate", **as_owner),
        await admin.delete(f"/api/v1/api-keys/{of_member['id']}", **as_owner),
    ]

    assert kept == of_member["last_four"]
    assert [answer.status_code for answer in done] == [200, 200, 200]


async def test_a_member_cannot_find_out_who_has_an_account_by_creating_keys(
    admin: httpx2.AsyncClient, pool: Pool
) -> None:
    owner, member = await make_red_team(pool)
    stranger = await make_user(pool)
    me = {"headers": await login(pool, member)}
    fields = {"models": ["small"], "team": "red"}
    people = [owner.email, stranger.email, str(stranger.id), "nobody@x.org", "999999"]

    answers = [await admin.post("/api/v1/api-keys", json=fields | {"user": one}, **me) for one in people]

    for answer in answers:
        check_error(answer, 403, "forbidden")
    assert len({answer.json()["error"]["message"] for answer in answers}) == 1
    own = [
        await admin.post("/api/v1/api-keys", json=fields | {"user": m}, **me) for m in (member.email, str(member.id))
    ]
    assert [answer.status_code for answer in own] == [201, 201]


async def test_a_user_and_a_team_are_different_accounts(
    admin: httpx2.AsyncClient, pool: Pool, counters: Counters
) -> None:
    """An ignored filter would show more than was requested."""
    owner, member = await make_red_team(pool)
    me = {"headers": await login(pool, owner)}

    for user in (member.email, "nobody@x.org"):
        for path in ("subscriptions", "limits"):
            for who in ({}, me):
                answer = await admin.get(f"/api/v1/{path}", params={"user": user, "team": "red"}, **who)
                check_error(answer, 422, "validation_failed")
        with pytest.raises(GatewayError, match="not both"):
            await list_limit_states(pool, counters, ADMIN, user=user, team="red")
    both = {"model": "small", "user": owner.email, "team": "red"}
    check_error(await admin.post("/api/v1/subscriptions", json=both), 422, "validation_failed")


async def test_an_owner_filters_usage_by_a_members_key_with_every_filter(admin: httpx2.AsyncClient, pool: Pool) -> None:
    owner, member = await make_red_team(pool)
    as_member, as_owner = {"headers": await login(pool, member)}, {"headers": await login(pool, owner)}
    fields = {"models": ["small"], "team": "red"}
    of_member = (await admin.post("/api/v1/api-keys", json=fields | {"user": member.email}, **as_member)).json()["id"]
    service = (await admin.post("/api/v1/api-keys", json=fields, **as_owner)).json()["id"]

    async def ask(me: dict[str, Any], **only: Any) -> int:
        return (await admin.get("/api/v1/usage/summary", params={"team": "red"} | only, **me)).status_code

    assert [await ask(as_owner, key=of_member), await ask(as_owner, key=of_member, user=member.email)] == [200, 200]
    assert [await ask(as_owner, key=service, user=owner.email), await ask(as_owner, key=service)] == [200, 200]
    assert [await ask(as_member, key=of_member, user=member.email), await ask(as_member, key=service)] == [200, 404]
    assert await ask(as_member, key=service, user=member.email) == 404


@pytest.mark.parametrize("moment", FAR)
async def test_an_impossible_time_is_an_invalid_field(admin: httpx2.AsyncClient, pool: Pool, moment: str) -> None:
    ann = await make_user(pool)
    await make_subscription(pool, ann, await make_model(pool))
    await make_model(pool, "large")
    limit = {"level": "user", "id": str(ann.id), "kind": "rpm", "amount": 1}
    lasting = (await admin.put("/api/v1/limits", json=limit)).json()["id"]
    key = (await admin.post("/api/v1/api-keys", json={"models": ["small"], "user": ann.email})).json()["id"]
    rows = await pool.fetchrow(COUNTS)

    ends = {"expires_at": moment}
    fields = {"models": ["small"], "user": ann.email}
    boost = {"amount": 5, "reason": "x"}
    answers = [
        await admin.post("/api/v1/api-keys", json=fields | ends),
        await admin.patch(f"/api/v1/api-keys/{key}", json=ends),
        await admin.post("/api/v1/subscriptions", json={"model": "large", "user": ann.email} | ends),
        await admin.put("/api/v1/limits", json=limit | ends),
        await admin.post(f"/api/v1/admin/limits/{lasting}/boost", json=boost | ends),
        *[
            await admin.get(f"/api/v1/{path}", params={field: moment})
            for path in ("usage/summary", "usage/series", "usage/export", "admin/audit", "admin/audit/export")
            for field in ("since", "until")
        ],
    ]

    for answer in answers:
        check_error(answer, 422, "validation_failed")
    assert rows == await pool.fetchrow(COUNTS)


async def test_a_zone_scoped_ip_address_is_an_invalid_field(admin: httpx2.AsyncClient, pool: Pool) -> None:
    ann = await make_user(pool)
    await make_subscription(pool, ann, await make_model(pool))
    fields = {"models": ["small"], "user": ann.email}

    scoped = await admin.post("/api/v1/api-keys", json=fields | {"allowed_ips": ["fe80::1%eth0"]})
    mapped = await admin.post("/api/v1/api-keys", json=fields | {"allowed_ips": ["::ffff:10.0.0.0/104"]})

    assert check_error(scoped, 422, "validation_failed")["fields"] != []
    assert mapped.json()["allowed_ips"] == ["10.0.0.0/8"]


@pytest.mark.parametrize("target", ["\ud800", "a\0b", "x" * 300])
@pytest.mark.parametrize("level", ["user", "team", "key", "subscription"])
async def test_an_id_that_is_no_valid_text_is_an_invalid_field(
    admin: httpx2.AsyncClient, level: str, target: str
) -> None:
    body = json.dumps({"level": level, "id": target, "kind": "rpm", "amount": 5})

    answer = await admin.put("/api/v1/limits", content=body, headers={"content-type": "application/json"})

    check_error(answer, 422, "validation_failed")
    assert len(answer.content) < 1000


def test_an_unpaired_surrogate_is_logged_without_an_error() -> None:
    line = encode_log({"event": "unexpected_error", "text": "\ud800", "id": UUID(int=7)})

    assert json.loads(line) == {"event": "unexpected_error", "text": "\ud800", "id": str(UUID(int=7))}


async def test_changing_the_time_zone_gives_no_second_daily_budget(
    admin: httpx2.AsyncClient, pool: Pool, counters: Counters
) -> None:
    """A day's limit is spent an hour ago; where it has just been midnight, a day of its own has begun."""
    owner, member = await make_red_team(pool)
    as_member, as_owner = {"headers": await login(pool, member)}, {"headers": await login(pool, owner)}
    fields = {"models": ["small"], "team": "red", "user": member.email}
    key = (await admin.post("/api/v1/api-keys", json=fields, **as_member)).json()
    limit = {"level": "team", "id": "red", "kind": "requests", "window": "day", "amount": 1}
    await admin.put("/api/v1/limits", json=limit)
    now = datetime.now(UTC)
    noon, midnight = [f"Etc/GMT{(now.hour - hour + 11) % 24 - 11:+d}" for hour in (12, 0)]
    await admin.patch("/api/v1/teams/red", json={"time_zone": noon})
    about = {"account_id": key["account_id"], "user_id": member.id, "api_key_id": key["id"]}
    await write_rows(pool, [make_usage_row(now - timedelta(minutes=61), **about)])

    async def is_let_in() -> bool:
        reported = await explain.explain_limits(
            pool, counters, ADMIN, key_id=key["id"], call=explain.CallInput(model="small", tokens=0)
        )
        return reported.allowed

    assert not await is_let_in()
    for me in (as_owner, as_member):
        check_error(await admin.patch("/api/v1/teams/red", json={"time_zone": midnight}, **me), 403, "forbidden")
    assert not await is_let_in()
    moved = await admin.patch("/api/v1/teams/red", json={"time_zone": midnight})
    assert (moved.status_code, await is_let_in()) == (200, True)


async def test_an_owner_lists_the_keys_of_one_member(admin: httpx2.AsyncClient, pool: Pool) -> None:
    owner, member = await make_red_team(pool)
    as_member, as_owner = {"headers": await login(pool, member)}, {"headers": await login(pool, owner)}
    fields = {"models": ["small"], "team": "red"}
    of_member = (await admin.post("/api/v1/api-keys", json=fields | {"user": member.email}, **as_member)).json()["id"]
    await admin.post("/api/v1/api-keys", json=fields, **as_owner)
    await make_subscription(pool, member, "small")
    await admin.post("/api/v1/api-keys", json={"models": ["small"]}, **as_member)

    async def ask(me: dict[str, Any], **only: str) -> list[int] | int:
        answer = await admin.get("/api/v1/api-keys", params={"team": "red"} | only, **me)
        return [row["id"] for row in answer.json()["rows"]] if answer.is_success else answer.status_code

    for name in (member.email.upper(), str(member.id)):
        assert await ask(as_owner, user=name) == [of_member]
        assert await ask(as_member, user=name) == [of_member]
    # Neither sees the other's own keys, nor who has an account.
    stranger = await make_user(pool)
    assert (await admin.get("/api/v1/api-keys", params={"user": member.email}, **as_owner)).status_code == 404
    assert [await ask(as_owner, user=one) for one in (stranger.email, "nobody@x.org")] == [404, 404]
    assert [await ask(as_member, user=one) for one in (owner.email, "nobody@x.org")] == [404, 404]
