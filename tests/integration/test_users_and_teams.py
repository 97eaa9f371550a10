"""Users with their accounts, teams with their members."""

import asyncio
from typing import Any

import httpx2
import pytest
from admin_client import check_error
from factories import ADMIN, PEPPERS, READER, make_model, make_team, make_token, make_user, owner_of

from admin_api.operations import subscriptions
from admin_api.operations.keys import keys
from admin_api.operations.people import teams, users
from admin_api.storage import accounts
from gateway.domain.errors import GatewayError
from gateway.storage.postgres import Pool


async def test_a_new_user_has_a_personal_account_in_their_time_zone(pool: Pool) -> None:
    user = await users.create_user(pool, ADMIN, email="Ann@Example.org", time_zone="Europe/Madrid")

    async with pool.acquire() as connection:
        account = await accounts.find_account(connection, user.account_id)
    assert account is not None
    assert (account.kind, account.owner_user_id, account.time_zone) == ("personal", user.id, "Europe/Madrid")
    assert user.email == "ann@example.org"


async def test_a_user_is_created_with_the_given_language(admin: httpx2.AsyncClient, pool: Pool) -> None:
    made = await admin.post("/api/v1/users", json={"email": "ana@x.org", "locale": "es"})
    other = await admin.post("/api/v1/users", json={"email": "bea@x.org"})
    refused = await admin.post("/api/v1/users", json={"email": "cleo@x.org", "locale": "xx"})

    assert (made.json()["locale"], other.json()["locale"], refused.status_code) == ("es", None, 422)
    assert await pool.fetch("SELECT email, locale FROM users ORDER BY id") == [("ana@x.org", "es"), ("bea@x.org", None)]


async def test_an_email_address_is_unique_case_insensitively(pool: Pool) -> None:
    made = await asyncio.gather(
        *(users.create_user(pool, ADMIN, email=email) for email in ["ann@x.org", "ANN@x.org", "Ann@X.org"]),
        return_exceptions=True,
    )

    assert sorted(getattr(one, "code", "made") for one in made) == ["conflict", "conflict", "made"]
    assert await pool.fetchval("SELECT count(*) FROM accounts") == 1


@pytest.mark.parametrize("time_zone", ["Mars/Olympus", "localtime", ""])
async def test_a_team_needs_an_existing_time_zone(pool: Pool, time_zone: str) -> None:
    with pytest.raises(GatewayError) as caught:
        await teams.create_team(pool, ADMIN, name="red", time_zone=time_zone)

    assert caught.value.code == "validation_failed"


async def test_a_team_name_is_unique_case_insensitively(pool: Pool) -> None:
    await teams.create_team(pool, ADMIN, name="Red")

    with pytest.raises(GatewayError) as caught:
        await teams.create_team(pool, ADMIN, name="rED")

    assert caught.value.code == "conflict"


async def test_a_read_only_admin_cannot_change_users_or_teams(pool: Pool) -> None:
    user = await make_user(pool)

    for attempt in (
        users.create_user(pool, READER, email="b@x.org"),
        users.update_user(pool, READER, user.email, role="admin"),
        teams.create_team(pool, READER, name="red"),
        users.update_user(pool, owner_of(user), user.email, role="admin"),
    ):
        with pytest.raises(GatewayError) as caught:
            await attempt
        assert caught.value.code == "forbidden"

    assert [row.email for row in (await users.list_users(pool, READER)).rows] == [user.email]


async def test_the_last_active_admin_stays_admin(pool: Pool) -> None:
    admin = await make_user(pool, role="admin")

    for change in ({"role": "user"}, {"status": "deactivated"}):
        with pytest.raises(GatewayError) as caught:
            await users.update_user(pool, ADMIN, admin.email, **change)
        assert caught.value.code == "conflict"


async def test_of_two_admins_who_remove_each_other_concurrently_one_stays(pool: Pool) -> None:
    for _ in range(100):
        pair = [await make_user(pool, role="admin") for _ in range(2)]
        done = await asyncio.gather(
            *(users.update_user(pool, ADMIN, admin.email, role="user") for admin in pair), return_exceptions=True
        )

        assert sorted(getattr(one, "code", "done") for one in done) == ["conflict", "done"]
        assert await pool.fetchval("SELECT count(*) FROM users WHERE role = 'admin'") == 1
        await pool.execute("UPDATE users SET role = 'user'")


async def test_a_user_is_found_by_id_and_email_address(pool: Pool) -> None:
    user = await make_user(pool, "ann@x.org")

    assert await users.find_user(pool, READER, str(user.id)) == user
    assert await users.find_user(pool, READER, "ANN@x.org") == user


@pytest.mark.parametrize("reference", ["nobody@x.org", "999", "99999999999999999999", "", "a\x00b", "0", "-1"])
async def test_an_unknown_user_is_not_found(pool: Pool, reference: str) -> None:
    with pytest.raises(GatewayError) as caught:
        await users.find_user(pool, READER, reference)

    assert caught.value.code == "not_found"


async def test_a_paginated_list_has_every_user_once(pool: Pool) -> None:
    made = [await make_user(pool) for _ in range(7)]

    seen, cursor = [], None
    while True:
        page = await users.list_users(pool, READER, limit=3, cursor=cursor)
        seen += page.rows
        if (cursor := page.next_cursor) is None:
            break

    assert seen == made


@pytest.mark.parametrize("cursor", ["x", "-1", "9" * 30, ""])
async def test_a_cursor_of_another_list_is_refused(pool: Pool, cursor: str) -> None:
    with pytest.raises(GatewayError) as caught:
        await users.list_users(pool, READER, cursor=cursor)

    assert caught.value.code == "validation_failed"


async def test_a_removed_member_loses_their_keys_in_the_team_and_no_others(pool: Pool) -> None:
    model = await make_model(pool)
    ann, bob = await make_user(pool), await make_user(pool)
    team = await make_team(pool, ann, bob)
    await subscriptions.create_subscription(pool, ADMIN, model=model, team=team.name)
    await subscriptions.create_subscription(pool, ADMIN, model=model, user=ann.email)
    bodies = [
        keys.KeyInput(models=[model], user=ann.email, team=team.name),
        keys.KeyInput(models=[model], user=bob.email, team=team.name),
        keys.KeyInput(models=[model], user=ann.email),
        keys.KeyInput(models=[model], team=team.name),
    ]
    made = [(await keys.create_key(pool, ADMIN, PEPPERS, fields)).row.id for fields in bodies]

    revoked = await teams.remove_member(pool, ADMIN, team.name, user=ann.email)

    assert revoked == [made[0]]
    rows = (await keys.list_keys(pool, READER)).rows
    assert [row.id for row in rows if row.revoked_at] == [made[0]]


async def test_an_owner_of_the_team_may_add_members_and_a_member_may_not(pool: Pool) -> None:
    owner, member, new = [await make_user(pool) for _ in range(3)]
    team = await make_team(pool, member)
    await teams.add_member(pool, ADMIN, team.name, user=owner.email, role="owner")

    with pytest.raises(GatewayError) as caught:
        await teams.add_member(pool, owner_of(member), team.name, user=new.email)
    added = await teams.add_member(pool, owner_of(owner), team.name, user=new.email)

    assert caught.value.code == "forbidden"
    assert added.user_id == new.id


async def test_a_member_is_added_once_and_removed_once(pool: Pool) -> None:
    user = await make_user(pool)
    team = await make_team(pool, user)

    with pytest.raises(GatewayError) as again:
        await teams.add_member(pool, ADMIN, team.name, user=user.email)
    await teams.remove_member(pool, ADMIN, team.name, user=user.email)
    with pytest.raises(GatewayError) as gone:
        await teams.remove_member(pool, ADMIN, team.name, user=user.email)

    assert (again.value.code, gone.value.code) == ("conflict", "not_found")


async def test_users_are_found_by_part_of_name_or_email_address_role_and_status(pool: Pool) -> None:
    ann = await users.create_user(pool, ADMIN, email="ann@x.org", name="Ann Of 50%", role="admin")
    bob = await users.create_user(pool, ADMIN, email="bob@x.org", name="Bob_by")
    await users.update_user(pool, ADMIN, bob.email, status="deactivated")

    async def emails(**asked: Any) -> list[str]:
        return [user.email for user in (await users.list_users(pool, READER, **asked)).rows]

    assert await emails(search="AN") == [ann.email]
    assert await emails(search="50%") == [ann.email]
    assert await emails(search="_") == [bob.email]
    assert await emails(role="admin") == [ann.email]
    assert await emails(status="deactivated") == [bob.email]
    assert await emails(search="x.org", role="user", status="active") == []


async def test_a_user_can_change_only_their_name_and_language(admin: httpx2.AsyncClient, pool: Pool) -> None:
    user = await make_user(pool)
    login = {"authorization": f"Bearer {(await make_token(pool, user)).secret}"}

    changed = await admin.patch("/api/v1/users/me", json={"name": "Ann", "locale": "es"}, headers=login)
    refused = [
        await admin.patch("/api/v1/users/me", json=body, headers=login)
        for body in ({"role": "admin"}, {"status": "active"}, {"time_zone": "Asia/Tokyo"}, {"email": "b@x.org"})
    ]

    assert (changed.json()["name"], changed.json()["locale"]) == ("Ann", "es")
    assert [answer.status_code for answer in refused] == [422] * 4
    row = await pool.fetchrow("SELECT old::text, new::text FROM audit_logs WHERE action = 'user.update'")
    assert row is not None
    assert tuple(row) == ('{"name": "", "locale": null}', '{"name": "Ann", "locale": "es"}')


async def test_an_admin_changes_every_field_but_only_at_the_read_version(admin: httpx2.AsyncClient, pool: Pool) -> None:
    user = await make_user(pool)
    path = f"/api/v1/users/{user.email}"
    etag = (await admin.get(path)).headers["etag"]

    change = {"role": "admin-readonly", "name": "Bob", "locale": "fr", "time_zone": "Europe/Madrid"}
    first = await admin.patch(path, json=change, headers={"if-match": etag})
    second = await admin.patch(path, json={"name": "Carl"}, headers={"if-match": etag})
    third = await admin.patch(path, json={"name": "Dave"}, headers={"if-match": first.headers["etag"]})
    fourth = await admin.patch(path, json={"name": "Eve"})

    assert {name: first.json()[name] for name in change} == change
    check_error(second, 412, "precondition_failed")
    assert (third.json()["name"], fourth.json()["name"]) == ("Dave", "Eve")
