"""A POST repeated with the same Idempotency-Key creates nothing twice."""

import asyncio
from urllib.parse import urlsplit

import httpx2
import pytest
from admin_client import LOGIN, check_error, settings_for
from conftest import Database
from factories import make_token, make_user

from admin_api.main import create_app
from gateway.storage.postgres import Pool

TEAMS = "/api/v1/teams"


async def test_a_repeated_request_gets_the_same_response_and_runs_once(admin: httpx2.AsyncClient, pool: Pool) -> None:
    key = {"idempotency-key": "first"}

    made = await admin.post(TEAMS, json={"name": "red"}, headers=key)
    again = await admin.post(TEAMS, json={"name": "red"}, headers=key)
    without = await admin.post(TEAMS, json={"name": "red"})

    assert (made.status_code, again.status_code) == (201, 201)
    assert again.json() == made.json()
    assert (made.headers.get("idempotent-replayed"), again.headers["idempotent-replayed"]) == (None, "true")
    assert made.headers["x-request-id"] != again.headers["x-request-id"]
    check_error(without, 409, "conflict")
    assert await pool.fetchval("SELECT count(*) FROM accounts WHERE kind = 'team'") == 1


async def test_of_concurrent_requests_one_runs(admin: httpx2.AsyncClient, pool: Pool) -> None:
    user = await make_user(pool)
    path = f"/api/v1/users/{user.id}/tokens"

    async def ask() -> httpx2.Response:
        return await admin.post(path, json={"name": "ci"}, headers={"idempotency-key": "one"})

    answers = await asyncio.gather(*(ask() for _ in range(20)))
    later = await ask()

    made = {answer.text for answer in answers if answer.status_code == 201}
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert made == {later.text}
    assert await pool.fetchval("SELECT count(*) FROM personal_tokens") == 1


async def test_an_idempotency_key_is_for_one_request_of_one_caller(admin: httpx2.AsyncClient, pool: Pool) -> None:
    key = {"idempotency-key": "k"}
    boss = await make_user(pool, role="admin")
    other = {"authorization": f"Bearer {(await make_token(pool, boss)).secret}"}

    await admin.post(TEAMS, json={"name": "red"}, headers=key)
    body = await admin.post(TEAMS, json={"name": "blue"}, headers=key)
    path = await admin.post("/api/v1/users", json={"name": "red"}, headers=key)
    caller = await admin.post(TEAMS, json={"name": "green"}, headers=key | other)

    check_error(body, 422, "idempotency_key_reused")
    check_error(path, 422, "idempotency_key_reused")
    assert caller.status_code == 201


async def test_a_request_that_changed_nothing_may_be_repeated(admin: httpx2.AsyncClient, pool: Pool) -> None:
    key = {"idempotency-key": "k"}
    asked = {"user": "late@example.org", "role": "member"}
    await admin.post(TEAMS, json={"name": "red"})

    before = await admin.post(f"{TEAMS}/red/members", json=asked, headers=key)
    wrong = await admin.post(TEAMS, json={}, headers={"idempotency-key": "other"})
    await make_user(pool, "late@example.org")
    after = await admin.post(f"{TEAMS}/red/members", json=asked, headers=key)

    assert (before.status_code, wrong.status_code, after.status_code) == (404, 422, 201)
    assert await pool.fetchval("SELECT count(*) FROM idempotency_keys") == 1


async def test_while_the_first_request_is_running_or_lost_nothing_is_created(
    admin: httpx2.AsyncClient, pool: Pool
) -> None:
    key = {"idempotency-key": "k"}
    await admin.post(TEAMS, json={"name": "red"}, headers=key)
    # The state a killed process leaves.
    await pool.execute("UPDATE idempotency_keys SET status = NULL, answer = NULL")

    at_work = await admin.post(TEAMS, json={"name": "red"}, headers=key)
    await pool.execute("UPDATE idempotency_keys SET created_at = created_at - interval '2 minutes'")
    lost = await admin.post(TEAMS, json={"name": "red"}, headers=key)

    check_error(at_work, 409, "conflict")
    assert at_work.headers["retry-after"] == "1"
    check_error(lost, 409, "conflict")
    assert "is unknown" in lost.json()["error"]["message"]


async def test_an_idempotency_key_expires_after_a_day(admin: httpx2.AsyncClient, pool: Pool) -> None:
    key = {"idempotency-key": "k"}
    await admin.post(TEAMS, json={"name": "red"}, headers=key)
    await pool.execute("UPDATE idempotency_keys SET created_at = created_at - interval '25 hours'")

    assert (await admin.post(TEAMS, json={"name": "blue"}, headers=key)).status_code == 201


async def test_a_stored_response_does_not_contain_a_readable_secret(admin: httpx2.AsyncClient, pool: Pool) -> None:
    user = await make_user(pool)
    key = {"idempotency-key": "k"}

    made = await admin.post(f"/api/v1/users/{user.id}/tokens", json={}, headers=key)
    again = await admin.post(f"/api/v1/users/{user.id}/tokens", json={}, headers=key)
    kept: bytes = await pool.fetchval("SELECT answer FROM idempotency_keys")

    assert again.json()["token"] == made.json()["token"]
    assert made.json()["token"].encode() not in kept
    assert b"token" not in kept


@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb"])
async def test_an_invalid_idempotency_key_is_refused(admin: httpx2.AsyncClient, key: str) -> None:
    check_error(
        await admin.post(TEAMS, json={"name": "red"}, headers={"idempotency-key": key}), 422, "validation_failed"
    )


class LosesCommits:
    """A proxy of Postgres: the first COMMIT after a statement with these words is executed, and the connection
    breaks before the reply."""

    def __init__(self, port: int, words: bytes) -> None:
        self._port, self._words = port, words
        self.lost = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
        answers = asyncio.create_task(self._hand_back(from_server, writer))
        has_come = False
        while data := await reader.read(65536):
            has_come = has_come or self._words in data
            if has_come and not self.lost and b"COMMIT" in data:
                self.lost += 1
                answers.cancel()
                await asyncio.wait((answers,))
                to_server.write(data)
                # It was executed once the server replies.
                await from_server.read(1)
                writer.close()
                break
            to_server.write(data)
        to_server.close()

    async def _hand_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()


async def test_a_request_with_an_unknown_outcome_is_not_repeated(database: Database, pool: Pool) -> None:
    user, there = await make_user(pool), urlsplit(database.app_url)
    asked = {"json": {"name": "ci"}, "headers": LOGIN | {"idempotency-key": "k"}}
    between = LosesCommits(there.port or 5432, b"INSERT INTO personal_tokens")
    async with await asyncio.start_server(between, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = there._replace(netloc=f"{there.username}:{there.password}@127.0.0.1:{port}").geturl()
        app = create_app(settings_for(url))
        transport = httpx2.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="http://admin") as admin,
        ):
            lost = await admin.post(f"/api/v1/users/{user.id}/tokens", **asked)
            again = await admin.post(f"/api/v1/users/{user.id}/tokens", **asked)

    assert between.lost == 1
    check_error(lost, 503, "database_unavailable")
    check_error(again, 409, "conflict")
    assert await pool.fetchval("SELECT count(*) FROM personal_tokens") == 1
