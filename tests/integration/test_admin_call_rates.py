"""The call rate of the admin API over replicas, and the security headers of its responses."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from admin_client import LOGIN, check_error, settings_for
from conftest import Database
from factories import make_token, make_user

from admin_api import metrics
from admin_api.main import create_app
from admin_api.storage.call_rates import CALL_RATE, CallRates
from gateway.storage.postgres import Pool
from gateway.storage.redis.urls import connect

ME = "/api/v1/users/me"


@asynccontextmanager
async def replicas(database: Database, count: int = 1, **settings: Any) -> AsyncIterator[list[httpx2.AsyncClient]]:
    """Clients of several admin APIs on one Postgres and one Redis."""
    clients = []
    apps = [create_app(settings_for(database.app_url, **settings)) for _ in range(count)]
    for app in apps:
        transport = httpx2.ASGITransport(app=app)
        clients.append(httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:9"))
    async with apps[0].router.lifespan_context(apps[0]):
        if count == 1:
            yield clients
            return
        async with apps[1].router.lifespan_context(apps[1]):
            yield clients


@pytest.fixture
async def rates(redis_url: str) -> AsyncIterator[CallRates]:
    scripts = connect(redis_url, [CALL_RATE], timeout_s=2.0)
    await scripts.open()
    yield CallRates(scripts)
    await scripts.close()


async def test_a_call_rate_refills_evenly_and_a_refusal_takes_nothing(rates: CallRates) -> None:
    rates.clock_ms = 1_000_000
    burst = [await rates.take("ann", per_minute=6) for _ in range(8)]
    rates.clock_ms += 9_999
    early = await rates.take("ann", per_minute=6)
    rates.clock_ms += 1
    due = await rates.take("ann", per_minute=6)
    rates.clock_ms += 600_000
    later = [await rates.take("ann", per_minute=6) for _ in range(7)]

    assert [rate.is_taken for rate in burst] == [True] * 6 + [False] * 2
    assert [rate.left for rate in burst] == [5, 4, 3, 2, 1, 0, 0, 0]
    assert (burst[0].full_in_ms, burst[5].full_in_ms, burst[7].next_in_ms) == (10_000, 60_000, 10_000)
    assert (early.is_taken, early.next_in_ms, due.is_taken) == (False, 1, True)
    assert [rate.is_taken for rate in later] == [True] * 6 + [False]


async def test_a_user_has_one_call_rate_over_all_replicas_and_logins(
    database: Database, pool: Pool, redis_url: str
) -> None:
    ann, bob = await make_user(pool), await make_user(pool)
    tokens = [(await make_token(pool, ann)).secret for _ in range(2)]
    other = {"authorization": f"Bearer {(await make_token(pool, bob)).secret}"}
    async with replicas(database, 2, redis_url=redis_url, admin_calls_per_minute=20) as clients:
        answers = await asyncio.gather(
            *(clients[n % 2].get(ME, headers={"authorization": f"Bearer {tokens[n // 2 % 2]}"}) for n in range(40))
        )
        others = await clients[0].get(ME, headers=other)

    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(200), statuses.count(429)) == (20, 20)
    refused = next(answer for answer in answers if answer.status_code == 429)
    check_error(refused, 429, "rate_limit_exceeded")
    assert 1 <= int(refused.headers["retry-after"]) <= 3
    assert (refused.headers["x-ratelimit-limit"], refused.headers["x-ratelimit-remaining"]) == ("20", "0")
    assert (others.status_code, others.headers["x-ratelimit-remaining"]) == (200, "19")


async def test_an_anonymous_caller_is_counted_by_an_unforgeable_address(database: Database, redis_url: str) -> None:
    settings = {"redis_url": redis_url, "admin_calls_per_minute": 3}
    async with replicas(database, **settings) as (client,):
        forged = [await client.get(ME, headers={"x-forwarded-for": f"192.0.2.{n}"}) for n in range(5)]
        login = await client.get("/api/auth/providers")
    async with replicas(database, **settings, trusted_proxies="127.0.0.1") as (client,):
        reported = [await client.get(ME, headers={"x-forwarded-for": f"192.0.2.{n}"}) for n in range(5)]
        unreadable = [await client.get(ME, headers={"x-forwarded-for": f"unknown{n}"}) for n in range(2)]

    assert [answer.status_code for answer in forged] == [401] * 3 + [429] * 2
    assert login.status_code == 429
    assert [answer.status_code for answer in reported] == [401] * 5
    # Counted with the proxy's own address, whose calls were used up above.
    assert [answer.status_code for answer in unreadable] == [429] * 2


async def test_without_redis_no_admin_call_is_refused(database: Database) -> None:
    async with replicas(database, redis_url="redis://127.0.0.1:1", admin_calls_per_minute=1) as (client,):
        answers = [await client.get("/api/v1/users", headers=LOGIN) for _ in range(3)]

    scraped = metrics.scrape().decode()
    assert [answer.status_code for answer in answers] == [200] * 3
    assert re.search(r"^litemaas_admin_rate_limit_unavailable_total [1-9]", scraped, re.MULTILINE)
    assert 'litemaas_admin_requests_total{method="GET",route="/api/v1/users",status="200"}' in scraped


async def test_every_response_has_security_headers(admin: httpx2.AsyncClient) -> None:
    paths = ["/api/v1/users", "/nothing", "/health/live", "/docs", "/openapi.json"]

    answers = [await admin.get(path) for path in paths]
    answers.append(await admin.post("/api/v1/users", content=b" " * 2_000_000))

    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert "strict-transport-security" in answer.headers
        assert len(answer.headers.get_list("content-security-policy")) == 1
    assert answers[0].headers["cache-control"] == "no-store"


async def test_the_api_documentation_page_loads_nothing_from_other_hosts(admin: httpx2.AsyncClient) -> None:
    page = (await admin.get("/docs")).text

    assets = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert assets == ["/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js", "/docs/start.js"]
    for path in assets:
        asset = await admin.get(path)
        assert (asset.status_code, len(asset.content) > 100) == (200, True)
    assert "http://" not in page + (await admin.get("/docs/start.js")).text
    check_error(await admin.get("/docs/..%2f__init__.py"), 404, "not_found")


async def test_only_configured_origins_may_read_responses(database: Database, admin: httpx2.AsyncClient) -> None:
    origins = ["https://portal.example", "https://evil.example", "null"]
    asked = {"access-control-request-method": "PATCH", "access-control-request-headers": "x-litemaas-csrf"}
    async with replicas(database, cors_origins="https://portal.example") as (client,):
        allowed = [
            (await client.get("/api/v1/users", headers={"origin": origin})).headers.get("access-control-allow-origin")
            for origin in origins
        ]
        preflights = [(await client.options(ME, headers={"origin": origin} | asked)).status_code for origin in origins]
    none = await admin.options(ME, headers={"origin": "https://portal.example"} | asked)

    assert allowed == ["https://portal.example", None, None]
    assert preflights == [200, 400, 400]
    assert "access-control-allow-origin" not in none.headers
