"""The roles that may call each route of the admin API, and valid parameters and bodies for each.

A new route needs an entry in MATRIX, one in BODIES if it takes a body, and one in `fill` for a new part of a path. The
resources are those of `World`: another user's, and a team's with its owner and its member.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from admin_client import SECRET_KEYS
from factories import (
    ADMIN,
    PEPPERS,
    READER,
    make_model,
    make_subscription,
    make_team,
    make_token,
    make_user,
    owner_of,
)

from admin_api.encryption import SecretKeys
from admin_api.operations import subscriptions
from admin_api.operations.keys import keys
from admin_api.operations.limits.limits import LimitInput, set_limit
from admin_api.operations.limits.parsing import AmountInput
from admin_api.operations.limits.requests import ask_for_more
from admin_api.operations.models.provider_keys import put_provider_key
from admin_api.operations.people import invitations, teams
from admin_api.operations.people.join_requests import ask_to_join
from admin_api.storage.users import User
from gateway.storage.postgres import Pool

# `nobody` has no login; `user` has nothing to do with what is asked for; `reader` is an admin-readonly.
CALLERS: Final = ("nobody", "user", "member", "owner", "reader", "admin")
ANYONE: Final = "nobody user member owner reader admin"
LOGGED_IN: Final = "user member owner reader admin"
# Own resources: all but admin-readonly, who cannot change anything.
ONESELF: Final = "user member owner admin"
READERS: Final = "reader admin"
ADMINS: Final = "admin"
# Resources of a team: who sees them, who manages them, and the member who owns them.
IN_TEAM: Final = "member owner reader admin"
OWNERS: Final = "owner admin"
HOLDERS: Final = "member owner admin"

MATRIX: Final[dict[str, str]] = {
    "GET /health/live": ANYONE,
    "GET /health/ready": ANYONE,
    # login: a callback that nobody began is refused, and there is no provider in this test
    "GET /api/auth/providers": ANYONE,
    "GET /api/auth/login": ANYONE,
    "GET /api/auth/callback": ANYONE,
    "GET /api/auth/sessions": LOGGED_IN,
    "POST /api/auth/logout": LOGGED_IN,
    "DELETE /api/auth/sessions": LOGGED_IN,
    "DELETE /api/auth/sessions/{session_id}": LOGGED_IN,
    # users
    "GET /api/v1/users": READERS,
    "POST /api/v1/users": ADMINS,
    "GET /api/v1/users/me": LOGGED_IN,
    "PATCH /api/v1/users/me": ONESELF,
    "GET /api/v1/users/{user}": READERS,
    "PATCH /api/v1/users/{user}": ADMINS,
    "GET /api/v1/users/me/emails": LOGGED_IN,
    "PATCH /api/v1/users/me/emails": ONESELF,
    "GET /api/v1/users/{user}/emails": READERS,
    "PATCH /api/v1/users/{user}/emails": ADMINS,
    "GET /api/v1/users/me/tokens": LOGGED_IN,
    "POST /api/v1/users/me/tokens": ONESELF,
    "DELETE /api/v1/users/me/tokens/{token_id}": ONESELF,
    "GET /api/v1/users/{user}/tokens": READERS,
    "POST /api/v1/users/{user}/tokens": ADMINS,
    "DELETE /api/v1/users/{user}/tokens/{token_id}": ADMINS,
    "GET /api/v1/users/{user}/identities": READERS,
    "DELETE /api/v1/users/{user}/identities/{identity_id}": ADMINS,
    "GET /api/v1/users/{user}/invitations": READERS,
    "GET /api/v1/users/{user}/sessions": READERS,
    "DELETE /api/v1/users/{user}/sessions": ADMINS,
    "DELETE /api/v1/users/{user}/sessions/{session_id}": ADMINS,
    "POST /api/v1/users/{user}/anonymise": ADMINS,
    "GET /api/v1/users/me/activity": LOGGED_IN,
    # teams
    "GET /api/v1/teams": LOGGED_IN,
    "POST /api/v1/teams": ADMINS,
    "GET /api/v1/teams/{team}": IN_TEAM,
    "PATCH /api/v1/teams/{team}": OWNERS,
    "GET /api/v1/teams/{team}/members": IN_TEAM,
    "POST /api/v1/teams/{team}/members": OWNERS,
    "GET /api/v1/teams/{team}/members/{user}": IN_TEAM,
    "PATCH /api/v1/teams/{team}/members/{user}": OWNERS,
    "DELETE /api/v1/teams/{team}/members/{user}": HOLDERS,
    # invitations: those of the team, and the member's own to others
    "GET /api/v1/teams/{team}/invitations": "owner reader admin",
    "POST /api/v1/teams/{team}/invitations": OWNERS,
    "DELETE /api/v1/teams/{team}/invitations/{invitation_id}": OWNERS,
    "GET /api/v1/users/me/invitations": LOGGED_IN,
    "POST /api/v1/users/me/invitations/{invitation_id}/accept": "member",
    "DELETE /api/v1/users/me/invitations/{invitation_id}": "member",
    # requests to join the team, of which the user made one
    "GET /api/v1/teams/{team}/join-requests": "owner reader admin",
    "POST /api/v1/teams/{team}/join-requests/{join_request_id}/{answer}": OWNERS,
    "GET /api/v1/users/me/join-requests": LOGGED_IN,
    "POST /api/v1/users/me/join-requests": ONESELF,
    "DELETE /api/v1/users/me/join-requests/{join_request_id}": "user",
    "GET /api/v1/admin/teams/tightest": READERS,
    # models and prices
    "GET /api/v1/models": LOGGED_IN,
    "GET /api/v1/model-choices": LOGGED_IN,
    "POST /api/v1/models/sync": ADMINS,
    "GET /api/v1/models/{name}": LOGGED_IN,
    "PATCH /api/v1/models/{name}": ADMINS,
    "POST /api/v1/admin/models/rename": ADMINS,
    "GET /api/v1/admin/models/syncs": READERS,
    "GET /api/v1/admin/health/litellm": READERS,
    "GET /api/v1/prices": READERS,
    "POST /api/v1/prices": ADMINS,
    "POST /api/v1/prices/preview": ADMINS,
    "POST /api/v1/prices/undo": ADMINS,
    # the ledger
    "GET /api/v1/admin/ledger/verify": READERS,
    "GET /api/v1/admin/ledger/seals": READERS,
    "GET /api/v1/admin/usage-store": READERS,
    "GET /api/v1/admin/usage-store/verify": READERS,
    "POST /api/v1/admin/ledger/calls/{request_id}/reprice": ADMINS,
    "POST /api/v1/admin/ledger/reprice/preview": ADMINS,
    "POST /api/v1/admin/ledger/reprice": ADMINS,
    # subscriptions
    "GET /api/v1/subscriptions": LOGGED_IN,
    "POST /api/v1/subscriptions": OWNERS,
    "GET /api/v1/subscriptions/{subscription_id}": IN_TEAM,
    "POST /api/v1/subscriptions/{subscription_id}/{move}": OWNERS,
    "POST /api/v1/admin/subscriptions/{decision}": ADMINS,
    # keys: this one is the member's, in the team
    "GET /api/v1/api-keys": LOGGED_IN,
    "GET /api/v1/api-keys/use-of-today": LOGGED_IN,
    "POST /api/v1/api-keys": "member admin",
    "GET /api/v1/api-keys/{key_id}": IN_TEAM,
    "PATCH /api/v1/api-keys/{key_id}": HOLDERS,
    "POST /api/v1/api-keys/{key_id}/rotate": "member admin",
    "POST /api/v1/api-keys/{key_id}/archive": HOLDERS,
    "POST /api/v1/api-keys/{key_id}/unarchive": HOLDERS,
    "DELETE /api/v1/api-keys/{key_id}": HOLDERS,
    # limits: this one is an admin's
    "GET /api/v1/limits": LOGGED_IN,
    "GET /api/v1/limits/state": IN_TEAM,
    "PUT /api/v1/limits": HOLDERS,
    "GET /api/v1/limits/{limit_id}": IN_TEAM,
    "DELETE /api/v1/limits/{limit_id}": ADMINS,
    "GET /api/v1/limits/explain": IN_TEAM,
    "POST /api/v1/admin/limits/preview": ADMINS,
    "POST /api/v1/admin/limits/apply": ADMINS,
    "POST /api/v1/admin/limits/{limit_id}/boost": ADMINS,
    # requests for more of a limit, of which the member made one
    "POST /api/v1/limits/{limit_id}/requests": "member owner",
    "GET /api/v1/limit-requests": LOGGED_IN,
    "DELETE /api/v1/limit-requests/{limit_request_id}": "member",
    "GET /api/v1/admin/limit-requests": READERS,
    "POST /api/v1/admin/limit-requests/{limit_request_id}/{decision}": ADMINS,
    "GET /api/v1/admin/settings": READERS,
    "PUT /api/v1/admin/settings": ADMINS,
    "GET /api/v1/display": LOGGED_IN,
    "GET /api/v1/admin/system": READERS,
    "GET /api/v1/admin/system/lookup": READERS,
    "GET /api/v1/admin/provider-keys": READERS,
    "GET /api/v1/admin/provider-keys/{provider_key}": READERS,
    "PUT /api/v1/admin/provider-keys/{provider_key}": ADMINS,
    "DELETE /api/v1/admin/provider-keys/{provider_key}": ADMINS,
    # notifications
    "GET /api/v1/alerts": LOGGED_IN,
    "POST /api/v1/alerts/{alert_id}/acknowledge": OWNERS,
    "GET /api/v1/admin/alerts": READERS,
    "GET /api/v1/webhooks": READERS,
    "POST /api/v1/webhooks": ADMINS,
    "GET /api/v1/webhooks/{webhook_id}": READERS,
    "PATCH /api/v1/webhooks/{webhook_id}": ADMINS,
    "POST /api/v1/webhooks/{webhook_id}/secret": ADMINS,
    "POST /api/v1/webhooks/{webhook_id}/test": ADMINS,
    "DELETE /api/v1/webhooks/{webhook_id}": ADMINS,
    "GET /api/v1/admin/deliveries": READERS,
    "POST /api/v1/admin/deliveries/{delivery_id}/retry": ADMINS,
    # audit and usage
    "GET /api/v1/admin/audit": READERS,
    "GET /api/v1/admin/audit/export": READERS,
    # one's own; what is another's is asked for by `user` and `team`
    "GET /api/v1/refusals": LOGGED_IN,
    "GET /api/v1/refusals/report/{by}": LOGGED_IN,
    "GET /api/v1/refusals/calls": LOGGED_IN,
    "GET /api/v1/refusals/{request_id}": LOGGED_IN,
    "GET /api/v1/usage": LOGGED_IN,
    "GET /api/v1/usage/calls/{request_id}": LOGGED_IN,
    "GET /api/v1/usage/summary": LOGGED_IN,
    "GET /api/v1/usage/series": LOGGED_IN,
    "GET /api/v1/usage/breakdown/{by}": LOGGED_IN,
    "GET /api/v1/usage/overview/{by}": LOGGED_IN,
    "GET /api/v1/usage/week": LOGGED_IN,
    "GET /api/v1/usage/percentiles": LOGGED_IN,
    "GET /api/v1/usage/export": LOGGED_IN,
    # Archiving withdraws the team's invitations.
    "POST /api/v1/teams/{team}/archive": ADMINS,
    "POST /api/v1/teams/{team}/unarchive": ADMINS,
}

# What is answered to who may, where it is neither a 2xx nor a 409: parts that are away in this test.
ANSWERS: Final[dict[str, set[int]]] = {
    "GET /api/auth/login": {404},
    "POST /api/v1/admin/ledger/calls/{request_id}/reprice": {404},
    # There is no ClickHouse.
    "GET /api/v1/admin/usage-store": {404},
    "GET /api/v1/admin/usage-store/verify": {404},
    "GET /api/auth/callback": {400},
    "DELETE /api/auth/sessions/{session_id}": {404},
    "DELETE /api/v1/users/{user}/sessions/{session_id}": {404},
    "POST /api/v1/models/sync": {502},
    "GET /api/v1/refusals/{request_id}": {404},
    "GET /api/v1/usage/calls/{request_id}": {404},
    "GET /api/v1/webhooks/{webhook_id}": {404},
    "PATCH /api/v1/webhooks/{webhook_id}": {404},
    "POST /api/v1/webhooks/{webhook_id}/secret": {404},
    "POST /api/v1/webhooks/{webhook_id}/test": {404},
    "DELETE /api/v1/webhooks/{webhook_id}": {404},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A team with an owner and a member, another user, an admin, a reader, and their resources."""

    logins: dict[str, dict[str, str]]
    people: dict[str, User]
    team: str
    model: str
    ids: dict[str, int]

    def fill(self, path: str, caller: str) -> str:
        """The path with the things of the member and their team; own ones where the path says `me`."""
        own_token = self.ids.get(f"token of {caller}", 0)
        where = "to accept" if path.endswith("/accept") else "to decline" if "/me/" in path else "to the team"
        parts: dict[str, Any] = {
            "user": self.people["member"].email,
            "team": self.team,
            "name": self.model,
            "token_id": own_token if "/me/" in path else self.ids["spare token"],
            "key_id": self.ids["key"],
            "subscription_id": self.ids["subscription"],
            "limit_id": self.ids["limit"],
            "limit_request_id": self.ids["limit request"],
            "join_request_id": self.ids["join request"],
            "answer": "accept",
            "move": "cancel",
            "request_id": UUID(int=1),
            "session_id": 1,
            "identity_id": self.ids["identity"],
            "invitation_id": self.ids[f"invitation {where}"],
            "by": "model",
            "decision": "approve",
            "alert_id": self.ids["alert"],
            "webhook_id": 1,
            "delivery_id": self.ids["delivery"],
            "provider_key": "OPENAI",
        }
        return path.format(**parts)

    def query(self, route: str) -> dict[str, Any]:
        """The required query parameters of a GET."""
        return {
            "GET /api/v1/limits/explain": {"key": self.ids["key"], "model": self.model},
            "GET /api/v1/limits/state": {"team": self.team},
            "GET /api/v1/prices": {"model": self.model},
            "GET /api/v1/admin/system/lookup": {"id": "an-id"},
        }.get(route, {})

    def body(self, route: str) -> dict[str, Any] | None:
        """A valid body; a 422 would hide the authorization."""
        member, user = self.people["member"].email, self.people["user"].email
        limit = {"level": "key", "id": self.ids["key"], "kind": "rpm", "amount": 3}
        period = {"model": self.model, "since": (datetime.now(UTC) - timedelta(days=1)).isoformat()}
        bulk = {"level": "key", "team": self.team, "kind": "rpm", "amount": 5}
        return {
            "POST /api/v1/users": {"email": "new@example.org"},
            "PATCH /api/v1/users/me": {"name": "Ann"},
            "PATCH /api/v1/users/{user}": {"name": "Bob"},
            "PATCH /api/v1/users/me/emails": {"emails": {"key.ending": False}},
            "PATCH /api/v1/users/{user}/emails": {"emails": {"key.ended": False}},
            "POST /api/v1/users/me/tokens": {"name": "new"},
            "POST /api/v1/users/{user}/tokens": {"name": "new"},
            "POST /api/v1/teams": {"name": "new team"},
            "POST /api/v1/teams/{team}/members": {"user": user},
            "POST /api/v1/teams/{team}/invitations": {"user": user},
            "PATCH /api/v1/models/{name}": {"hidden": True},
            "POST /api/v1/prices": {"model": self.model, "input_per_million_usd": "2"},
            "POST /api/v1/prices/preview": {"model": self.model, "input_per_million_usd": "3"},
            "POST /api/v1/prices/undo": {"model": self.model},
            "POST /api/v1/admin/ledger/calls/{request_id}/reprice": {"cost_usd": "1", "reason": "so"},
            "POST /api/v1/admin/ledger/reprice/preview": period,
            "POST /api/v1/admin/ledger/reprice": period | {"reason": "so"},
            "POST /api/v1/admin/models/rename": {"model": self.model, "to": "team/new"},
            "POST /api/v1/subscriptions": {"team": self.team, "model": self.model},
            "POST /api/v1/subscriptions/{subscription_id}/{move}": {"reason": "so"},
            "POST /api/v1/api-keys": {"team": self.team, "user": member, "models": [self.model]},
            "PUT /api/v1/limits": limit,
            "PATCH /api/v1/teams/{team}": {"name": self.team},
            "PATCH /api/v1/teams/{team}/members/{user}": {"role": "member"},
            "POST /api/v1/admin/subscriptions/{decision}": {"subscription_ids": [self.ids["subscription"]]},
            "PATCH /api/v1/api-keys/{key_id}": {"name": "new"},
            "POST /api/v1/admin/limits/preview": bulk,
            "POST /api/v1/admin/limits/apply": bulk | {"token": "0" * 64},
            "POST /api/v1/admin/limits/{limit_id}/boost": {
                "amount": 9,
                "expires_at": "2099-01-01T00:00:00Z",
                "reason": "so",
            },
            "POST /api/v1/limits/{limit_id}/requests": {"amount": 9, "reason": "so"},
            "POST /api/v1/users/me/join-requests": {"team": self.team},
            "PUT /api/v1/admin/settings": {"key_maximum_rpm": 100},
            "PUT /api/v1/admin/provider-keys/{provider_key}": {"provider": "openai", "value": "sk-another-0123456789"},
            "POST /api/v1/webhooks": {"url": "https://hooks.example.com", "events": ["subscription.active"]},
            "PATCH /api/v1/webhooks/{webhook_id}": {"enabled": False},
        }.get(route)


async def make_world(pool: Pool) -> World:
    """Creates the world by the product's own operations."""
    roles = {"user": "user", "member": "user", "owner": "user", "reader": "admin-readonly", "admin": "admin"}
    people = {name: await make_user(pool, f"{name}@example.org", role=role) for name, role in roles.items()}
    team = await make_team(pool, people["member"], name="red")
    await teams.add_member(pool, ADMIN, team.name, user=people["owner"].email, role="owner")
    model = await make_model(pool, "team/small")
    await make_subscription(pool, people["user"], model)
    subscription = await subscriptions.create_subscription(pool, ADMIN, model=model, team=team.name)
    fields = keys.KeyInput(models=[model], team=team.name, user=people["member"].email)
    key = await keys.create_key(pool, ADMIN, PEPPERS, fields)
    tokens = {name: await make_token(pool, person) for name, person in people.items()}
    on_key: dict[str, Any] = {"level": "key", "target": str(key.row.id), "model": None, "team": None}
    limit = (await set_limit(pool, ADMIN, LimitInput(kind="tpm", amount=5), **on_key)).limit
    ids = {"key": key.row.id, "subscription": subscription.id, "limit": limit.id}
    asked = {"amount": AmountInput(amount=7), "reason": "so"}
    ids["limit request"] = (await ask_for_more(pool, owner_of(people["member"]), limit.id, **asked)).request.id
    ids["join request"] = (await ask_to_join(pool, owner_of(people["user"]), team=team.name)).id
    encryption_keys = SecretKeys.parse(SECRET_KEYS)
    await put_provider_key(pool, ADMIN, encryption_keys, "OPENAI", provider="openai", value="sk-0123456789abcdef")
    ids["spare token"] = (await make_token(pool, people["member"])).row.id
    for word, person, to in (
        ("to the team", people["admin"], team.name),
        ("to accept", people["member"], (await make_team(pool)).name),
        ("to decline", people["member"], (await make_team(pool)).name),
    ):
        ids[f"invitation {word}"] = (await invitations.invite(pool, ADMIN, to, user=person.email)).id
    link = "INSERT INTO identities (issuer, subject, user_id) VALUES ('https://sso', 'm', $1) RETURNING id"
    ids["identity"] = await pool.fetchval(link, people["member"].id)
    insert = (
        "INSERT INTO alerts (account_id, level, scope, kind, window_kind, window_start, threshold, used, amount, "
        "about) VALUES ($1, 'team', 't', 'tokens', 'day', now(), 80, 8, 10, '{}') RETURNING id"
    )
    ids["alert"] = await pool.fetchval(insert, team.id)
    failed = (
        "INSERT INTO deliveries (channel, user_id, event, payload, gave_up_at) "
        "VALUES ('email', $1, 'limit.threshold_reached', '{}', now()) RETURNING id"
    )
    ids["delivery"] = await pool.fetchval(failed, people["owner"].id)
    for name, person in people.items():
        ids[f"token of {name}"] = (await make_token(pool, person)).row.id
    logins = {name: {"authorization": f"Bearer {token.secret}"} for name, token in tokens.items()} | {"nobody": {}}
    assert READER.role == people["reader"].role
    return World(logins=logins, people=people, team=team.name, model=model, ids=ids)
