"""The connection to LiteLLM: breaker, no retry of calls it may have received, and bounds on memory."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import pytest
from callers import Caller, new_mark
from gateways import Backends, GatewayThread, Ledger, RedisState, StartGateway, UpstreamLog, wait_until
from recording_upstream import RecordingUpstream

from gateway.settings import Settings


@pytest.fixture
async def broken() -> AsyncIterator[RecordingUpstream]:
    """A server that accepts each call, and each question about its health, and closes without a response."""
    async with RecordingUpstream() as server:
        server.answer_verbatim([])
        yield server


@pytest.fixture
def gateway_of_two(backends: Backends, broken: RecordingUpstream) -> Iterator[GatewayThread]:
    with GatewayThread(backends.settings(litellm_urls=f"{broken.url},{backends.model_server.url}")) as running:
        yield running


async def test_a_call_the_upstream_may_have_received_is_not_retried_and_five_failures_open_the_breaker(
    gateway_of_two: GatewayThread, broken: RecordingUpstream, caller: Caller, upstream_log: UpstreamLog, ledger: Ledger,
    redis_state: RedisState,
) -> None:  # fmt: skip
    mark = new_mark()
    there = caller.at(gateway_of_two.url)

    # Sequential, so the first address is the least busy one each time.
    statuses = [(await there.chat(f"Hello [tokens=1] [mark={mark}]")).status for _ in range(20)]

    assert statuses == [502] * 5 + [200] * 15
    assert len([request for request in broken.requests if request.startswith(b"POST")]) == 5
    assert len(await upstream_log.calls(mark=mark)) == 15
    rows = await ledger.rows(caller.account_id, 20)
    assert [row["ending"] for row in rows] == ["upstream_error"] * 5 + ["completed"] * 15
    await redis_state.wait_until_settled(caller.account_id)


async def test_the_total_size_of_bodies_in_flight_is_bounded(
    caller: Caller, start_gateway: StartGateway, upstream_log: UpstreamLog, ledger: Ledger
) -> None:
    gateway = start_gateway(max_body_bytes_in_flight=1_000_000)
    there, mark = caller.at(gateway.url), new_mark()
    prompt = f"[tokens=1] [delay=2] [mark={mark}] " + "x" * 300_000

    budget = gateway.apps[0].worker.bodies
    held = []
    for number in range(1, 4):
        held.append(asyncio.ensure_future(there.chat(prompt)))

        async def is_held(number: int = number) -> bool:
            return budget.held_bytes >= number * 300_000

        await wait_until(is_held, "the body to be there", pause_s=0.005)

    refused = await there.chats(4, prompt)

    assert [(one.status, one.code) for one in refused] == [(503, "overloaded")] * 4
    assert [one.status for one in await asyncio.gather(*held)] == [200] * 3
    assert len(await upstream_log.calls(mark=mark)) == 3
    # Refused before anything was reserved; the memory is free once the others ended.
    await ledger.rows(caller.account_id, 3)
    await gateway.holds_no_body()
    assert (await there.chat(prompt)).status == 200


async def test_a_caller_who_does_not_read_slows_the_upstream_down(caller: Caller, start_gateway: StartGateway) -> None:
    event = b"data: " + json.dumps({"choices": [{"delta": {"content": "x" * 1000}}]}).encode() + b"\n\n"
    pieces = [event * 64] * 500
    total = sum(map(len, pieces))
    async with RecordingUpstream() as upstream:
        upstream.stream(pieces, pause_s=0)
        there = caller.at(start_gateway(litellm_urls=upstream.url, idle_timeout_s=0.4).url)
        async with there.open_chat(stream=True) as answer:
            last = -1

            async def has_stopped() -> bool:
                nonlocal last
                is_same = last == upstream.sent_bytes > 0
                last = upstream.sent_bytes
                return is_same

            await wait_until(has_stopped, "the upstream to be held up", pause_s=0.5)
            # Much longer than the upstream may be silent: it is not the upstream who is.
            await asyncio.sleep(1.2)
            # What sockets and buffers in between hold.
            assert upstream.sent_bytes < total / 2
            assert len(await answer.read()) == total
    assert upstream.sent_bytes > total


def test_default_upstream_timeouts_allow_ten_minutes() -> None:
    fields = Settings.model_fields

    assert fields["first_byte_timeout_s"].default >= 600
    assert fields["idle_timeout_s"].default >= 600
