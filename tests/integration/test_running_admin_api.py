"""Two replicas of the admin API behind a load balancer, and requests generated from the OpenAPI document."""

import asyncio
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from admin_client import LOGIN, TOKEN
from admin_processes import RoundRobinTransport, start_admin_apis
from conftest import Database, create_database, drop_database
from factories import make_token, make_user
from identity_providers import ADMIN_URL, PLANTED_SECRET, FakeProvider, log_in
from loopback_servers import LiteLLMInfoServer

from deploy.embedded.postgres import APP, OWNER, Postgres
from deploy.embedded.processes import without_coverage
from deploy.embedded.programs import Program
from gateway.storage.postgres import Pool, new_pool

ME = "/api/v1/users/me"
CSRF = {"x-litemaas-csrf": "1"}
PER_MINUTE = 60
# Examples per route; `make try-openapi` sets more.
EXAMPLES = os.environ.get("LITEMAAS_TEST_EXAMPLES", "1")


@pytest.fixture(scope="module")
async def shared(postgres: Postgres, template: str) -> AsyncIterator[Database]:
    name = f"replicas_{secrets.token_hex(4)}"
    await create_database(postgres, name, template=template)
    yield Database(name, postgres.url(APP, name), postgres.url(OWNER, name))
    await drop_database(postgres, name)


@pytest.fixture(scope="module")
async def provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as server:
        yield server


@pytest.fixture(scope="module")
async def replicas(
    shared: Database, provider: FakeProvider, valkey: object, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[list[Program]]:
    programs = await start_admin_apis(
        tmp_path_factory.mktemp("replicas"),
        count=2,
        database_url=shared.app_url,
        redis_url=valkey.url(),  # type: ignore[attr-defined]  # its class is loaded by conftest only
        litellm_url="http://127.0.0.1:1",
        LITEMAAS_ADMIN_CALLS_PER_MINUTE=str(PER_MINUTE),
        LITEMAAS_ADMIN_URL=ADMIN_URL,
        LITEMAAS_OIDC_ISSUER=provider.url,
        LITEMAAS_OIDC_CLIENT_ID="litemaas",
        LITEMAAS_OIDC_CLIENT_SECRET=PLANTED_SECRET,
    )
    yield programs
    for program in programs:
        program.stop()


@pytest.fixture
async def pool_of_both(shared: Database) -> AsyncIterator[Pool]:
    async with new_pool(shared.app_url, size=3) as opened:
        yield opened


@pytest.fixture
async def browser(replicas: list[Program], redis_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(transport=RoundRobinTransport(replicas), base_url=ADMIN_URL) as opened:
        yield opened


async def test_a_login_begun_at_one_replica_completes_at_another(
    browser: httpx2.AsyncClient, replicas: list[Program]
) -> None:
    back = await log_in(browser)
    inside = [(await browser.get(ME)).status_code for _ in range(4)]
    elsewhere = httpx2.AsyncClient(transport=RoundRobinTransport(replicas), base_url=ADMIN_URL)
    await log_in(elsewhere)
    ended = await browser.request("DELETE", "/api/auth/sessions", headers=CSRF)
    outside = [(await client.get(ME)).status_code for client in (browser, elsewhere) for _ in range(2)]
    await elsewhere.aclose()

    assert back.status_code == 302
    assert inside == [200] * 4
    assert ended.json() == {"ended": 2}
    assert outside == [401] * 4


async def test_replicas_share_one_call_rate(browser: httpx2.AsyncClient, pool_of_both: Pool) -> None:
    login = {"authorization": f"Bearer {(await make_token(pool_of_both, await make_user(pool_of_both))).secret}"}

    answers = await asyncio.gather(*(browser.get(ME, headers=login) for _ in range(PER_MINUTE + 30)))

    statuses = [answer.status_code for answer in answers]
    # One call is refilled every second, and the machine may be slow.
    assert PER_MINUTE <= statuses.count(200) <= PER_MINUTE + 15
    assert statuses.count(200) + statuses.count(429) == len(statuses)


async def test_a_request_sent_to_both_replicas_runs_once(browser: httpx2.AsyncClient, pool_of_both: Pool) -> None:
    headers = LOGIN | {"idempotency-key": secrets.token_hex(8)}

    async def ask() -> httpx2.Response:
        return await browser.post("/api/v1/teams", json={"name": "of both"}, headers=headers)

    answers = await asyncio.gather(*(ask() for _ in range(20)))
    later = [await ask() for _ in range(2)]

    assert {answer.status_code for answer in answers} <= {201, 409}
    assert {answer.text for answer in answers if answer.status_code == 201} == {later[0].text}
    assert later[0].text == later[1].text
    assert await pool_of_both.fetchval("SELECT count(*) FROM accounts WHERE name = 'of both'") == 1


async def test_of_two_concurrent_changes_with_one_etag_one_wins(
    browser: httpx2.AsyncClient, pool_of_both: Pool
) -> None:
    token = await make_token(pool_of_both, await make_user(pool_of_both, role="admin"))
    team = (await browser.post("/api/v1/teams", json={"name": "raced"}, headers=LOGIN)).json()["id"]
    path, login = f"/api/v1/teams/{team}", {"authorization": f"Bearer {token.secret}"}
    outcomes = []
    for n in range(10):
        tagged = login | {"if-match": (await browser.get(path, headers=login)).headers["etag"]}
        names = [f"raced {n} {side}" for side in ("left", "right")]
        answers = await asyncio.gather(*(browser.patch(path, json={"name": name}, headers=tagged) for name in names))
        outcomes.append(sorted(answer.status_code for answer in answers))

    assert outcomes == [[200, 412]] * 10


# Many cases are tried, more slowly where coverage is measured.
@pytest.mark.timeout(400)
async def test_responses_match_the_openapi_document(
    shared: Database, redis_url: str, litellm_info_server: LiteLLMInfoServer, tmp_path: Path
) -> None:
    litellm_info_server.answer('{"data":[{"model_name":"team/small","model_info":{"input_cost_per_token":1e-6}}]}')
    (program,) = await start_admin_apis(
        tmp_path, count=1, database_url=shared.app_url, redis_url=redis_url, litellm_url=litellm_info_server.url
    )
    command = [Path(sys.executable).with_name("schemathesis"), "run", f"{program.url}/openapi.json"]
    command += ["--header", f"Authorization: Bearer {TOKEN}", "--phases", "coverage,fuzzing"]
    command += ["--max-examples", EXAMPLES, "--generation-database", "none", "--seed", "1", "--no-color"]
    # What is beyond any schema (a cursor of this list, a model that is there) may be refused with 422.
    command += ["--exclude-checks", "positive_data_acceptance"]
    try:
        env = without_coverage(os.environ)
        done = await asyncio.to_thread(subprocess.run, command, cwd=tmp_path, env=env, capture_output=True, text=True)
    finally:
        program.stop()

    cases = re.search(r"(\d+) generated", done.stdout)
    assert done.returncode == 0, done.stdout[-20_000:]
    assert cases is not None
    sys.stderr.write(f"{cases[1]} cases\n")
    assert int(cases[1]) > 500


async def test_d4_a_body_arrives_with_an_upgrade_that_is_ignored(replicas: list[Program]) -> None:
    body = json.dumps({"email": f"jdk-{secrets.token_hex(4)}@example.org"}).encode()
    fields = (
        "POST /api/v1/users HTTP/1.1",
        "Connection: Upgrade, HTTP2-Settings",
        f"Content-Length: {len(body)}",
        "Host: admin.example",
        "HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA",
        "Upgrade: h2c",
        f"Authorization: Bearer {TOKEN}",
        "Content-Type: application/json",
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", replicas[0].port)
    writer.write("\r\n".join([*fields, "", ""]).encode() + body)
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n"), 10)
    writer.close()
    await writer.wait_closed()

    assert answer == b"HTTP/1.1 201 Created\r\n"


async def test_d14_an_idle_connection_stays_open_as_long_as_the_setting_says(
    shared: Database, replicas: list[Program], valkey: object, tmp_path: Path
) -> None:
    (short,) = await start_admin_apis(
        tmp_path,
        count=1,
        database_url=shared.app_url,
        redis_url=valkey.url(),  # type: ignore[attr-defined]  # its class is loaded by conftest only
        litellm_url="http://127.0.0.1:1",
        LITEMAAS_KEEP_ALIVE_S="6",
    )
    request = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n"
    try:
        connections = [await asyncio.open_connection("127.0.0.1", program.port) for program in (replicas[0], short)]
        for reader, writer in connections:
            writer.write(request)
            await asyncio.wait_for(reader.readuntil(b"}"), 10)
        # The short one is closed, later than uvicorn's own 5 s would close the other.
        assert await asyncio.wait_for(connections[1][0].read(), 30) == b""
        reader, writer = connections[0]
        writer.write(request)
        assert await asyncio.wait_for(reader.readline(), 10) == b"HTTP/1.1 200 OK\r\n"
    finally:
        for _, writer in connections:
            writer.close()
        await asyncio.to_thread(short.stop)
