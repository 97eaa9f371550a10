"""Every request of the admin API: login, request ids, the error shape, health."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from time import process_time
from uuid import UUID

import asyncpg
import httpx2
import pytest
from admin_client import LOGIN, NOWHERE, ROUTES, TOKEN, check_error, settings_for
from conftest import Database, Superuser
from factories import make_user
from fastapi import FastAPI

from admin_api.main import create_app
from gateway.storage.postgres import Pool

WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
    "AND application_name = 'litemaas-admin'"
)
# Routes without a login; the role matrix has each of them.
OPEN = ("/health", "/docs", "/api/auth/providers", "/api/auth/login", "/api/auth/callback")


@pytest.mark.parametrize("login", [None, "Bearer wrong", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer", "Bearer é"])
async def test_every_route_refuses_a_request_without_a_valid_login(login: str | None) -> None:
    headers = {} if login is None else {"authorization": login.encode()}
    # Only the login is checked, so no database is needed.
    app = create_app(settings_for(NOWHERE))
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://admin") as admin,
    ):
        answers = [
            await admin.request(method, re.sub(r"{\w+:int}", "1", path), headers=headers)
            for method, path in ROUTES
            if not path.startswith(OPEN)
        ]

    assert len(answers) > 20
    for answer in answers:
        check_error(answer, 401, "not_authenticated")
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_every_response_has_a_request_id(admin: httpx2.AsyncClient) -> None:
    asked = {"x-request-id": "chosen-by-the-caller"}

    answers = [await admin.get(path, headers=asked) for path in ("/api/v1/users", "/nothing", "/health/live", "/docs")]

    ids = [UUID(answer.headers["x-request-id"]) for answer in answers]
    assert [found.version for found in ids] == [7] * 4
    assert len(set(ids)) == 4


async def test_an_unknown_path_is_not_found(admin: httpx2.AsyncClient) -> None:
    check_error(await admin.get("/api/v1/nothing"), 404, "not_found")


async def test_a_wrong_method_gets_all_allowed_methods(admin: httpx2.AsyncClient) -> None:
    answer = await admin.delete("/api/v1/users")

    check_error(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, POST"


@pytest.mark.parametrize("path", ["/docs", "/docs/start.js", "/openapi.json", "/health/live"])
async def test_routes_outside_the_api_report_their_allowed_methods(admin: httpx2.AsyncClient, path: str) -> None:
    assert (await admin.delete(path)).headers["allow"] == "GET"


async def test_every_invalid_field_is_named(admin: httpx2.AsyncClient) -> None:
    answer = await admin.post("/api/v1/users", json={"role": "king", "surprise": 1})

    details = check_error(answer, 422, "validation_failed")
    assert {field["field"] for field in details["fields"]} == {"email", "role", "surprise"}


async def test_a_body_of_many_fields_takes_time_linear_in_its_size(admin: httpx2.AsyncClient) -> None:
    many = json.dumps({f"k{number}": 1 for number in range(60_000)})
    one = json.dumps({"name": "x" * (len(many) - 12)})
    spent: dict[str, list[float]] = {many: [], one: []}
    for _ in range(3):
        for path, method in (("/api/v1/users", "POST"), ("/api/v1/admin/settings", "PUT")):
            for content in (many, one):
                begun = process_time()
                answer = await admin.request(
                    method, path, content=content, headers={"content-type": "application/json"}
                )
                spent[content].append(process_time() - begun)
                fields = check_error(answer, 422, "validation_failed")["fields"]
                assert isinstance(fields, list)
                assert len(fields) <= 3

    # In CPU time, whatever else the machine does. It was 100 times as long.
    assert min(spent[many]) < 20 * min(spent[one])


async def test_validation_errors_of_operations_have_the_same_shape(admin: httpx2.AsyncClient) -> None:
    answer = await admin.post("/api/v1/users", json={"email": "ann@x.org", "time_zone": "Mars/Olympus"})

    details = check_error(answer, 422, "validation_failed")
    assert [field["field"] for field in details["fields"]] == ["time_zone"]


@pytest.mark.parametrize(
    "body", [b'{"email":', b"\xff\xfe", b'{"email": "\\ud800@x.org"}', b'{"\\ud800": 1}', b"[" * 9,
     b"[" * 100_000 + b"]" * 100_000, b'{"email": ' + b"9" * 5000 + b"}"]
)  # fmt: skip
async def test_a_malformed_body_is_a_client_error(admin: httpx2.AsyncClient, body: bytes) -> None:
    answer = await admin.post("/api/v1/users", content=body, headers={"content-type": "application/json"})

    code = answer.json()["error"]["code"]
    assert (answer.status_code, code) in ((400, "invalid_json"), (422, "validation_failed")), answer.text
    check_error(answer, answer.status_code, code)


@pytest.mark.parametrize("is_declared", [True, False])
async def test_a_body_that_is_too_large_is_refused(admin: httpx2.AsyncClient, is_declared: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 100_000

    content = b" " * 2_000_000 if is_declared else chunks()

    answer = await admin.post("/api/v1/users", content=content, headers={"content-type": "application/json"})

    check_error(answer, 413, "request_too_large")


async def test_without_postgres_the_admin_api_starts_and_responds_503() -> None:
    app = create_app(settings_for(NOWHERE))
    transport = httpx2.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://admin", headers=LOGIN) as admin,
    ):
        live = await admin.get("/health/live")
        ready = await admin.get("/health/ready")
        users = await admin.get("/api/v1/users")

    assert (live.status_code, ready.status_code, ready.json()["parts"]) == (200, 503, {"postgres": False})
    check_error(users, 503, users.json()["error"]["code"])
    assert "127.0.0.1" not in users.text


async def test_with_postgres_the_admin_api_is_ready(admin: httpx2.AsyncClient) -> None:
    assert (await admin.get("/health/ready")).json() == {"status": "ready", "parts": {"postgres": True}}


async def test_with_all_connections_busy_readiness_fails_in_time(database: Database, pool: Pool) -> None:
    user = await make_user(pool)
    app = create_app(settings_for(database.app_url, admin_pool_size=2))
    transport = httpx2.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://admin", headers=LOGIN) as admin,
    ):
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM users FOR UPDATE")
            path = f"/api/v1/users/{user.id}"
            waiting = [asyncio.create_task(admin.patch(path, json={"name": name})) for name in "abc"]
            async with asyncio.timeout(20):
                while await pool.fetchval(WAITING) < 2:
                    await asyncio.sleep(0.05)
                busy = await admin.get("/health/ready")
        done = await asyncio.gather(*waiting)
        after = await admin.get("/health/ready")

    assert (busy.status_code, busy.json()["parts"]) == (503, {"postgres": False})
    assert [answer.status_code for answer in done] == [200] * 3
    assert after.status_code == 200


async def test_waiting_for_a_connection_times_out(
    database: Database, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("admin_api.main.POOL_WAIT_S", 0.5)
    user = await make_user(pool)
    app = create_app(settings_for(database.app_url, admin_pool_size=2))
    transport = httpx2.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://admin", headers=LOGIN) as admin,
    ):
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM users FOR UPDATE")
            path = f"/api/v1/users/{user.id}"
            asked = [asyncio.create_task(admin.patch(path, json={"name": name})) for name in "abcde"]
            async with asyncio.timeout(20):
                while sum(one.done() for one in asked) < 3:
                    await asyncio.sleep(0.05)
        answers = await asyncio.gather(*asked)

    assert sorted(answer.status_code for answer in answers) == [200, 200, 503, 503, 503]
    for answer in answers:
        if answer.status_code == 503:
            check_error(answer, 503, "database_unavailable")
            assert answer.headers["retry-after"] == "5"


async def test_a_read_only_postgres_serves_reads_and_refuses_changes_with_503(database: Database, pool: Pool) -> None:
    owner = await asyncpg.connect(database.owner_url)
    # As one that lost its part as the primary to another.
    await owner.execute(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
    await owner.close()
    app = create_app(settings_for(database.app_url))
    transport = httpx2.ASGITransport(app=app)
    key = {"idempotency-key": "k"}
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://admin", headers=LOGIN) as admin,
    ):
        read = await admin.get("/api/v1/users")
        changes = [await admin.post("/api/v1/teams", json={"name": "red"}, headers=more) for more in ({}, key)]

    assert read.status_code == 200
    for answer in changes:
        check_error(answer, 503, "database_unavailable")


@pytest.mark.parametrize(
    ("change", "restore"),
    [
        ("ALTER DATABASE {} ALLOW_CONNECTIONS false", "ALTER DATABASE {} ALLOW_CONNECTIONS true"),
        ("REVOKE CONNECT ON DATABASE {} FROM PUBLIC", "GRANT CONNECT ON DATABASE {} TO PUBLIC"),
    ],
    ids=["no connections", "none of this role"],
)
async def test_a_database_that_refuses_connections_is_a_503_until_it_takes_them(
    change: str, restore: str, database: Database, superuser: Superuser, admin_app: FastAPI, admin: httpx2.AsyncClient
) -> None:
    assert (await admin.get("/api/v1/users")).status_code == 200
    await superuser.execute(change.format(database.name))
    try:
        await admin_app.state.pool.expire_connections()
        refused = await admin.get("/api/v1/users")
    finally:
        await superuser.execute(restore.format(database.name))
    again = await admin.get("/api/v1/users")

    check_error(refused, 503, "database_unavailable")
    assert again.status_code == 200


async def test_a_programming_error_is_a_500_without_details(database: Database, admin: httpx2.AsyncClient) -> None:
    # A schema that the code does not expect, as after a faulty deployment.
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute("ALTER TABLE users RENAME COLUMN email TO secret_name")
    await owner.close()

    answer = await admin.get("/api/v1/users")

    check_error(answer, 500, "internal_error")
    assert "secret_name" not in answer.text
    assert "email" not in answer.text


async def test_the_openapi_document_has_every_route_and_one_error_shape(
    admin: httpx2.AsyncClient,
) -> None:
    description = (await admin.get("/openapi.json")).json()

    assert description["openapi"].startswith("3.1")
    described = {(method.upper(), path) for path, methods in description["paths"].items() for method in methods}
    assert described == {(method, re.sub(r":(path|int)", "", path)) for method, path in ROUTES}
    assert "HTTPValidationError" not in description["components"]["schemas"]


async def test_d20_a_byte_order_mark_is_skipped_and_utf_16_refused(admin: httpx2.AsyncClient) -> None:
    def body(encoding: str) -> bytes:
        return json.dumps({"email": "bom@example.org"}).encode(encoding)

    headers = {"content-type": "application/json"}
    refused = await admin.post("/api/v1/users", content=body("utf-16"), headers=headers)
    without_mark = await admin.post("/api/v1/users", content=body("utf-16-le"), headers=headers)
    made = await admin.post("/api/v1/users", content=body("utf-8-sig"), headers=headers)

    for answer in (refused, without_mark):
        check_error(answer, 400, "invalid_json")
        assert "UTF-8" in answer.json()["error"]["message"]
    assert made.status_code == 201


@pytest.mark.parametrize(("path", "status", "there"), [("/", 303, "/home"), ("/redoc", 307, "/docs")])
async def test_a21_where_people_look_first_leads_somewhere(
    admin: httpx2.AsyncClient, path: str, status: int, there: str
) -> None:
    answer = await admin.get(path)

    assert (answer.status_code, answer.headers["location"]) == (status, there)


async def test_a21_pages_that_the_document_links_are_served(admin: httpx2.AsyncClient) -> None:
    document = (await admin.get("/openapi.json")).json()
    texts = [document["info"]["description"], *(tag["description"] for tag in document["tags"])]
    linked = {path for text in texts for path in re.findall(r"\((/docs/[^)]+)\)", text)}

    assert {"/docs/prices.md", "/docs/logins.md"} <= linked
    for path in linked:
        page = await admin.get(path)
        assert (page.status_code, page.headers["content-type"]) == (200, "text/plain; charset=utf-8"), path
        assert page.text.startswith("# "), path
    for path in ("/docs/README.md", "/docs/..%2fREADME.md"):
        check_error(await admin.get(path), 404, "not_found")
