"""Every route that changes something leaves an audit row: all routes of the OpenAPI document."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import httpx2
import pytest
from admin_client import openapi_document
from factories import ADMIN, make_key, make_model, make_subscription, make_token, make_user
from loopback_servers import LiteLLMInfoServer
from usage_rows import TODAY, make_usage_row, write_rows

from admin_api.operations.people import users
from gateway.storage.postgres import Pool

CHANGING = {"post", "put", "patch", "delete"}
# (method, path) -> the reason why it leaves no row.
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("post", "/api/v1/admin/limits/preview"): "changes nothing",
    ("post", "/api/v1/admin/ledger/reprice/preview"): "changes nothing",
    ("post", "/api/v1/prices/preview"): "changes nothing",
    ("post", "/api/auth/logout"): "needs a browser's session: test_logins",
    ("delete", "/api/auth/sessions"): "needs a browser's session: test_logins",
    ("delete", "/api/auth/sessions/{session_id}"): "needs a browser's session: test_logins",
}
AUDIT = "/api/v1/admin/audit"
# Kinds of targets whose id is their name, and kinds that belong to nobody.
NAMED_BY_ID = ("settings", "provider_key", "models", "call")
OF_NO_ACCOUNT = (*NAMED_BY_ID, "model", "webhook")


class LimitBody(NamedTuple):
    """Values of the path, the body, and the token of who asks if it is not the admin's."""

    values: str
    body: dict[str, Any] | None
    login: str | None = None


Prepare = Callable[[Pool, httpx2.AsyncClient, LiteLLMInfoServer], Awaitable[LimitBody]]


async def new_user(pool: Pool, _: httpx2.AsyncClient, __: LiteLLMInfoServer) -> LimitBody:
    return LimitBody("", {"email": "new@example.org"})


async def change_user(pool: Pool, _: httpx2.AsyncClient, __: LiteLLMInfoServer) -> LimitBody:
    return LimitBody(str((await make_user(pool)).id), {"role": "admin-readonly"})


async def new_team(pool: Pool, _: httpx2.AsyncClient, __: LiteLLMInfoServer) -> LimitBody:
    return LimitBody("", {"name": "red"})


async def new_member(pool: Pool, admin: httpx2.AsyncClient, _: LiteLLMInfoServer) -> LimitBody:
    await admin.post("/api/v1/teams", json={"name": "red"})
    return LimitBody("red", {"user": (await make_user(pool)).email})


async def old_member(pool: Pool, admin: httpx2.AsyncClient, _: LiteLLMInfoServer) -> LimitBody:
    path, body, _login = await new_member(pool, admin, _)
    await admin.post(f"/api/v1/teams/{path}/members", json=body)
    assert body is not None
    return LimitBody(f"red {body['user']}", None)


async def new_invitation(pool: Pool, admin: httpx2.AsyncClient, _: LiteLLMInfoServer) -> LimitBody:
    await admin.post("/api/v1/teams", json={"name": "red"})
    return LimitBody("red", {"user": (await make_user(pool)).email, "role": "owner"})


async def old_invitation(pool: Pool, admin: httpx2.AsyncClient, _: LiteLLMInfoServer) -> LimitBody:
    team, body, _login = await new_invitation(pool, admin, _)
    made = (await admin.post(f"/api/v1/teams/{team}/invitations", json=body)).json()
    return LimitBody(f"{team} {made['id']}", None)


async def own_invitation(pool: Pool, admin: httpx2.AsyncClient, _: LiteLLMInfoServer) -> LimitBody:
    team, invitation = (await old_invitation(pool, admin, _)).values.split(" ")
    (row,) = (await admin.get(f"/api/v1/teams/{team}/invitations")).json()["rows"]
    person = await users.find_user(pool, ADMIN, row["email"])
    return LimitBody(invitation, None, (await make_token(pool, person)).secret)


async def sync(_: Pool, __: httpx2.AsyncClient, litellm: LiteLLMInfoServer) -> LimitBody:
    litellm.answer('{"data":[{"model_name":"a"}]}')
    return LimitBody("", None)


async def old_name(pool: Pool, _: httpx2.AsyncClient, __: LiteLLMInfoServer) -> LimitBody:
    old = await make_model(pool, "old")
    await pool.execute("UPDATE models SET listed = false WHERE name = $1", old)
    return LimitBody("", {"model": old, "to": await make_model(pool, "new")})


async def change_model(pool: Pool, _: httpx2.AsyncClient, __: LiteLLMInfoServer) -> LimitBody:
    return LimitBody(await make_model(pool, "team/small"), {"restricted": True})


async def new_price(pool: Pool, _: httpx2.AsyncClient, __: LiteLLMInfoServer) -> LimitBody:
    return LimitBody("", {"model": await make_model(pool), "input_per_million_usd": "3"})


async def old_price(pool: Pool, admin: httpx2.AsyncClient, _: LiteLLMInfoServer) -> LimitBody:
    model = await make_model(pool)
    (await admin.post("/api/v1/prices", json={"model": model, "input_per_million_usd": "3"})).raise_for_status()
    return LimitBody("", {"model": model})


async def charged_call(pool: Pool, _: httpx2.AsyncClient, __: LiteLLMInfoServer) -> LimitBody:
    user = await make_user(pool)
    row = make_usage_row(TODAY, account_id=user.account_id)
    await write_rows(pool, [row])
    return LimitBody(str(row.request_id), {"cost_usd": "1", "reason": "so"})


async def wrongly_charged_calls(pool: Pool, _: httpx2.AsyncClient, __: LiteLLMInfoServer) -> LimitBody:
    model = await make_model(pool)
    price_id = await pool.fetchval("SELECT max(id) FROM model_prices")
    await write_rows(pool, [make_usage_row(datetime.now(UTC), price_id=price_id, cost_nano_usd=None)])
    since = (TODAY - timedelta(days=1)).isoformat()
    return LimitBody("", {"model": model, "since": since, "reason": "so"})


async def new_subscription(pool: Pool, _: httpx2.AsyncClient, __: LiteLLMInfoServer) -> LimitBody:
    return LimitBody("", {"user": (await make_user(pool)).email, "model": await make_model(pool)})


async def suspend(pool: Pool, _: httpx2.AsyncClient, __: LiteLLMInfoServer) -> LimitBody:
    user, model = await make_user(pool), await make_model(pool)
    return LimitBody(f"{(await make_subscription(pool, user, model)).id} suspend", {"reason": "because"})


async def new_key(pool: Pool, _: httpx2.AsyncClient, __: LiteLLMInfoServer) -> LimitBody:
    user, model = await make_user(pool), await make_model(pool)
    await make_subscription(pool, user, model)
    return LimitBody("", {"user": user.email, "models": [model]})


async def old_key(pool: Pool, _: httpx2.AsyncClient, __: LiteLLMInfoServer) -> LimitBody:
    return LimitBody(str((await make_key(pool)).row.id), None)


async def new_limit(pool: Pool, _: httpx2.AsyncClient, __: LiteLLMInfoServer) -> LimitBody:
    key = (await make_key(pool)).row.id
    return LimitBody("", {"level": "key", "id": key, "kind": "requests", "window": "day", "amount": 7})


async def old_limit(pool: Pool, admin: httpx2.AsyncClient, _: LiteLLMInfoServer) -> LimitBody:
    _path, body, _login = await new_limit(pool, admin, _)
    return LimitBody(str((await admin.put("/api/v1/limits", json=body)).json()["id"]), None)


async def new_webhook(pool: Pool, _: httpx2.AsyncClient, __: LiteLLMInfoServer) -> LimitBody:
    return LimitBody("", {"url": "https://hooks.example.com", "events": ["subscription.active"]})


async def old_webhook(pool: Pool, admin: httpx2.AsyncClient, _: LiteLLMInfoServer) -> LimitBody:
    _path, body, _login = await new_webhook(pool, admin, _)
    return LimitBody(str((await admin.post("/api/v1/webhooks", json=body)).json()["id"]), None)


async def change_webhook(pool: Pool, admin: httpx2.AsyncClient, _: LiteLLMInfoServer) -> LimitBody:
    return LimitBody((await old_webhook(pool, admin, _))[0], {"enabled": False})


async def alert(pool: Pool, _: httpx2.AsyncClient, __: LiteLLMInfoServer) -> LimitBody:
    user = await make_user(pool)
    insert = (
        "INSERT INTO alerts (account_id, level, scope, kind, window_kind, window_start, threshold, used, amount, "
        "about) VALUES ($1, 'team', 't', 'tokens', 'day', now(), 80, 8, 10, '{}') RETURNING id"
    )
    return LimitBody(str(await pool.fetchval(insert, user.account_id)), None)


async def failed_delivery(pool: Pool, _: httpx2.AsyncClient, __: LiteLLMInfoServer) -> LimitBody:
    insert = (
        "INSERT INTO deliveries (channel, user_id, event, payload, gave_up_at) "
        "VALUES ('email', $1, 'subscription.denied', '{}', now()) RETURNING id"
    )
    return LimitBody(str(await pool.fetchval(insert, (await make_user(pool)).id)), None)


async def own_new_token(pool: Pool, _: httpx2.AsyncClient, __: LiteLLMInfoServer) -> LimitBody:
    user = await make_user(pool)
    return LimitBody("", {"name": "ci"}, (await make_token(pool, user)).secret)


async def own_old_token(pool: Pool, _: httpx2.AsyncClient, __: LiteLLMInfoServer) -> LimitBody:
    user = await make_user(pool)
    old = await make_token(pool, user)
    return LimitBody(str(old.row.id), None, (await make_token(pool, user)).secret)


async def new_token(pool: Pool, _: httpx2.AsyncClient, __: LiteLLMInfoServer) -> LimitBody:
    return LimitBody(str((await make_user(pool)).id), {"name": "ci"})


async def old_token(pool: Pool, _: httpx2.AsyncClient, __: LiteLLMInfoServer) -> LimitBody:
    user = await make_user(pool)
    return LimitBody(f"{user.id} {(await make_token(pool, user)).row.id}", None)


async def old_identity(pool: Pool, _: httpx2.AsyncClient, __: LiteLLMInfoServer) -> LimitBody:
    user = await make_user(pool)
    link = "INSERT INTO identities (issuer, subject, user_id) VALUES ('https://sso', 'ann', $1) RETURNING id"
    return LimitBody(f"{user.id} {await pool.fetchval(link, user.id)}", None)


async def person(pool: Pool, _: httpx2.AsyncClient, __: LiteLLMInfoServer) -> LimitBody:
    return LimitBody(str((await make_user(pool)).id), None)


async def open_session(pool: Pool, _: httpx2.AsyncClient, __: LiteLLMInfoServer) -> LimitBody:
    user = await make_user(pool)
    insert = (
        "INSERT INTO sessions (user_id, digest, provider, expires_at) "
        "VALUES ($1, sha256('a'), 'oidc', now() + interval '1 day') RETURNING id"
    )
    return LimitBody(f"{user.id} {await pool.fetchval(insert, user.id)}", None)


async def change_oneself(pool: Pool, _: httpx2.AsyncClient, __: LiteLLMInfoServer) -> LimitBody:
    return LimitBody("", {"name": "Ann"}, (await make_token(pool, await make_user(pool))).secret)


async def emails(pool: Pool, _: httpx2.AsyncClient, __: LiteLLMInfoServer) -> LimitBody:
    return LimitBody(str((await make_user(pool)).id), {"emails": {"key.ending": False}})


async def own_emails(pool: Pool, _: httpx2.AsyncClient, __: LiteLLMInfoServer) -> LimitBody:
    return LimitBody("", {"emails": {"key.ending": False}}, (await make_token(pool, await make_user(pool))).secret)


async def change_team(pool: Pool, admin: httpx2.AsyncClient, _: LiteLLMInfoServer) -> LimitBody:
    await admin.post("/api/v1/teams", json={"name": "red"})
    return LimitBody("red", {"time_zone": "Europe/Paris"})


async def archived_team(pool: Pool, admin: httpx2.AsyncClient, _: LiteLLMInfoServer) -> LimitBody:
    await change_team(pool, admin, _)
    await admin.post("/api/v1/teams/red/archive")
    return LimitBody("red", None)


async def change_member(pool: Pool, admin: httpx2.AsyncClient, _: LiteLLMInfoServer) -> LimitBody:
    return LimitBody((await old_member(pool, admin, _)).values, {"role": "owner"})


async def approve(pool: Pool, admin: httpx2.AsyncClient, _: LiteLLMInfoServer) -> LimitBody:
    user, model = await make_user(pool), await make_model(pool)
    await admin.patch(f"/api/v1/models/{model}", json={"restricted": True})
    login = {"authorization": f"Bearer {(await make_token(pool, user)).secret}"}
    asked = (await admin.post("/api/v1/subscriptions", json={"model": model}, headers=login)).json()
    assert asked["status"] == "pending"
    return LimitBody("approve", {"subscription_ids": [asked["id"]]})


async def change_key(pool: Pool, _: httpx2.AsyncClient, __: LiteLLMInfoServer) -> LimitBody:
    return LimitBody(str((await make_key(pool)).row.id), {"name": "new"})


async def archived_key(pool: Pool, admin: httpx2.AsyncClient, _: LiteLLMInfoServer) -> LimitBody:
    key = (await ended_key(pool, admin, _)).values
    await admin.post(f"/api/v1/api-keys/{key}/archive")
    return LimitBody(key, None)


async def ended_key(pool: Pool, admin: httpx2.AsyncClient, _: LiteLLMInfoServer) -> LimitBody:
    key = str((await make_key(pool)).row.id)
    await admin.delete(f"/api/v1/api-keys/{key}")
    return LimitBody(key, None)


async def many_limits(pool: Pool, admin: httpx2.AsyncClient, _: LiteLLMInfoServer) -> LimitBody:
    await make_key(pool)
    body = {"level": "key", "kind": "rpm", "amount": 5}
    seen = (await admin.post("/api/v1/admin/limits/preview", json=body)).json()
    return LimitBody("", body | {"token": seen["token"]})


async def boost(pool: Pool, admin: httpx2.AsyncClient, _: LiteLLMInfoServer) -> LimitBody:
    limit = (await old_limit(pool, admin, _)).values
    return LimitBody(limit, {"amount": 9, "expires_at": "2099-01-01T00:00:00Z", "reason": "so"})


async def settings(pool: Pool, _: httpx2.AsyncClient, __: LiteLLMInfoServer) -> LimitBody:
    return LimitBody("", {"key_maximum_rpm": 100})


async def new_provider_key(pool: Pool, _: httpx2.AsyncClient, __: LiteLLMInfoServer) -> LimitBody:
    return LimitBody("OPENAI", {"provider": "openai", "value": "sk-0123456789abcdef"})


async def old_provider_key(pool: Pool, admin: httpx2.AsyncClient, _: LiteLLMInfoServer) -> LimitBody:
    name, body, _login = await new_provider_key(pool, admin, _)
    await admin.put(f"/api/v1/admin/provider-keys/{name}", json=body)
    return LimitBody(name, None)


async def to_join(pool: Pool, admin: httpx2.AsyncClient, _: LiteLLMInfoServer) -> LimitBody:
    await admin.post("/api/v1/teams", json={"name": "red"})
    return LimitBody("", {"team": "red", "reason": "so"}, (await make_token(pool, await make_user(pool))).secret)


async def own_join_request(pool: Pool, admin: httpx2.AsyncClient, _: LiteLLMInfoServer) -> LimitBody:
    _path, body, login = await to_join(pool, admin, _)
    headers = {"authorization": f"Bearer {login}"}
    made = (await admin.post("/api/v1/users/me/join-requests", json=body, headers=headers)).json()
    return LimitBody(str(made["id"]), None, login)


async def join_request(pool: Pool, admin: httpx2.AsyncClient, _: LiteLLMInfoServer) -> LimitBody:
    return LimitBody(f"red {(await own_join_request(pool, admin, _)).values} accept", None)


async def for_more(pool: Pool, admin: httpx2.AsyncClient, _: LiteLLMInfoServer) -> LimitBody:
    user = await make_user(pool)
    body = {"level": "user", "id": user.id, "kind": "rpm", "amount": 5}
    limit = (await admin.put("/api/v1/limits", json=body)).json()
    return LimitBody(str(limit["id"]), {"amount": 9, "reason": "so"}, (await make_token(pool, user)).secret)


async def own_limit_request(pool: Pool, admin: httpx2.AsyncClient, _: LiteLLMInfoServer) -> LimitBody:
    limit, body, login = await for_more(pool, admin, _)
    headers = {"authorization": f"Bearer {login}"}
    made = (await admin.post(f"/api/v1/limits/{limit}/requests", json=body, headers=headers)).json()
    return LimitBody(str(made["id"]), None, login)


async def limit_request(pool: Pool, admin: httpx2.AsyncClient, _: LiteLLMInfoServer) -> LimitBody:
    return LimitBody(f"{(await own_limit_request(pool, admin, _)).values} approve", None)


# What makes each route succeed and change something: values of its path, and its body.
PREPARED: dict[tuple[str, str], Prepare] = {
    ("post", "/api/v1/users"): new_user,
    ("patch", "/api/v1/users/{user}"): change_user,
    ("patch", "/api/v1/users/me"): change_oneself,
    ("patch", "/api/v1/teams/{team}"): change_team,
    ("post", "/api/v1/teams/{team}/archive"): change_team,
    ("post", "/api/v1/teams/{team}/unarchive"): archived_team,
    ("patch", "/api/v1/teams/{team}/members/{user}"): change_member,
    ("post", "/api/v1/admin/subscriptions/{decision}"): approve,
    ("patch", "/api/v1/api-keys/{key_id}"): change_key,
    ("post", "/api/v1/api-keys/{key_id}/rotate"): old_key,
    ("post", "/api/v1/api-keys/{key_id}/archive"): ended_key,
    ("post", "/api/v1/api-keys/{key_id}/unarchive"): archived_key,
    ("post", "/api/v1/admin/limits/apply"): many_limits,
    ("post", "/api/v1/admin/limits/{limit_id}/boost"): boost,
    ("put", "/api/v1/admin/settings"): settings,
    ("put", "/api/v1/admin/provider-keys/{provider_key}"): new_provider_key,
    ("delete", "/api/v1/admin/provider-keys/{provider_key}"): old_provider_key,
    ("patch", "/api/v1/users/me/emails"): own_emails,
    ("patch", "/api/v1/users/{user}/emails"): emails,
    ("post", "/api/v1/users/me/tokens"): own_new_token,
    ("delete", "/api/v1/users/me/tokens/{token_id}"): own_old_token,
    ("post", "/api/v1/users/{user}/tokens"): new_token,
    ("delete", "/api/v1/users/{user}/tokens/{token_id}"): old_token,
    ("delete", "/api/v1/users/{user}/identities/{identity_id}"): old_identity,
    ("delete", "/api/v1/users/{user}/sessions"): open_session,
    ("delete", "/api/v1/users/{user}/sessions/{session_id}"): open_session,
    ("post", "/api/v1/users/{user}/anonymise"): person,
    ("post", "/api/v1/teams"): new_team,
    ("post", "/api/v1/teams/{team}/members"): new_member,
    ("delete", "/api/v1/teams/{team}/members/{user}"): old_member,
    ("post", "/api/v1/teams/{team}/invitations"): new_invitation,
    ("delete", "/api/v1/teams/{team}/invitations/{invitation_id}"): old_invitation,
    ("post", "/api/v1/users/me/invitations/{invitation_id}/accept"): own_invitation,
    ("delete", "/api/v1/users/me/invitations/{invitation_id}"): own_invitation,
    ("post", "/api/v1/users/me/join-requests"): to_join,
    ("delete", "/api/v1/users/me/join-requests/{join_request_id}"): own_join_request,
    ("post", "/api/v1/teams/{team}/join-requests/{join_request_id}/{answer}"): join_request,
    ("post", "/api/v1/limits/{limit_id}/requests"): for_more,
    ("delete", "/api/v1/limit-requests/{limit_request_id}"): own_limit_request,
    ("post", "/api/v1/admin/limit-requests/{limit_request_id}/{decision}"): limit_request,
    ("post", "/api/v1/models/sync"): sync,
    ("patch", "/api/v1/models/{name}"): change_model,
    ("post", "/api/v1/admin/models/rename"): old_name,
    ("post", "/api/v1/prices"): new_price,
    ("post", "/api/v1/prices/undo"): old_price,
    ("post", "/api/v1/admin/ledger/calls/{request_id}/reprice"): charged_call,
    ("post", "/api/v1/admin/ledger/reprice"): wrongly_charged_calls,
    ("post", "/api/v1/subscriptions"): new_subscription,
    ("post", "/api/v1/subscriptions/{subscription_id}/{move}"): suspend,
    ("post", "/api/v1/api-keys"): new_key,
    ("delete", "/api/v1/api-keys/{key_id}"): old_key,
    ("put", "/api/v1/limits"): new_limit,
    ("delete", "/api/v1/limits/{limit_id}"): old_limit,
    ("post", "/api/v1/webhooks"): new_webhook,
    ("patch", "/api/v1/webhooks/{webhook_id}"): change_webhook,
    ("post", "/api/v1/webhooks/{webhook_id}/secret"): old_webhook,
    ("post", "/api/v1/webhooks/{webhook_id}/test"): old_webhook,
    ("delete", "/api/v1/webhooks/{webhook_id}"): old_webhook,
    ("post", "/api/v1/alerts/{alert_id}/acknowledge"): alert,
    ("post", "/api/v1/admin/deliveries/{delivery_id}/retry"): failed_delivery,
}


def changing_routes() -> list[tuple[str, str]]:
    """Of the OpenAPI document."""
    paths = openapi_document()["paths"]
    return sorted((method, path) for path, methods in paths.items() for method in methods if method in CHANGING)


ROUTES = changing_routes()


def test_every_changing_route_is_tested_or_has_a_reason() -> None:
    assert set(ROUTES) == set(PREPARED) | set(EXCEPTIONS)


@pytest.mark.parametrize("route", sorted(PREPARED), ids=lambda route: " ".join(route))
async def test_a_change_leaves_an_audit_row_that_names_its_request(
    route: tuple[str, str], admin: httpx2.AsyncClient, pool: Pool, litellm_info_server: LiteLLMInfoServer
) -> None:
    method, path = route
    values, body, login = await PREPARED[route](pool, admin, litellm_info_server)
    parts = iter(values.split(" "))
    filled = "/".join(next(parts) if part.startswith("{") else part for part in path.split("/"))

    answer = await admin.request(
        method.upper(), filled, json=body, headers={"authorization": f"Bearer {login}"} if login else None
    )

    assert answer.is_success, answer.text
    rows = (await admin.get(AUDIT, params={"request_id": answer.headers["x-request-id"]})).json()["rows"]
    assert rows
    # A22: each says what it is about, whose it is, and why.
    for row in rows:
        assert row["cause"], row
        assert row["target_name"] or row["target_kind"] in NAMED_BY_ID, row
        assert row["account_name"] or row["target_kind"] in OF_NO_ACCOUNT, row
        about = (await admin.get(AUDIT, params={"about": f"{row['target_kind']}:{row['target_id']}"})).json()["rows"]
        assert row["id"] in [one["id"] for one in about]
