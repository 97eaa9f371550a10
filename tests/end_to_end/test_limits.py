"""Limits under calls that come at once, with LiteLLM behind: exact, whatever it does."""

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from callers import Caller, new_mark
from gateways import Ledger, RedisState, UpstreamLog

from end_to_end.conftest import MeasureDrift
from gateway.storage.counters.layout import read_lease

if TYPE_CHECKING:
    import openai


async def test_twenty_threads_on_five_a_minute_get_five_answers(
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
    # More than was expected of those that are let in.
    answers = await caller.chats(30, f"Talk [tokens=800] [delay=0.7] [mark={mark}]")
    # Not cancelled: a cancellation may be lost in the client of Redis, and it would watch for as long as that is there.
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
    # What was used beyond the limit is a debt: nobody comes in before it is paid.
    assert (await caller.chat(max_tokens=1)).status == 429
    assert await drift(caller) == []


async def test_tokens_of_a_month_reserved_at_their_maximum_are_never_overspent(
    caller: Caller, ledger: Ledger, drift: MeasureDrift
) -> None:
    await caller.limit("tokens", 900, window="month", reserve="maximum")

    answers = await caller.chats(30, "Talk [tokens=60] [delay=0.5]", max_tokens=60)

    admitted = [response for response in answers if response.status == 200]
    rows = await ledger.rows(caller.account_id, len(admitted))
    assert 1 <= len(admitted) < 30
    assert sum(row["counted_tokens"] for row in rows) <= 900
    assert await drift(caller) == []


async def test_slots_of_calls_that_run_at_once_are_exact_and_come_free_at_their_end(
    caller: Caller, ledger: Ledger, drift: MeasureDrift
) -> None:
    await caller.limit("concurrency", 3)

    answers = await caller.chats(12, "Wait [delay=2]")

    assert Counter(response.status for response in answers) == {200: 3, 429: 9}
    await ledger.rows(caller.account_id, 3)
    assert await drift(caller) == []
    assert (await caller.chat()).status == 200


async def test_a_limit_on_cost_counts_the_streams_whose_price_litellm_does_not_put_in_a_header(
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
    assert all(row["cost_nano_usd"] == row["litellm_cost_nano_usd"] > 0 for row in rows)
    assert await drift(caller) == []
