"""Personal access tokens: authentication, rights and lifetime."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx2
import pytest
from admin_client import check_error
from conftest import Database
from factories import ADMIN, PEPPERS, make_token, make_user, owner_of

from admin_api.operations.actors import Actor
from admin_api.operations.people import personal_tokens, users
from gateway.domain.errors import GatewayError
from gateway.domain.keys import PERSONAL_PREFIX, is_well_formed, new_key
from gateway.storage.postgres import Pool

OWN = "/api/v1/users/me/tokens"


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


async def test_a_personal_token_is_a_login_and_is_shown_once(admin: httpx2.AsyncClient, pool: Pool) -> None:
    ann = await make_user(pool, role="admin")

    made = (await admin.post(f"/api/v1/users/{ann.email}/tokens", json={"name": "ci"})).json()
    listed = await admin.get(OWN, headers=bearer(made["token"]))
    team = await admin.post("/api/v1/teams", json={"name": "red"}, headers=bearer(made["token"]))

    assert is_well_formed(made["token"], PERSONAL_PREFIX)
    assert team.status_code == 201
    assert [row["name"] for row in listed.json()["rows"]] == ["ci"]
    assert listed.json()["rows"][0]["last_used_at"] is not None
    assert made["token"] not in listed.text
    assert await pool.fetchval("SELECT actor FROM audit_logs WHERE action = 'team.create'") == ann.email
    assert await pool.fetchval("SELECT count(*) FROM audit_logs WHERE new::text LIKE '%' || $1 || '%'", "lmp-") == 0


async def test_a_busy_token_takes_one_query_per_call_and_one_update_per_minute(database: Database, pool: Pool) -> None:
    made = await make_token(pool, await make_user(pool))
    asked: list[str] = []

    async def watch(connection: Any) -> None:
        connection.add_query_logger(lambda record: asked.append(record.query))

    async def use(watched: Pool) -> tuple[int, datetime]:
        asked.clear()
        await personal_tokens.log_in_by_token(watched, PEPPERS, made.secret, request_id=None, ip=None)
        return len(asked), await pool.fetchval("SELECT last_used_at FROM personal_tokens WHERE id = $1", made.row.id)

    async with asyncpg.create_pool(database.app_url, min_size=0, max_size=1, init=watch, reset=keep) as watched:
        # The first call also prepares the statement.
        first, second, third = [await use(watched) for _ in range(3)]
        await pool.execute("UPDATE personal_tokens SET last_used_at = now() - interval '61 s'")
        later = await use(watched)

    assert [number for number, _ in (second, third, later)] == [1, 1, 2]
    assert first[1] == second[1] == third[1] < later[1]


async def keep(_: object) -> None:
    """Like the admin API's own pool: no query when a connection is returned."""


async def test_the_error_for_an_invalid_token_has_the_reason(admin: httpx2.AsyncClient, pool: Pool) -> None:
    ann = await make_user(pool)
    revoked, expired, typo = [await make_token(pool, ann) for _ in range(3)]
    await personal_tokens.revoke_token(pool, owner_of(ann), revoked.row.id)
    await pool.execute("UPDATE personal_tokens SET expires_at = now() WHERE id = $1", expired.row.id)
    said = {
        revoked.secret: "revoked",
        expired.secret: "expired",
        typo.secret[:-1]: "complete",
        new_key(PERSONAL_PREFIX): "Unknown",
        "lmp-": "Unknown",
    }

    for secret, word in said.items():
        answer = await admin.get(OWN, headers=bearer(secret))
        check_error(answer, 401, "not_authenticated")
        assert word in answer.json()["error"]["message"]
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_the_token_of_a_deactivated_user_is_refused_at_the_next_call(
    admin: httpx2.AsyncClient, pool: Pool
) -> None:
    ann = await make_user(pool)
    token = await make_token(pool, ann)

    before = await admin.get(OWN, headers=bearer(token.secret))
    await users.update_user(pool, ADMIN, ann.email, status="deactivated")
    after = await admin.get(OWN, headers=bearer(token.secret))

    assert before.status_code == 200
    check_error(after, 401, "not_authenticated")


# (role of the user, role of the token, effective role)
BOUNDS: list[tuple[str, str, str | None]] = [
    ("admin", "admin", "admin"),
    ("admin", "admin-readonly", "admin-readonly"),
    ("admin", "user", "user"),
    ("admin-readonly", "admin", "admin-readonly"),
    ("admin-readonly", "admin-readonly", "admin-readonly"),
    ("admin-readonly", "user", None),
    ("user", "admin", "user"),
    ("user", "admin-readonly", None),
    ("user", "user", "user"),
]


@pytest.mark.parametrize(("users_role", "tokens_role", "left"), BOUNDS)
async def test_a_token_never_exceeds_the_current_role_of_its_user(
    pool: Pool, users_role: str, tokens_role: str, left: str | None
) -> None:
    ann = await make_user(pool, role="admin")
    await make_user(pool, role="admin")
    token = await make_token(pool, ann, role=tokens_role)
    await users.update_user(pool, ADMIN, ann.email, role=users_role)

    login = personal_tokens.log_in_by_token(pool, PEPPERS, token.secret, request_id=None, ip=None)
    (done,) = await asyncio.gather(login, return_exceptions=True)

    assert getattr(done, "role", None) == left
    assert left or getattr(done, "code", None) == "not_authenticated"


@pytest.mark.parametrize(("users_role", "tokens_role", "left"), BOUNDS)
async def test_a_token_above_the_role_of_its_user_is_not_created(
    pool: Pool, users_role: str, tokens_role: str, left: str | None
) -> None:
    ann = await make_user(pool, role=users_role)

    (made,) = await asyncio.gather(make_token(pool, ann, role=tokens_role), return_exceptions=True)

    if left == tokens_role:
        assert isinstance(made, personal_tokens.NewToken)
        assert made.row.role == tokens_role
    else:
        assert getattr(made, "code", None) == "forbidden"


async def test_a_token_cannot_create_one_with_more_rights_or_a_longer_life(pool: Pool) -> None:
    ann = await make_user(pool, role="admin")
    until = datetime.now(UTC) + timedelta(hours=1)
    with_token = Actor(name=ann.email, role="user", user_id=ann.id, until=until)

    made = await personal_tokens.create_token(pool, with_token, PEPPERS, role="user")
    with pytest.raises(GatewayError) as more:
        await personal_tokens.create_token(pool, with_token, PEPPERS, role="admin")

    assert made.row.expires_at == until
    assert more.value.code == "forbidden"


async def test_the_lifetime_of_a_token_is_bounded(pool: Pool) -> None:
    ann = owner_of(await make_user(pool))
    now = datetime.now(UTC)

    made = await personal_tokens.create_token(pool, ann, PEPPERS)
    for wrong in (now - timedelta(seconds=1), now + timedelta(days=367)):
        with pytest.raises(GatewayError) as caught:
            await personal_tokens.create_token(pool, ann, PEPPERS, expires_at=wrong)
        assert caught.value.code == "validation_failed"

    assert timedelta(days=89) < made.row.expires_at - now < timedelta(days=91)


async def test_the_maximum_number_of_tokens_holds_under_concurrent_creation(pool: Pool) -> None:
    ann = owner_of(await make_user(pool))

    done = await asyncio.gather(
        *(personal_tokens.create_token(pool, ann, PEPPERS) for _ in range(60)), return_exceptions=True
    )

    assert sum(isinstance(one, personal_tokens.NewToken) for one in done) == personal_tokens.MAX_ACTIVE
    assert {one.code for one in done if isinstance(one, GatewayError)} == {"conflict"}


async def test_tokens_of_other_users_can_be_neither_seen_nor_revoked(admin: httpx2.AsyncClient, pool: Pool) -> None:
    ann, bob = await make_user(pool), await make_user(pool)
    anns, bobs = await make_token(pool, ann), await make_token(pool, bob)

    by_id = await admin.delete(f"{OWN}/{anns.row.id}", headers=bearer(bobs.secret))
    by_name = await admin.delete(f"/api/v1/users/{ann.email}/tokens/{anns.row.id}", headers=bearer(bobs.secret))
    listed = await admin.get(f"/api/v1/users/{ann.email}/tokens", headers=bearer(bobs.secret))
    made = await admin.post(f"/api/v1/users/{ann.email}/tokens", headers=bearer(bobs.secret), json={})

    check_error(by_id, 404, "not_found")
    for answer in (by_name, listed, made):
        check_error(answer, 403, "forbidden")
    assert (await admin.get(OWN, headers=bearer(anns.secret))).status_code == 200


async def test_a_read_only_admin_cannot_create_a_token(admin: httpx2.AsyncClient, pool: Pool) -> None:
    reader = await make_user(pool, role="admin-readonly")
    token = await make_token(pool, reader)

    listed = await admin.get(f"/api/v1/users/{reader.email}/tokens", headers=bearer(token.secret))
    made = await admin.post(OWN, headers=bearer(token.secret), json={})
    revoked = await admin.delete(f"{OWN}/{token.row.id}", headers=bearer(token.secret))

    assert len(listed.json()["rows"]) == 1
    check_error(made, 403, "forbidden")
    check_error(revoked, 403, "forbidden")


async def test_revoking_a_token_is_permanent_and_audited_once(admin: httpx2.AsyncClient, pool: Pool) -> None:
    ann = await make_user(pool)
    token, other = await make_token(pool, ann), await make_token(pool, ann)

    answers = [await admin.delete(f"{OWN}/{token.row.id}", headers=bearer(other.secret)) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert await pool.fetchval("SELECT count(*) FROM audit_logs WHERE action = 'personal_token.revoke'") == 1
