"""Outages of Postgres or Redis: what continues, what is refused, readiness, and recovery without intervention."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import asyncpg
import pytest
import redis.asyncio
from callers import Caller, Response, make_caller
from factories import make_model
from gateways import Backends, GatewayThread, Ledger, RedisState, StartGateway, UpstreamLog, scraped_metrics, wait_until

from admin_api.storage.migrate import migrate
from deploy.embedded.postgres import APP, OWNER, Postgres
from deploy.embedded.valkey import Valkey
from gateway.domain.keys import new_key
from gateway.reservation import Reservation
from gateway.storage.changes import Listening
from gateway.storage.counters.scripts import HASH_NAME
from gateway.storage.ledger import writer as ledger_writer
from gateway.storage.postgres import Pool, new_pool
from gateway.storage.redis.link import RedisUnavailable


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path / "valkey") as server:
        yield server


@pytest.fixture(scope="module")
async def postgres_server(memory_folder: Path) -> AsyncIterator[Postgres]:
    with Postgres(memory_folder / "outages", durable=False) as server:
        owner = await asyncpg.connect(server.url(OWNER))
        await migrate(owner, app_role=APP)
        await owner.close()
        async with new_pool(server.url(), size=1) as pool:
            await make_model(pool, "demo-chat")
        yield server


ALL: Final = {"postgres": True, "redis": True, "ledger": True, "journal": True, "litellm": True}


async def ready(caller: Caller) -> tuple[int, str, dict[str, Any]]:
    response = await caller.get("/health/ready")
    return response.status, response.json["status"], response.json["parts"]


async def is_ready(caller: Caller) -> bool:
    """With all parts."""
    return await ready(caller) == (200, "ready", ALL)


async def assert_lives(caller: Caller) -> None:
    assert (await caller.get("/health/live")).json == {"status": "alive"}


# --- Redis ---


async def test_without_redis_calls_are_refused_until_it_is_back(
    caller: Caller, redis_server: Valkey, start_gateway: StartGateway, upstream_log: UpstreamLog
) -> None:
    there = caller.at(start_gateway(redis_url=redis_server.url()).url)
    await caller.limit("requests", 3, window="day")
    assert (await there.chat()).status == 200
    assert await is_ready(there)

    redis_server.stop()
    before = await upstream_log.count()
    refused, limits, models = await there.chat(), await there.get("/v1/limits"), await there.get("/v1/models")

    for response in (refused, limits):
        assert (response.status, response.code) == (503, "limits_unavailable")
        assert int(response.headers["retry-after"]) >= 1
    assert models.status == 200
    assert await upstream_log.count() == before
    assert await ready(there) == (503, "not ready", ALL | {"redis": False})
    await assert_lives(there)

    await asyncio.to_thread(redis_server.start)
    await wait_until(lambda: is_ready(there), "Redis to be met again")
    # The usage before the outage is in the ledger, and so in the counters of the new server.
    assert [(await there.chat()).status for _ in range(3)] == [200, 200, 429]


async def test_new_counters_include_calls_that_have_just_ended(
    caller: Caller, redis_server: Valkey, start_gateway: StartGateway
) -> None:
    """Their rows are in transit, because rows are written every tenth of a second."""
    there = caller.at(start_gateway(redis_url=redis_server.url()).url)
    await caller.limit("requests", 8, window="day")
    for _ in range(4):
        assert [(await there.chat()).status for _ in range(2)] == [200, 200]
        async with redis.asyncio.from_url(redis_server.url()) as client:
            await RedisState(client).wait_until_settled(caller.account_id)
            await client.flushall()

    assert (await there.chat()).status == 429


async def test_without_redis_calls_pass_if_so_configured_and_are_counted_afterwards(
    caller: Caller, redis_server: Valkey, start_gateway: StartGateway, ledger: Ledger
) -> None:
    gateway = start_gateway(redis_url=redis_server.url(), when_limits_unavailable="allow")
    there = caller.at(gateway.url)
    await caller.limit("requests", 5, window="day")
    assert (await there.chat()).status == 200

    redis_server.stop()
    passed = [await there.chat() for _ in range(3)]
    assert await ready(there) == (200, "degraded", ALL | {"redis": False})

    assert [response.status for response in passed] == [200, 200, 200]
    assert "x-ratelimit-limit-requests" not in passed[0].headers
    rows = await ledger.rows(caller.account_id, 4)
    assert {row["ending"] for row in rows} == {"completed"}
    assert 'litemaas_limits_unavailable_total{outcome="allowed"}' in scraped_metrics()

    await asyncio.to_thread(redis_server.start)
    await wait_until(lambda: is_ready(there), "Redis to be met again")
    assert [(await there.chat()).status for _ in range(2)] == [200, 429]


@pytest.mark.parametrize(("is_taken_again", "is_hung"), [(True, False), (True, True), (False, False)])
async def test_a_call_admitted_without_redis_that_ends_after_its_return_is_counted(
    is_taken_again: bool, is_hung: bool, caller: Caller, redis_server: Valkey, start_gateway: StartGateway,
    ledger: Ledger,
) -> None:  # fmt: skip
    """Where Redis hung, it also runs the call's first reservation when it goes on."""
    gateway = start_gateway(redis_url=redis_server.url(), when_limits_unavailable="allow", redis_timeout_s=0.3)
    there, worker = caller.at(gateway.url), gateway.apps[0].worker
    await caller.limit("requests", 4, window="day")
    if is_taken_again:
        await caller.limit("concurrency", 1)
    else:
        worker.leases._take_again = no_answer
    assert (await there.chat()).status == 200

    await take_away(redis_server, is_hung)
    async with there.open_chat("[tokens=30] [rate=15]", stream=True) as answer:
        await answer.content.readuntil(b"\n\n")
        await bring_back(redis_server, is_hung)
        await wait_until(lambda: is_ready(there), "Redis to be met again")
        async with redis.asyncio.from_url(redis_server.url()) as client:
            state = RedisState(client)

            async def has_lease() -> bool:
                return bool(await state.open_leases(caller.account_id))

            if is_taken_again:
                await wait_until(has_lease, "the call under way to have a lease", timeout_s=3)
            # Counters are seeded while the call has no row.
            assert (await there.chat()).status == (429 if is_taken_again else 200)
            assert (await answer.read()).endswith(b"data: [DONE]\n\n")
            await ledger.rows(caller.account_id, 2 if is_taken_again else 3)
            await state.wait_until_settled(caller.account_id)

    async def is_metered() -> bool:
        return not len(worker.unmetered)

    await wait_until(is_metered, "the account's epoch to be raised")
    await gateway.wait_for_changes(caller.pool)
    assert [(await there.chat()).status for _ in range(3)] == ([200, 200, 429] if is_taken_again else [200, 429, 429])


async def take_away(redis_server: Valkey, is_hung: bool) -> None:
    if is_hung:
        os.kill(redis_server.pid, signal.SIGSTOP)
    else:
        await asyncio.to_thread(redis_server.stop)


async def bring_back(redis_server: Valkey, is_hung: bool) -> None:
    """With its memory if it hung, else empty."""
    if is_hung:
        os.kill(redis_server.pid, signal.SIGCONT)
    else:
        await asyncio.to_thread(redis_server.start)


async def no_answer(_: Reservation) -> None:
    raise RedisUnavailable("gone again")


@pytest.mark.parametrize("keeps_its_memory", [True, False])
async def test_without_redis_three_workers_share_what_is_left_and_all_of_it_is_counted_afterwards(
    keeps_its_memory: bool, caller: Caller, redis_server: Valkey, start_gateway: StartGateway, ledger: Ledger,
    tmp_path: Path,
) -> None:  # fmt: skip
    limit = 30
    await caller.limit("requests", limit, window="day", reserve="maximum")
    await caller.limit("concurrency", 20)
    gateways = [
        start_gateway(
            redis_url=redis_server.url(), when_limits_unavailable="local", redis_timeout_s=0.3,
            state_dir=tmp_path / f"state{n}",
        )
        for n in range(3)
    ]  # fmt: skip
    workers = [gateway.apps[0].worker for gateway in gateways]
    callers = [caller.at(gateway.url) for gateway in gateways]
    for worker, gateway in [*zip(workers, gateways, strict=True)] * 2:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(worker.worker_count.beat(), gateway.loop))
    # What each has seen as used: 1, 2, 3.
    assert [(await there.chat()).status for there in callers] == [200, 200, 200]

    await take_away(redis_server, keeps_its_memory)
    answers = [await asyncio.gather(*(there.chat() for _ in range(12))) for there in callers]
    answers = [[*some, *[await there.chat() for _ in range(4)]] for there, some in zip(callers, answers, strict=True)]

    shares = [(limit - seen) // 3 for seen in (1, 2, 3)]
    for there, some, share in zip(callers, answers, shares, strict=True):
        assert [answer.status for answer in some].count(200) == share
        refused = [answer for answer in some if answer.status != 200]
        assert {(answer.status, answer.code) for answer in refused} == {(503, "limits_unavailable")}
        assert "share of the limit of 30 requests" in refused[-1].json["error"]["message"]
        assert await ready(there) == (200, "degraded", ALL | {"redis": False})
    assert 'litemaas_limits_unavailable_total{outcome="share_used"}' in scraped_metrics()
    used = 3 + sum(shares)
    assert used == limit
    await ledger.rows(caller.account_id, used)

    await bring_back(redis_server, keeps_its_memory)
    for there in callers:
        await wait_until(lambda there=there: is_ready(there), "Redis to be met again")  # type: ignore[misc]
    assert [(await there.chat()).code for there in callers] == ["insufficient_quota"] * 3
    async with redis.asyncio.from_url(redis_server.url()) as client:
        state = RedisState(client)
        await state.wait_until_settled(caller.account_id)
        fields = [name.decode() for name in await state.everything(caller.account_id)]
        counted = {
            name[:1]: await state.counter(caller.account_id, name) for name in fields if name[:2] in ("R|", "T|")
        }
    rows = await ledger.rows(caller.account_id, limit)
    # Used and reserved.
    assert {code: counter[1:3] for code, counter in counted.items()} == {
        "R": [limit, 0],
        "T": [sum(row["counted_tokens"] for row in rows), 0],
    }


async def test_a_gateway_that_starts_without_redis_waits_for_it(
    caller: Caller, redis_server: Valkey, start_gateway: StartGateway
) -> None:
    redis_server.stop()
    there = caller.at(start_gateway(redis_url=redis_server.url()).url)
    assert (await there.chat()).code == "limits_unavailable"

    await asyncio.to_thread(redis_server.start)

    await wait_until(lambda: is_ready(there), "Redis to be met")
    assert (await there.chat()).status == 200


async def test_a_redis_outage_during_a_stream_does_not_end_the_stream(
    caller: Caller, redis_server: Valkey, start_gateway: StartGateway, ledger: Ledger
) -> None:
    there = caller.at(start_gateway(redis_url=redis_server.url(), drain_timeout_s=1).url)

    async with there.open_chat("[tokens=30] [rate=30]", stream=True) as answer:
        await answer.content.readuntil(b"\n\n")
        redis_server.stop()
        rest = await answer.read()

    assert rest.endswith(b"data: [DONE]\n\n")
    assert (await ledger.row(caller.account_id))["completion_tokens"] == 30


async def test_a_reservation_a_hanging_redis_makes_too_late_is_released(
    caller: Caller, redis_server: Valkey, start_gateway: StartGateway, ledger: Ledger
) -> None:
    there = caller.at(start_gateway(redis_url=redis_server.url(), redis_timeout_s=0.3).url)
    await caller.limit("concurrency", 1)
    await caller.limit("requests", 3, window="day")
    assert (await there.chat()).status == 200

    os.kill(redis_server.pid, signal.SIGSTOP)
    refused = await there.chat()
    os.kill(redis_server.pid, signal.SIGCONT)

    assert (refused.status, refused.code) == (503, "limits_unavailable")
    await wait_until(lambda: is_ready(there), "Redis to be met again")
    async with redis.asyncio.from_url(redis_server.url()) as client:
        await RedisState(client).wait_until_settled(caller.account_id)
    assert [(await there.chat()).status for _ in range(3)] == [200, 200, 429]
    # Calls that were never forwarded are not charged.
    assert {row["ending"] for row in await ledger.rows(caller.account_id, 3)} == {"completed"}


async def test_a_redis_key_of_another_type_is_an_internal_error_in_openais_shape(
    caller: Caller, redis_server: Valkey, start_gateway: StartGateway
) -> None:
    there = caller.at(start_gateway(redis_url=redis_server.url()).url)
    async with redis.asyncio.from_url(redis_server.url()) as client:
        await client.set(HASH_NAME % caller.account_id, "not a hash")

    response = await there.chat()

    assert (response.status, response.code) == (503, "limits_unavailable")


# --- Postgres ---


@pytest.fixture
async def own_backends(
    postgres_server: Postgres, backends: Backends, redis_server: Valkey, tmp_path: Path
) -> dict[str, Any]:
    """Settings of a gateway on the module's own Postgres."""
    return {
        "database_url": postgres_server.url(),
        "redis_url": redis_server.url(),
        "state_dir": tmp_path / "state",
    }


@pytest.fixture
async def own_pool(postgres_server: Postgres) -> AsyncIterator[Pool]:
    async with new_pool(postgres_server.url(), size=2) as opened:
        yield opened


async def chat_with(key: str, gateway: GatewayThread, http: aiohttp.ClientSession) -> Response:
    body = {"model": "demo-chat", "messages": [{"role": "user", "content": "Hello"}]}
    async with http.post(gateway.url + "/v1/chat/completions", json=body, headers={"x-api-key": key}) as answer:
        return Response(answer.status, answer.headers.copy(), await answer.read())


async def become_known(caller: Caller, gateway: GatewayThread, pool: Pool) -> Response:
    """The first call, after the notification of the key's creation, which invalidates its cached record."""
    await gateway.wait_for_changes(pool)
    first = await caller.chat()
    assert first.status == 200
    return first


async def test_without_postgres_cached_keys_work_and_every_row_is_written_later(
    postgres_server: Postgres, own_backends: dict[str, Any], own_pool: Pool, start_gateway: StartGateway,
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # Not after a pause: when Postgres is back.
    monkeypatch.setattr(ledger_writer, "MIN_PAUSE_S", 3600.0)
    monkeypatch.setattr(ledger_writer, "MAX_PAUSE_S", 3600.0)
    gateway = start_gateway(**own_backends)
    known = await make_caller(own_pool, gateway.url, http, ["demo-chat"])
    unseen = await make_caller(own_pool, gateway.url, http, ["demo-chat"])
    first = await become_known(known, gateway, own_pool)

    async def knows_it() -> bool:
        return gateway.apps[0].worker.changes.listening is Listening.AWAY

    async def is_degraded() -> bool:
        return "litemaas_workers_degraded 1.0" in scraped_metrics()

    try:
        await asyncio.to_thread(postgres_server.stop)
        answers = [await known.chat() for _ in range(20)]
        unknown = [await unseen.chat(), await chat_with(new_key(), gateway, http)]
        readiness = await ready(known)
        await assert_lives(known)
        await wait_until(knows_it, "the gateway to know that Postgres is away")
        answers += [await known.chat() for _ in range(5)]
        unknown += [await unseen.chat(), await chat_with(new_key(), gateway, http)]
        await wait_until(is_degraded, "the metric")
    finally:
        await asyncio.to_thread(postgres_server.start)

    assert {response.status for response in answers} == {200}
    for response in unknown:
        assert (response.status, response.code) == (503, "keys_unavailable")
        assert int(response.headers["retry-after"]) >= 1
    assert readiness == (200, "degraded", ALL | {"postgres": False})
    await wait_until(lambda: is_ready(known), "Postgres to be met again", timeout_s=20)
    rows = await Ledger(own_pool).rows(known.account_id, 26)
    assert {str(row["request_id"]) for row in rows} == {response.request_id for response in [first, *answers]}
    assert (await unseen.chat()).status == 200
    assert (await chat_with(new_key(), gateway, http)).code == "invalid_api_key"


async def test_a_change_made_while_no_gateway_listened_holds_once_postgres_is_back(
    postgres_server: Postgres, own_backends: dict[str, Any], own_pool: Pool, start_gateway: StartGateway,
    http: aiohttp.ClientSession,
) -> None:  # fmt: skip
    gateway = start_gateway(**own_backends)
    caller = await make_caller(own_pool, gateway.url, http, ["demo-chat"])
    assert (await caller.chat()).status == 200

    # All connections end, including the listening one; the change is made before the gateway listens again.
    admin = await asyncpg.connect(postgres_server.url("postgres", "postgres"))
    sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'litemaas-%'"
    await admin.execute(sql)
    await own_pool.execute("UPDATE api_keys SET revoked_at = now() WHERE id = $1", caller.key_id)
    await admin.close()

    async def is_refused() -> bool:
        return (await caller.chat()).status == 401

    assert await wait_until(is_refused, "the revoked key to be refused", timeout_s=5) < 1


async def test_a_gateway_that_starts_without_postgres_waits_for_it(
    postgres_server: Postgres, own_backends: dict[str, Any], own_pool: Pool, start_gateway: StartGateway,
    http: aiohttp.ClientSession,
) -> None:  # fmt: skip
    caller = await make_caller(own_pool, "", http, ["demo-chat"])
    try:
        await asyncio.to_thread(postgres_server.stop)
        there = caller.at(start_gateway(**own_backends).url)
        assert (await there.chat()).code == "keys_unavailable"
        assert (await ready(there))[0] == 503
    finally:
        await asyncio.to_thread(postgres_server.start)

    await wait_until(lambda: is_ready(there), "Postgres to be met", timeout_s=20)
    assert (await there.chat()).status == 200


async def test_a_full_journal_without_postgres_refuses_calls(
    postgres_server: Postgres, own_backends: dict[str, Any], own_pool: Pool, start_gateway: StartGateway,
    http: aiohttp.ClientSession,
) -> None:  # fmt: skip
    gateway = start_gateway(**own_backends, journal_max_bytes=3000)
    caller = await make_caller(own_pool, gateway.url, http, ["demo-chat"])
    await become_known(caller, gateway, own_pool)
    try:
        await asyncio.to_thread(postgres_server.stop)
        answers = []
        while not answers or (answers[-1].status == 200 and len(answers) < 60):
            answers.append(await caller.chat())
            await asyncio.sleep(0.1)
        readiness = await ready(caller)
    finally:
        await asyncio.to_thread(postgres_server.start)

    assert (answers[-1].status, answers[-1].code) == (503, "ledger_unavailable")
    assert readiness[0] == 503
    assert readiness[2]["ledger"] is False
    await wait_until(lambda: is_ready(caller), "Postgres to be met again", timeout_s=20)
    # No call that got a response is missing.
    assert len(await Ledger(own_pool).rows(caller.account_id, len(answers))) == len(answers)


async def test_with_a_read_only_journal_folder_rows_go_directly_to_postgres(
    caller: Caller, start_gateway: StartGateway, tmp_path: Path, ledger: Ledger, redis_state: RedisState
) -> None:
    in_the_way = tmp_path / "a file"
    in_the_way.write_text("where a folder should be")
    there = caller.at(start_gateway(state_dir=in_the_way).url)

    answers = await there.chats(3)

    assert [response.status for response in answers] == [200, 200, 200]
    await ledger.rows(caller.account_id, 3)
    await redis_state.wait_until_settled(caller.account_id)
