"""Limits under concurrent calls with LiteLLM: exact."""

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from callers import Caller, new_mark
from gateways import Ledger, RedisState, UpstreamLog

from end_to_end.asking import assert_charged_the_higher
from end_to_end.conftest import MeasureDrift
from gateway.storage.counters.layout import read_lease

if TYPE_CHECKING:
    import openai


async def test_a_limit_of_five_a_minute_admits_five_of_twenty_threads(
    caller: Caller, upstream_log: UpstreamLog, ledger: Ledger, drift: MeasureDrift
) -> None:
    import openai

    await caller.limit("rpm", 5)
    mark = new_mark()
    messages: Any = [{"role": "user", "content": f"Hello [tokens=5] [mark={mark}]"}]

    with (
        openai.OpenAI(base_url=f"{caller.url}/v1", api_key=caller.key, max_retries=0, timeout=60) as client,
        ThreadPoolExecutor(20) as threads,
    ):

        def ask() -> "openai.RateLimitError | None":
            try:
                client.chat.completions.create(model="demo-chat", messages=messages)
            except openai.RateLimitError as refused:
                return refused
            return None

        loop = asyncio.get_running_loop()
        outcomes = await asyncio.gather(*(loop.run_in_executor(threads, ask) for _ in range(20)))

    refused = [error for error in outcomes if error is not None]
    assert (len(outcomes) - len(refused), len(refused)) == (5, 15)
    for error in refused:
        assert error.code == "rate_limit_exceeded"
        assert 1 <= int(error.response.headers["retry-after"]) <= 75
    assert len(await upstream_log.calls(mark=mark)) == 5
    await ledger.rows(caller.account_id, 5)
    assert await drift(caller) == []


async def test_tokens_per_minute_are_exceeded_only_by_usage_beyond_the_estimates(
    caller: Caller, upstream_log: UpstreamLog, ledger: Ledger, redis_state: RedisState, drift: MeasureDrift
) -> None:
    limit, mark = 600, new_mark()
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
    # More than the estimate of the admitted calls.
    answers = await caller.chats(30, f"Talk [tokens=800] [delay=0.7] [mark={mark}]")
    # Not cancelled: the Redis client may lose a cancellation, and the task would run as long as the client.
    is_over.set()
    await watching

    admitted = [response for response in answers if response.status == 200]
    assert Counter(response.status for response in answers) == {200: len(admitted), 429: 30 - len(admitted)}
    assert 1 <= len(admitted) < 30
    rows, billed = await ledger.rows(caller.account_id, len(admitted)), await upstream_log.calls(mark=mark)
    used = {row["request_id"].hex: row["counted_tokens"] for row in rows}
    assert sum(used.values()) == sum(call["prompt_tokens"] + call["completion_tokens"] for call in billed)
    assert sum(reserved[call] for call in used) <= limit
    assert sum(used.values()) <= limit + sum(max(0, tokens - reserved[call]) for call, tokens in used.items())
    assert all("retry-after" in response.headers for response in answers if response.status == 429)
    # Usage beyond the limit is a debt: no call is admitted before it is paid.
    assert (await caller.chat(max_tokens=1)).status == 429
    assert await drift(caller) == []


async def test_with_reserve_maximum_monthly_tokens_are_never_exceeded(
    caller: Caller, ledger: Ledger, drift: MeasureDrift
) -> None:
    await caller.limit("tokens", 900, window="month", reserve="maximum")

    answers = await caller.chats(30, "Talk [tokens=60] [delay=0.5]", max_tokens=60)

    admitted = [response for response in answers if response.status == 200]
    rows = await ledger.rows(caller.account_id, len(admitted))
    assert 1 <= len(admitted) < 30
    assert sum(row["counted_tokens"] for row in rows) <= 900
    assert await drift(caller) == []


async def test_concurrency_slots_are_exact_and_freed_at_the_end_of_calls(
    caller: Caller, ledger: Ledger, drift: MeasureDrift
) -> None:
    await caller.limit("concurrency", 3)

    answers = await caller.chats(12, "Wait [delay=2]")

    assert Counter(response.status for response in answers) == {200: 3, 429: 9}
    await ledger.rows(caller.account_id, 3)
    assert await drift(caller) == []
    assert (await caller.chat()).status == 200


async def test_a_cost_limit_counts_streams_without_a_cost_header_of_litellm(
    caller: Caller, ledger: Ledger, redis_state: RedisState, drift: MeasureDrift
) -> None:
    # A call costs 44000 nano-USD: the second crosses or is refused, and no other comes in.
    await caller.limit("cost", 60_000, window="month")
    seen: list[int] = []
    for _ in range(4):
        seen.append((await caller.chat("[tokens=20]", stream=True, max_tokens=20)).status)
        await redis_state.wait_until_settled(caller.account_id)

    rows = await ledger.rows(caller.account_id, seen.count(200))
    assert seen == sorted(seen)
    assert 1 <= seen.count(200) <= 2
    assert sum(row["cost_nano_usd"] for row in rows[:-1]) < 60_000
    for row in rows:
        assert_charged_the_higher(row)
        assert row["litellm_cost_nano_usd"] > 0
    assert await drift(caller) == []
