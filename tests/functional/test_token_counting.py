"""D16: counting tokens has a bound of its own, and takes nothing of the limits."""

import asyncio
import json
from typing import Any

import pytest
from callers import Caller, MakeCaller, Response, chat_body
from gateways import Backends, GatewayThread, Ledger, RedisState, StartGateway, wait_until

from gateway.domain.limits import LIMIT_KINDS
from gateway.metrics import REGISTRY
from gateway.settings import Settings
from gateway.storage.counters.layout import Lease
from gateway.tasks.reap_leases import estimated_row

COUNT = "/v1/messages/count_tokens"
BOUND = 3


async def post(caller: Caller, path: str, prompt: str = "Hello", **fields: Any) -> Response:
    body = chat_body(prompt, **fields)
    async with caller.http.post(caller.url + path, json=body, headers=caller.authorization) as answer:
        return Response(answer.status, answer.headers.copy(), await answer.read())


async def count(caller: Caller, prompt: str = "Hello", **fields: Any) -> Response:
    return await post(caller, COUNT, prompt, **fields)


async def message(caller: Caller, prompt: str = "Hello") -> Response:
    return await post(caller, "/v1/messages", prompt, max_tokens=5)


@pytest.fixture
def bounded(start_gateway: StartGateway, backends: Backends) -> GatewayThread:
    return start_gateway(token_counts_per_minute=BOUND, state_dir=backends.folder / "counting")


async def test_d16_counts_take_nothing_of_the_limits_of_requests(caller: Caller, ledger: Ledger) -> None:
    await caller.limit("rpm", 10)
    await caller.limit("requests", 10, window="day")

    counts = [await count(caller) for _ in range(10)]
    messages = [await message(caller) for _ in range(10)]

    assert {answer.status for answer in counts} == {200}
    assert {answer.status for answer in messages} == {200}
    assert (await message(caller)).status == 429
    rows = await ledger.rows(caller.account_id, 20)
    assert [row["counted_requests"] for row in rows if row["endpoint"] == "count_tokens"] == [0] * 10
    assert sum(row["counted_requests"] for row in rows) == 10
    used = {limit["kind"]: limit["used"] for limit in (await caller.get("/v1/limits")).json["data"]}
    assert used["requests"] == 10


@pytest.mark.parametrize("kind", LIMIT_KINDS)
async def test_d16_a_limit_that_allows_nothing_does_not_refuse_counts(kind: str, caller: Caller) -> None:
    window = {"window": "day"} if LIMIT_KINDS[kind].counter == "window" else {}  # type: ignore[index]
    await caller.limit(kind, 0, **window)

    assert (await count(caller)).status == 200
    assert (await message(caller)).status == 429


async def test_d16_a_count_takes_no_slot(caller: Caller) -> None:
    await caller.limit("concurrency", 1)
    slow = asyncio.ensure_future(count(caller, "Hello [delay=1]"))
    async with caller.open_chat("Hello [delay=1]") as running:
        assert (await count(caller)).status == 200
        assert running.status == 200
    assert (await slow).status == 200


async def test_d16_a_model_without_a_price_is_counted_under_a_limit_of_cost(make: MakeCaller) -> None:
    caller = await make("demo-unpriced")
    await caller.limit("cost", 10**9, window="day")

    assert (await count(caller, model="demo-unpriced")).status == 200
    assert (await post(caller, "/v1/messages", model="demo-unpriced", max_tokens=5)).code == "model_has_no_price"


async def test_d16_counts_are_bounded_for_each_key(
    make: MakeCaller, bounded: GatewayThread, redis_state: RedisState
) -> None:
    caller, other = (await make()).at(bounded.url), (await make()).at(bounded.url)

    answers = [await count(caller) for _ in range(BOUND + 1)]

    assert [answer.status for answer in answers] == [200] * BOUND + [429]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["2", "1", "0", "0"]
    assert answers[-1].headers["x-ratelimit-limit-requests"] == str(BOUND)
    refused = answers[-1].error
    assert (refused["code"], refused["limit"]["kind"], refused["limit"]["limit"]) == (
        "rate_limit_exceeded", "token_counts", BOUND,
    )  # fmt: skip
    assert f"{BOUND} token counts per minute on this API key" in refused["message"]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 60
    assert (await count(other)).status == 200
    assert (await message(caller)).status == 200
    await redis_state.wait_until_settled(caller.account_id)


async def test_d16_gateways_share_the_bound(
    caller: Caller, bounded: GatewayThread, start_gateway: StartGateway, backends: Backends
) -> None:
    second = start_gateway(token_counts_per_minute=BOUND, state_dir=backends.folder / "counting-too")

    answers = [await count(caller.at((bounded, second)[n % 2].url)) for n in range(BOUND + 1)]

    assert [answer.status for answer in answers] == [200] * BOUND + [429]


async def test_d16_a_refused_count_is_counted_as_one_by_no_limit(caller: Caller, bounded: GatewayThread) -> None:
    here = caller.at(bounded.url)
    labels = {"level": "key", "kind": "token_counts", "code": "rate_limit_exceeded"}
    before = REGISTRY.get_sample_value("litemaas_refusals_total", labels) or 0
    for _ in range(BOUND + 2):
        await count(here)

    assert REGISTRY.get_sample_value("litemaas_refusals_total", labels) == before + 2

    async def counted() -> bool:
        sql = "SELECT limit_id, sum(count) FROM refusals WHERE account_id = $1 GROUP BY limit_id"
        return [tuple(row) for row in await caller.pool.fetch(sql, caller.account_id)] == [(0, 2)]

    await wait_until(counted, "two refusals by no row of the limits table")


async def test_d16_a_count_that_did_not_leave_takes_nothing(
    caller: Caller, start_gateway: StartGateway, backends: Backends, redis_state: RedisState
) -> None:
    nowhere = start_gateway(
        token_counts_per_minute=BOUND, litellm_urls="http://127.0.0.1:9", state_dir=backends.folder / "nowhere"
    )

    for _ in range(BOUND + 2):
        assert (await count(caller.at(nowhere.url))).status == 503
        await redis_state.wait_until_settled(caller.account_id)


async def test_d16_without_a_bound_nothing_is_counted(
    caller: Caller, start_gateway: StartGateway, backends: Backends, redis_state: RedisState
) -> None:
    unbounded = start_gateway(token_counts_per_minute=0, state_dir=backends.folder / "unbounded")

    answers = [await count(caller.at(unbounded.url)) for _ in range(5)]

    assert {answer.status for answer in answers} == {200}
    await redis_state.wait_until_settled(caller.account_id)
    assert [name for name in await redis_state.everything(caller.account_id) if name.startswith(b"r|")] == []


def test_d16_the_default_is_generous(backends: Backends) -> None:
    assert Settings.model_fields["token_counts_per_minute"].default >= 600


async def test_d16_a_limit_that_is_set_meanwhile_does_not_count_it(
    caller: Caller, gateway: GatewayThread, redis_state: RedisState
) -> None:
    slow = asyncio.ensure_future(count(caller, "Hello [delay=2]"))

    async def is_open() -> bool:
        return len(await redis_state.open_leases(caller.account_id)) == 1

    await wait_until(is_open, "the count to begin")
    await caller.limit("requests", 2, window="day")
    await caller.limit("concurrency", 1)
    await gateway.wait_for_changes(caller.pool)

    answers = [await message(caller) for _ in range(3)]

    assert not slow.done()
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert (await slow).status == 200


async def test_d16_the_row_of_a_count_whose_gateway_died_counts_no_request(
    caller: Caller, backends: Backends, redis_state: RedisState
) -> None:
    slow = asyncio.ensure_future(count(caller, "Hello [delay=1]"))
    notes: list[bytes] = []

    async def is_open() -> bool:
        fields = await redis_state.everything(caller.account_id)
        notes.extend(value.rpartition(b"\0")[2] for name, value in fields.items() if name.startswith(b"l|"))
        return bool(notes)

    await wait_until(is_open, "the count to begin")
    lease = Lease(
        request_id=(await redis_state.open_leases(caller.account_id))[0],
        start_ms=0, prompt_tokens=0, completion_tokens=0, nano_usd=0, note=notes[0],
    )  # fmt: skip
    row = estimated_row(caller.account_id, lease)

    assert json.loads(notes[0])["endpoint"] == "count_tokens"
    assert (row.endpoint, row.counted_requests, row.counted_tokens) == ("count_tokens", 0, 0)
    await slow
