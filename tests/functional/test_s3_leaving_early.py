"""Case S3: leaving early never pays. What the caller is charged is compared with the model server's own count."""

import asyncio
import json
import random
from collections.abc import AsyncIterator

import aiohttp
import pytest
from callers import Caller, MakeCaller, new_mark
from end_to_end.asking import CHAT, COMPLETIONS, MESSAGES, RESPONSES, Route, opened
from factories import apply, make_model, seen_model
from gateways import Ledger, RedisState, StartGateway, UpstreamLog, wait_until

from gateway.estimate import HIDDEN_TOKENS_A_SECOND
from gateway.storage.postgres import Pool

MODEL = "demo-chat"
TOOL = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = {
    "chat_completions": [{"type": "function", "function": {"name": "look", "parameters": TOOL}}],
    "responses": [{"type": "function", "name": "look", "parameters": TOOL}],
    "messages": [{"name": "look", "input_schema": TOOL}],
}
KINDS = {
    CHAT: ("text", "tool", "function_call", "refusal", "reasoning", "audio", "images", "unknown", "beside"),
    COMPLETIONS: ("text", "beside"),
    RESPONSES: ("text", "tool", "refusal", "reasoning", "audio", "images", "unknown", "item", "event"),
    MESSAGES: ("text", "tool", "reasoning", "unknown", "item", "event"),
}
CASES = [(route, kind) for route, kinds in KINDS.items() for kind in kinds]
# Of each kind, with as many lengths and numbers of choices.
TRIES = 3
ARGUMENTS = '{"city":"Paris","why":"' + "to-see-it," * 9 + '"}'


def prompt_of(kind: str, tokens: int, mark: str) -> str:
    directive = f"[tool=look] [arguments={ARGUMENTS}]" if kind == "tool" else f"[output={kind}]"
    return f"Go on {directive} [tokens={tokens}] [rate=400] [hold=30] [mark={mark}]"


async def read_events(answer: aiohttp.ClientResponse, mark: str, upstream_log: UpstreamLog) -> None:
    """Until all that the model server has sent before its pause is here."""
    received = b""

    async def is_here() -> bool:
        nonlocal received
        while True:
            try:
                received += await asyncio.wait_for(answer.content.readany(), 0.1)
            except TimeoutError:
                break
        call = await upstream_log.call(mark=mark)
        return bool(call["completion_tokens"]) and received.count(b"\n\n") >= call["events"]

    await wait_until(is_here, "all events before the usage")


@pytest.mark.parametrize(("route", "kind"), CASES, ids=[f"{route.name}-{kind}" for route, kind in CASES])
async def test_s3_leaving_before_the_usage_is_charged_at_least_what_passed(
    route: Route, kind: str, make: MakeCaller, upstream_log: UpstreamLog, ledger: Ledger, redis_state: RedisState
) -> None:
    caller: Caller = await make(MODEL)
    chance = random.Random(f"{route.name} {kind}")
    fields = {"tools": TOOLS[route.name]} if kind == "tool" else {}

    async def leave(tokens: int, choices: int) -> str:
        mark = new_mark()
        more = fields | ({"n": choices} if route in (CHAT, COMPLETIONS) else {})
        prompt = prompt_of(kind, tokens, mark)
        async with opened(caller, route, prompt, stream=True, model=MODEL, **more) as answer:
            assert answer.status == 200
            await read_events(answer, mark, upstream_log)
        return mark

    marks = [await leave(chance.randint(1, 40), chance.randint(1, 3)) for _ in range(TRIES)]

    rows = await ledger.rows(caller.account_id, TRIES)
    for mark, row in zip(marks, rows, strict=True):
        billed = await upstream_log.call(mark=mark)
        assert (billed["ending"], row["ending"], row["estimated_why"]) == ("hung_up", "client_disconnected", "hung_up")
        assert row["completion_tokens"] >= billed["completion_tokens"] > 0
        assert row["counted_tokens"] == row["prompt_tokens"] + row["completion_tokens"]
        assert row["prompt_tokens"] > 0
        if kind in ("text", "refusal", "reasoning", "audio", "images"):
            # What is documented is not charged several times.
            assert row["completion_tokens"] < 3 * billed["completion_tokens"]
    await redis_state.wait_until_settled(caller.account_id)


# --- Output that callers are not shown ---


REASONS = {
    CHAT: {"reasoning_effort": "low"},
    RESPONSES: {"reasoning": {"effort": "low"}},
    MESSAGES: {"thinking": {"type": "enabled", "budget_tokens": 1024}},
}


async def leave_after(
    caller: Caller, route: Route, directives: str, upstream_log: UpstreamLog, *, events: int = 0, **fields: object
) -> str:
    """Leaves a stream after so many events, or before its first byte once the model works."""
    mark = new_mark()

    async def is_running() -> bool:
        calls = await upstream_log.calls(mark=mark, ending="running")
        return bool(calls) and calls[0]["prompt_tokens"] > 0

    async def run() -> None:
        prompt = f"Think {directives} [mark={mark}]"
        async with opened(caller, route, prompt, stream=True, **{"model": MODEL, **fields}) as answer:
            for _ in range(events):
                await answer.content.readuntil(b"\n\n")
            if not events:
                await answer.content.read()

    call = asyncio.ensure_future(run())
    if not events:
        await wait_until(is_running, "the model to work")
        call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    return mark


@pytest.mark.parametrize("route", REASONS, ids=lambda route: route.name)
@pytest.mark.parametrize("events", [0, 5])
async def test_s3_hidden_reasoning_is_read_on_to_its_usage(
    route: Route, events: int, make: MakeCaller, upstream_log: UpstreamLog, ledger: Ledger, redis_state: RedisState
) -> None:
    caller = await make(MODEL)
    await caller.limit("concurrency", 10)
    directives = (
        "[delay=0.7] [reasoning=200] [tokens=220] [rate=200]" if not events else "[reasoning=3] [tokens=150] [rate=100]"
    )

    mark = await leave_after(caller, route, directives, upstream_log, events=events, **REASONS[route])
    # It keeps its slot so long.
    held = (await redis_state.counter(caller.account_id, f"c|k{caller.key_id}"))[0]

    row, billed = await ledger.row(caller.account_id), await upstream_log.call(mark=mark)
    assert held == 1
    assert billed["ending"] == "complete"
    assert (row["ending"], row["estimated"]) == ("client_disconnected", False)
    assert row["status"] == (200 if events else 499)
    assert row["prompt_tokens"] == billed["prompt_tokens"]
    assert row["completion_tokens"] == billed["completion_tokens"] >= 150
    await redis_state.wait_until_settled(caller.account_id)


@pytest.mark.parametrize("route", REASONS, ids=lambda route: route.name)
@pytest.mark.parametrize("read_on_s", [0.0, 0.5])
async def test_s3_reasoning_without_usage_is_charged_by_the_time_it_took(
    route: Route, read_on_s: float, make: MakeCaller, upstream_log: UpstreamLog, ledger: Ledger,
    redis_state: RedisState, start_gateway: StartGateway,
) -> None:  # fmt: skip
    caller = await make(MODEL)
    there = caller.at(start_gateway(read_on_s=read_on_s).url)

    directives = "[reasoning=900] [tokens=950] [rate=60]"
    mark = await leave_after(there, route, directives, upstream_log, **REASONS[route])

    row, billed = await ledger.row(caller.account_id), await upstream_log.call(mark=mark)
    assert (billed["ending"], row["ending"], row["estimated_why"]) == ("hung_up", "client_disconnected", "hung_up")
    assert billed["ended_at"] - billed["started_at"] >= read_on_s
    assert billed["completion_tokens"] < 950
    assert row["completion_tokens"] >= billed["completion_tokens"]
    await redis_state.wait_until_settled(caller.account_id)


async def test_s3_a_slow_upload_is_no_time_of_reasoning(
    make: MakeCaller, upstream_log: UpstreamLog, ledger: Ledger, start_gateway: StartGateway
) -> None:
    caller = await make(MODEL)
    gateway, upload_s, mark = start_gateway(read_on_s=0.0), 4, new_mark()
    there, bodies = caller.at(gateway.url), gateway.apps[0].worker.bodies
    fields = CHAT.fields(f"Think [tokens=950] [rate=60] [mark={mark}]", stream=True, **REASONS[CHAT])

    async def slowly() -> AsyncIterator[bytes]:
        yield b" "
        # Its time begins when the gateway has met the request.
        await wait_until(has_begun, "the upload to begin")
        await asyncio.sleep(upload_s)
        yield json.dumps(fields).encode()

    async def has_begun() -> bool:
        return bodies.held_bytes > 0

    headers = {"authorization": f"Bearer {there.key}", "content-type": "application/json"}
    async with there.http.post(there.url + CHAT.path, data=slowly(), headers=headers) as answer:
        # The first names the role only.
        for _ in range(3):
            await answer.content.readuntil(b"\n\n")

    row = await ledger.row(caller.account_id)
    assert row["estimated_why"] == "hung_up"
    assert row["total_ms"] >= 1000 * upload_s
    assert row["completion_tokens"] <= HIDDEN_TOKENS_A_SECOND * (row["total_ms"] / 1000 - upload_s) + 1


@pytest.mark.parametrize("known_by", ["capabilities", "earlier answers"])
async def test_s3_a_model_that_is_known_to_reason_is_read_on(
    known_by: str, make: MakeCaller, pool: Pool, upstream_log: UpstreamLog, ledger: Ledger
) -> None:
    model = MODEL
    if known_by == "capabilities":
        model = "demo-reasons"
        await make_model(pool, model)
        await apply(pool, seen_model(model, capabilities=("reasoning", "vision")))
    caller = await make(model)
    if known_by == "earlier answers":
        await caller.chat("Think [reasoning=3] [tokens=5]")

    mark = await leave_after(caller, CHAT, "[reasoning=40] [tokens=50] [rate=100]", upstream_log, model=model)

    row = (await ledger.rows(caller.account_id, 1 + (known_by == "earlier answers")))[-1]
    assert (await upstream_log.call(mark=mark))["ending"] == "complete"
    assert (row["ending"], row["estimated"], row["completion_tokens"]) == ("client_disconnected", False, 50)


@pytest.mark.parametrize("off", [{}, {"reasoning_effort": "none"}, {"reasoning": {"enabled": False}}, {"think": False}])
async def test_s3_without_reasoning_the_model_is_cancelled_at_once(
    off: dict[str, object], make: MakeCaller, upstream_log: UpstreamLog, ledger: Ledger
) -> None:
    caller = await make(MODEL)

    mark = await leave_after(caller, CHAT, "[tokens=300] [rate=100]", upstream_log, events=5, **off)

    row, billed = await ledger.row(caller.account_id), await upstream_log.call(mark=mark)
    assert (billed["ending"], row["estimated_why"]) == ("hung_up", "hung_up")
    assert billed["completion_tokens"] < 300


@pytest.mark.parametrize("events", [0, 1])
async def test_s3_leaving_before_visible_output_is_charged_at_least_the_mean_of_the_account(
    events: int, make: MakeCaller, upstream_log: UpstreamLog, ledger: Ledger
) -> None:
    caller = await make(MODEL)
    learned = [await caller.chat(f"Write [tokens={tokens}]") for tokens in (1300, 1500, 1700)]
    assert [response.status for response in learned] == [200] * 3

    # The first event names the role only.
    directives = "[tokens=9] [fault=slow-body] [delay=20]" if events else "[tokens=9] [delay=20]"
    await leave_after(caller, CHAT, directives, upstream_log, events=events)
    bounded = await leave_after(caller, CHAT, "[tokens=9] [delay=20]", upstream_log, max_tokens=70)

    *_, row, least = await ledger.rows(caller.account_id, 5)
    assert bounded
    assert row["estimated_why"] == "hung_up"
    assert row["completion_tokens"] >= 1495
    assert least["completion_tokens"] == 70
