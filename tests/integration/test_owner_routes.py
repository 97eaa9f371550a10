"""The routes of subscriptions, keys, teams and limits for a user, a read-only admin and the owner of a team."""

import httpx2
from admin_client import check_error
from factories import make_model, make_team, make_token, make_user

from admin_api.storage.users import User
from gateway.storage.postgres import Pool


async def login(pool: Pool, user: User) -> dict[str, str]:
    return {"authorization": f"Bearer {(await make_token(pool, user)).secret}"}


async def test_a_user_subscribes_to_a_model_and_creates_a_key_without_help(
    admin: httpx2.AsyncClient, pool: Pool
) -> None:
    await make_model(pool)
    ann = await make_user(pool)
    me = {"headers": await login(pool, ann)}

    subscribed = await admin.post("/api/v1/subscriptions", json={"model": "small"}, **me)
    made = await admin.post("/api/v1/api-keys", json={"models": ["small"], "name": "app"}, **me)
    key = f"/api/v1/api-keys/{made.json()['id']}"
    renamed = await admin.patch(key, json={"name": "b", "expires_at": "2099-01-31T12:00:00Z"}, **me)
    forever = await admin.patch(key, json={"expires_at": None}, **me)
    limit = {"level": "key", "id": made.json()["id"], "kind": "rpm", "amount": 5}
    lowered = await admin.put("/api/v1/limits", json=limit, **me)
    rotated = await admin.post(f"{key}/rotate", json={"grace_s": 60}, **me)
    again = await admin.post(f"{key}/rotate", **me)
    revoked = await admin.delete(key, **me)
    archived = await admin.post(f"{key}/archive", **me)
    cancelled = await admin.post(f"/api/v1/subscriptions/{subscribed.json()['id']}/cancel", **me)

    done = [subscribed, made, renamed, forever, lowered, rotated, revoked, archived, cancelled]
    assert [answer.status_code for answer in done] == [201, 201, 200, 200, 200, 200, 200, 200, 200]
    check_error(again, 409, "conflict")
    assert (made.json()["account_id"], made.json()["user_id"]) == (ann.account_id, ann.id)
    assert renamed.json()["expires_at"] == "2099-01-31T12:00:00Z"
    assert forever.json()["expires_at"] is None
    assert lowered.json()["set_by"] == "owner"
    assert rotated.json()["key"] != made.json()["key"]
    assert rotated.json()["previous_last_four"] == made.json()["last_four"]
    actors = await pool.fetch("SELECT DISTINCT actor FROM audit_logs WHERE target_kind IN ('key', 'limit')")
    assert [row["actor"] for row in actors] == [ann.email]


async def test_routes_for_admins_refuse_users(admin: httpx2.AsyncClient, pool: Pool) -> None:
    await make_model(pool)
    ann = await make_user(pool)
    reader = {"headers": await login(pool, await make_user(pool, role="admin-readonly"))}
    me = {"headers": await login(pool, ann)}
    fields = {"level": "user", "kind": "rpm", "amount": 5}
    boost = {"amount": 5, "expires_at": "2099-01-31T12:00:00Z", "reason": "x"}
    for_admins = (
        ("POST", "/api/v1/admin/subscriptions/approve", {"subscription_ids": [1]}),
        ("PUT", "/api/v1/admin/settings", {"key_maximum_rpm": None}),
        ("POST", "/api/v1/admin/limits/preview", fields),
        ("POST", "/api/v1/admin/limits/apply", fields | {"token": "0" * 64}),
        ("POST", "/api/v1/admin/limits/1/boost", boost),
        ("POST", "/api/v1/teams", {"name": "red"}),
    )

    for method, path, body in for_admins:
        for who in (me, reader):
            check_error(await admin.request(method, path, json=body, **who), 403, "forbidden")

    check_error(await admin.get("/api/v1/admin/settings", **me), 403, "forbidden")
    assert (await admin.get("/api/v1/admin/settings", **reader)).status_code == 200
    for path, body in (("subscriptions", {"model": "small"}), ("api-keys", {"models": ["small"]})):
        check_error(await admin.post(f"/api/v1/{path}", json=body, **reader), 403, "forbidden")
    assert (await pool.fetchval("SELECT count(*) FROM audit_logs WHERE action LIKE 'subscription%'")) == 0


async def test_an_owner_manages_their_team(admin: httpx2.AsyncClient, pool: Pool) -> None:
    ann, bob = await make_user(pool), await make_user(pool)
    await make_team(pool, name="red")
    me = {"headers": await login(pool, ann)}
    await admin.post("/api/v1/teams/red/members", json={"user": ann.email, "role": "owner"})

    added = await admin.post("/api/v1/teams/red/members", json={"user": bob.email}, **me)
    stays = await admin.delete(f"/api/v1/teams/red/members/{ann.email}", **me)
    path, asked = "/api/v1/teams/red/invitations", {"user": bob.email, "role": "owner"}
    invited = await admin.post(path, json=asked, **me)
    accept = f"/api/v1/users/me/invitations/{invited.json()['id']}/accept"
    raised = await admin.post(accept, headers=await login(pool, bob))
    moved = await admin.patch("/api/v1/teams/red", json={"name": "blue"}, **me)
    left = await admin.delete(f"/api/v1/teams/blue/members/{ann.id}", **me)
    gone = await admin.get("/api/v1/teams/blue", **me)

    check_error(stays, 409, "conflict")
    check_error(gone, 404, "not_found")
    assert [answer.status_code for answer in (added, invited, raised, moved, left)] == [201, 201, 200, 200, 204]
    assert moved.json()["name"] == "blue"


async def test_a_user_cannot_find_out_who_has_an_account(admin: httpx2.AsyncClient, pool: Pool) -> None:
    """Filters of lists and removals from a team have the same answer whether the account exists or not."""
    ann, bob = await make_user(pool), await make_user(pool)
    await make_team(pool, name="red")
    await make_team(pool, name="blue")
    await admin.post("/api/v1/teams/red/members", json={"user": ann.email})
    me = {"headers": await login(pool, ann)}
    people, teams = [bob.email, str(bob.id), "nobody@x.org", "999999"], ["blue", "violet", "999999"]

    by_user = [await admin.get("/api/v1/limits", params={"level": "user", "id": one}, **me) for one in people]
    by_team = [await admin.get("/api/v1/limits", params={"level": "team", "id": one}, **me) for one in teams]
    removed = [await admin.delete(f"/api/v1/teams/red/members/{one}", **me) for one in people]
    of_admin = await admin.get("/api/v1/limits", params={"level": "user", "id": "nobody@x.org"})
    left = await admin.delete(f"/api/v1/teams/red/members/{ann.email.upper()}", **me)

    assert [answer.json() for answer in by_user + by_team] == [{"rows": [], "next_cursor": None}] * 7
    for answer in removed:
        check_error(answer, 403, "forbidden")
    assert len({answer.json()["error"]["message"] for answer in removed}) == 1
    check_error(of_admin, 404, "not_found")
    assert left.status_code == 204
