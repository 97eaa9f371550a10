"""Limits as a caller sees them: exact under concurrent calls, shown in headers, and listed."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from callers import Caller, MakeCaller, Response, new_mark
from factories import ADMIN, make_model
from gateways import GatewayThread, Ledger, RedisState, UpstreamLog, scraped_metrics, wait_until

from admin_api.operations import subscriptions
from gateway.storage.counters.layout import read_lease


def statuses(answers: list[Response]) -> Counter[int]:
    return Counter(response.status for response in answers)


async def test_a_limit_of_five_a_minute_admits_five_of_twenty_concurrent_calls(
    caller: Caller, upstream_log: UpstreamLog, ledger: Ledger, redis_state: RedisState
) -> None:
    await caller.limit("rpm", 5)
    mark = new_mark()

    answers = await caller.chats(20, f"Hello [mark={mark}]")

    assert statuses(answers) == {200: 5, 429: 15}
    for response in answers:
        if response.status == 429:
            assert response.code == "rate_limit_exceeded"
            # One is refilled every 12 s; each refused call gets its own turn.
            assert 1 <= int(response.headers["retry-after"]) <= 75
            assert float(response.headers["retry-after-ms"]) <= 1000 * int(response.headers["retry-after"])
    assert len(await upstream_log.calls(mark=mark)) == 5
    # Refused calls have no ledger row.
    assert len(await ledger.rows(caller.account_id, 5)) == 5
    await redis_state.wait_until_settled(caller.account_id)


async def test_a_concurrency_limit_of_three_admits_three_and_the_next_after_they_end(
    caller: Caller, ledger: Ledger, redis_state: RedisState
) -> None:
    await caller.limit("concurrency", 3)

    answers = await caller.chats(12, "Wait [delay=1]")

    assert statuses(answers) == {200: 3, 429: 9}
    refused = next(response for response in answers if response.status == 429)
    assert (refused.code, refused.headers["retry-after"]) == ("rate_limit_exceeded", "1")
    await redis_state.wait_until_settled(caller.account_id)
    assert statuses(await caller.chats(3)) == {200: 3}
    await ledger.rows(caller.account_id, 6)


@pytest.mark.parametrize("stream", [False, True])
async def test_sequential_calls_never_exceed_a_concurrency_limit_of_one(stream: bool, caller: Caller) -> None:
    await caller.limit("concurrency", 1)

    answers = [await caller.chat("Hello [tokens=1]", stream=stream) for _ in range(40)]

    assert statuses(answers) == {200: 40}


async def test_tokens_per_minute_are_exceeded_only_by_usage_beyond_the_estimates(
    caller: Caller, ledger: Ledger, redis_state: RedisState
) -> None:
    limit = 600
    await caller.limit("tpm", limit)
    reserved: dict[str, int] = {}
    is_over = asyncio.Event()

    async def watch() -> None:
        while not is_over.is_set():
            for name, value in (await redis_state.everything(caller.account_id)).items():
                if name[:2] == b"l|":
                    lease = read_lease(name[2:], value)
                    reserved[name[2:].decode()] = lease.prompt_tokens + lease.completion_tokens
            await asyncio.sleep(0.02)

    watching = asyncio.create_task(watch())
    # The model generates more than half of the calls expect: they have no max_tokens, and the first estimate is cut.
    answers = await caller.chats(30, "Talk [tokens=800] [delay=0.7]")
    # Not cancelled: the Redis client may lose a cancellation, and the task would run as long as the client.
    is_over.set()
    await watching

    admitted = [response for response in answers if response.status == 200]
    rows = await ledger.rows(caller.account_id, len(admitted))
    used = {row["request_id"].hex: row["counted_tokens"] for row in rows}
    assert 1 <= len(admitted) < 30
    assert sum(reserved[call] for call in used) <= limit
    overshoot = sum(max(0, tokens - reserved[call]) for call, tokens in used.items())
    assert sum(used.values()) <= limit + overshoot
    # A debt: no call is admitted before it is paid.
    assert (await caller.chat(max_tokens=1)).status == 429


async def test_with_reserve_maximum_a_limit_is_never_exceeded(caller: Caller, ledger: Ledger) -> None:
    await caller.limit("tokens", 1500, window="day", reserve="maximum")

    answers = await caller.chats(30, "Talk [tokens=100] [delay=0.3]", max_tokens=100)

    admitted = [response for response in answers if response.status == 200]
    rows = await ledger.rows(caller.account_id, len(admitted))
    assert 1 <= len(admitted) < 30
    assert sum(row["counted_tokens"] for row in rows) <= 1500


async def test_a_window_admits_exactly_its_requests_under_concurrent_calls(
    caller: Caller, redis_state: RedisState
) -> None:
    await caller.limit("requests", 7, window="day")

    first = await caller.chats(25, "Hello [delay=0.3]")
    await redis_state.wait_until_settled(caller.account_id)
    second = await caller.chat()

    assert statuses(first) == {200: 7, 429: 18}
    assert (second.status, second.code) == (429, "insufficient_quota")
    assert second.headers["x-should-retry"] == "false"
    assert "retry-after" not in second.headers
    reported = second.error["limit"]
    assert (reported["level"], reported["kind"], reported["window"], reported["limit"], reported["used"]) == (
        "key",
        "requests",
        "day",
        7,
        7,
    )
    assert reported["resets_at"].endswith("T00:00:00Z")
    assert "The gateway (not the model)" in second.error["message"]


async def test_calls_the_upstream_refuses_are_refunded_to_windows(caller: Caller, make: MakeCaller) -> None:
    caller = await make("fault-500")
    await caller.limit("requests", 1, window="day")

    answers = [await caller.chat(model="fault-500") for _ in range(3)]

    # Each call is settled shortly after its response.
    assert statuses(answers)[500] >= 2


@pytest.mark.parametrize(("kind", "amount", "about", "code", "status"), [
    ("rpm", 0, {}, "insufficient_quota", 429),
    ("concurrency", 0, {}, "insufficient_quota", 429),
    ("requests", 0, {"window": "month"}, "insufficient_quota", 429),
    ("tokens", 0, {"window": "month"}, "insufficient_quota", 429),
    ("cost", 0, {"window": "month"}, "insufficient_quota", 429),
    ("tpm", 5, {}, "request_exceeds_limit", 400),
    ("tokens", 5, {"window": "lifetime"}, "request_exceeds_limit", 400),
    ("cost", 10, {"window": "lifetime"}, "request_exceeds_limit", 400),
])  # fmt: skip
async def test_the_error_for_a_limit_of_zero_says_so(
    kind: str, amount: int, about: dict[str, Any], code: str, status: int, caller: Caller, upstream_log: UpstreamLog,
    redis_state: RedisState,
) -> None:  # fmt: skip
    await caller.limit(kind, amount, **about)
    before = await upstream_log.count()

    response = await caller.chat("A prompt of some length, so that it needs more than five tokens.")

    assert (response.code, response.status) == (code, status)
    assert response.error["limit"]["kind"] == kind
    assert await upstream_log.count() == before
    assert await redis_state.open_leases(caller.account_id) == []


async def test_a_refusal_at_one_level_takes_nothing_from_the_others(caller: Caller, redis_state: RedisState) -> None:
    await caller.limit("rpm", 100)
    await caller.limit("concurrency", 100)
    await caller.limit("cost", 10**12, window="day")
    await caller.limit("requests", 1, window="day", level="user", target=str(caller.user_id))
    assert (await caller.chat()).status == 200
    await redis_state.wait_until_settled(caller.account_id)
    before = await redis_state.everything(caller.account_id)

    answers = await caller.chats(5)

    assert statuses(answers) == {429: 5}
    assert answers[0].error["limit"]["level"] == "user"
    assert await redis_state.everything(caller.account_id) == before


async def test_a_shadow_limit_refuses_no_call_and_is_counted(caller: Caller, gateway: GatewayThread) -> None:
    await caller.limit("rpm", 1, shadow=True)

    answers = await caller.chats(4)

    assert statuses(answers) == {200: 4}
    assert (
        "x-ratelimit-limit-requests" not in answers[0].headers
        or answers[0].headers["x-ratelimit-limit-requests"] == "10000"
    )
    assert 'litemaas_shadow_refusals_total{kind="rpm",level="key"}' in scraped_metrics()


async def test_a_cost_limit_refuses_a_model_without_a_price(make: MakeCaller, upstream_log: UpstreamLog) -> None:
    caller = await make("demo-unpriced", "demo-chat")
    await caller.limit("cost", 10**9, window="day")
    before = await upstream_log.count()

    response = await caller.chat(model="demo-unpriced")

    assert (response.status, response.code, response.error["param"]) == (403, "model_has_no_price", "model")
    assert await upstream_log.count() == before
    assert (await caller.chat()).status == 200


async def test_headers_show_the_limit_with_the_least_remaining(caller: Caller) -> None:
    await caller.limit("rpm", 60)
    await caller.limit("requests", 10, window="day")
    await caller.limit("tpm", 6000)

    response = await caller.chat("[tokens=1]", max_tokens=1)

    headers = {name: value for name, value in response.headers.items() if name.startswith("x-ratelimit-")}
    assert headers["x-ratelimit-limit-requests"] == "10"
    assert headers["x-ratelimit-remaining-requests"] == "9"
    assert headers["x-ratelimit-reset-requests"].endswith("s")
    assert headers["x-ratelimit-limit-tokens"] == "6000"
    assert 5900 < int(headers["x-ratelimit-remaining-tokens"]) < 6000


async def test_refusals_and_upstream_errors_have_the_headers(make: MakeCaller) -> None:
    caller = await make("demo-chat", "fault-400")
    await caller.limit("rpm", 1)

    error, refused = await caller.chat(model="fault-400"), await caller.chat()

    assert (error.status, refused.status) == (400, 429)
    assert [response.headers["x-ratelimit-limit-requests"] for response in (error, refused)] == ["1", "1"]
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"


async def test_a_limit_holds_only_for_the_key_or_model_it_is_set_on(make: MakeCaller, pool: Any) -> None:
    caller = await make("demo-chat", "vendor/demo-chat")
    await caller.limit("rpm", 1, level="key_model", target=str(caller.key_id), model="demo-chat")

    small = await caller.chats(3, model="demo-chat")
    vendor = await caller.chats(3, model="vendor/demo-chat")

    assert statuses(small) == {200: 1, 429: 2}
    assert statuses(vendor) == {200: 3}


async def test_a_changed_limit_holds_for_the_next_call(caller: Caller) -> None:
    await caller.limit("rpm", 2)
    assert statuses(await caller.chats(4)) == {200: 2, 429: 2}

    await caller.limit("rpm", 50)

    async def is_let_in() -> bool:
        return (await caller.chat()).status == 200

    assert await wait_until(is_let_in, "the higher limit") < 1


# --- Routes the gateway serves itself ---


async def test_the_listed_models_are_those_the_key_may_call(make: MakeCaller) -> None:
    caller = await make("vendor/demo-chat", "demo-chat")

    for path in ("/v1/models", "/models"):
        listed = (await caller.get(path)).json
        assert listed["object"] == "list"
        assert [model["id"] for model in listed["data"]] == ["demo-chat", "vendor/demo-chat"]
        assert listed["data"][0] == {
            "id": "demo-chat",
            "object": "model",
            "created": listed["data"][0]["created"],
            "owned_by": "openai",
        }


@pytest.mark.parametrize(
    "path", ["/v1/models/vendor/demo-chat", "/models/vendor/demo-chat", "/v1/models/vendor%2Fdemo-chat"]
)
async def test_a_model_with_a_slash_in_its_name_is_shown(path: str, make: MakeCaller) -> None:
    caller = await make("vendor/demo-chat")

    response = await caller.get(path)

    assert (response.status, response.json["id"]) == (200, "vendor/demo-chat")


@pytest.mark.parametrize("name", ["demo-chat-large", "nobody", "demo-chat/", "Demo-chat"])
async def test_a_model_the_key_may_not_call_does_not_exist(name: str, caller: Caller) -> None:
    response = await caller.get(f"/v1/models/{name}")

    assert (response.status, response.code) == (404, "model_not_found")


async def test_a_model_with_an_ended_subscription_is_neither_listed_nor_served(caller: Caller, pool: Any) -> None:
    await pool.execute(
        "UPDATE subscriptions SET expires_at = now() - interval '1 s' WHERE account_id = $1", caller.account_id
    )

    response, shown, listed = (
        await caller.chat(),
        await caller.get("/v1/models/demo-chat"),
        await caller.get("/v1/models"),
    )

    assert (response.status, response.code) == (404, "model_not_found")
    assert shown.status == 404
    assert listed.json["data"] == []


async def test_a_key_without_models_has_no_access(caller: Caller, pool: Any) -> None:
    await subscriptions.change_subscription(
        pool, ADMIN, await pool.fetchval("SELECT id FROM subscriptions WHERE account_id = $1", caller.account_id),
        "cancel",
    )  # fmt: skip

    response, listed = await caller.chat(), await caller.get("/v1/models")

    assert (response.status, response.code) == (404, "model_not_found")
    assert (listed.json["object"], listed.json["data"]) == ("list", [])
    assert [(one["id"], one["status"]) for one in listed.json["unavailable"]] == [("demo-chat", "cancelled")]


async def test_limits_are_listed_with_their_used_and_reserved_amounts(caller: Caller, redis_state: RedisState) -> None:
    await caller.limit("rpm", 60)
    await caller.limit("concurrency", 5)
    await caller.limit("tokens", 100_000, window="day")
    await caller.chat("Hello [tokens=10]")
    await redis_state.wait_until_settled(caller.account_id)

    async with caller.open_chat("Wait [tokens=50] [rate=20]", stream=True, max_tokens=50) as answer:
        await answer.content.readuntil(b"\n\n")
        for path in ("/v1/limits", "/limits"):
            listed = {limit["kind"] + (limit["window"] or ""): limit for limit in (await caller.get(path)).json["data"]}

    assert set(listed) == {"rpm", "concurrency", "tokensday", "requestsmonth", "tokensmonth"}
    assert (listed["rpm"]["limit"], listed["rpm"]["used"]) in ((60, 2), (60, 1))
    assert (listed["concurrency"]["used"], listed["concurrency"]["remaining"]) == (1, 4)
    day = listed["tokensday"]
    # The prompt's one word and its directive, plus three tokens for the message.
    assert day["used"] == 15
    assert 50 < day["reserved"] < 100
    assert day["remaining"] == 100_000 - day["used"] - day["reserved"]
    assert day["resets_at"].endswith("T00:00:00Z")
    assert listed["requestsmonth"]["level"] == "subscription"
    assert listed["requestsmonth"]["models"] == ["demo-chat"]


async def test_listing_limits_takes_nothing(caller: Caller, redis_state: RedisState) -> None:
    await caller.limit("rpm", 2)
    await caller.chat()
    await redis_state.wait_until_settled(caller.account_id)
    before = await redis_state.everything(caller.account_id)

    for _ in range(5):
        assert (await caller.get("/v1/limits")).status == 200

    assert await redis_state.everything(caller.account_id) == before


@pytest.mark.parametrize("path", ["/v1/models", "/models", "/v1/models/demo-chat", "/v1/limits", "/limits"])
async def test_routes_the_gateway_serves_itself_need_a_key(path: str, gateway: GatewayThread, caller: Caller) -> None:
    async with caller.http.get(gateway.url + path) as answer:
        error = (await answer.json())["error"]

    assert (answer.status, error["code"]) == (401, "missing_api_key")


async def test_a_new_model_is_unavailable_until_a_user_subscribes(caller: Caller, pool: Any) -> None:
    await make_model(pool, "brand-new")

    assert (await caller.chat(model="brand-new")).code == "model_not_found"


@pytest.mark.parametrize(("path", "model", "field", "one_nano_usd"), [
    # 1056 tokens at 2 USD a million, and those of the prompt at 1.4 tokens a letter.
    ("/v1/images/generations", "demo-gpt-image", "prompt", 2_120_000),
    ("/v1/audio/speech", "demo-speech", "input", 120_000),
])  # fmt: skip
async def test_concurrent_media_calls_priced_by_tokens_do_not_exceed_a_budget(
    path: str, model: str, field: str, one_nano_usd: int, make: MakeCaller, upstream_log: UpstreamLog
) -> None:
    caller = await make(model)
    await caller.limit("cost", 3 * one_nano_usd, window="lifetime")
    body = {"model": model, field: f"Show me [delay=0.5] [mark={path}]"}

    async def ask() -> int:
        async with caller.http.post(caller.url + path, json=body, headers=caller.authorization) as answer:
            await answer.read()
            return answer.status

    statuses = await asyncio.gather(*(ask() for _ in range(8)))

    assert sorted(statuses) == [200] * 3 + [429] * 5
    assert len(await upstream_log.calls(mark=path)) == 3
