"""Realtime sessions through the real LiteLLM: ledger, Redis and the model server's count agree however they end."""

import asyncio
import base64
import time
from collections.abc import Callable
from typing import Any

import pytest
from callers import Caller, MakeCaller, new_mark
from gateways import GatewayThread, Ledger, RedisState, StartGateway, UpstreamLog
from realtime_sessions import MODEL, open_realtime

from end_to_end.asking import disconnected, ended, tokens
from end_to_end.conftest import MeasureDrift


@pytest.fixture
async def caller(make: MakeCaller) -> Caller:
    return await make(MODEL, "demo-chat")


async def test_a_session_is_charged_what_was_billed_in_one_row(
    caller: Caller, upstream_log: UpstreamLog, ledger: Ledger, drift: MeasureDrift
) -> None:
    mark = new_mark()

    async with open_realtime(caller) as session:
        assert (await session.receive_until("session.created"))["session"]["model"] == MODEL
        first = await session.ask(f"Hello there [tokens=17] [cached=2] [mark={mark}]")
        second = await session.ask("And again [tokens=5]")

    row, billed = await ledger.row(caller.account_id), await ended(upstream_log, mark)
    reported = [event["response"]["usage"] for event in (first, second)]
    assert (row["endpoint"], row["streamed"], row["model_asked"]) == ("realtime", True, MODEL)
    assert (row["ending"], row["status"], row["estimated"], row["error_code"]) == ("completed", 101, False, None)
    assert billed["ending"] == "complete"
    assert tokens(row) == tokens(billed)
    assert row["completion_tokens"] == 22 == sum(usage["output_tokens"] for usage in reported)
    assert row["prompt_tokens"] == sum(usage["input_tokens"] for usage in reported)
    assert (row["counted_requests"], row["counted_tokens"]) == (1, row["prompt_tokens"] + 22)
    # At 1 and 2 USD a million tokens; cached ones have no price of their own.
    assert row["cost_nano_usd"] == row["counted_nano_usd"] == 1000 * row["prompt_tokens"] + 2000 * 22
    assert await drift(caller) == []


async def test_audio_is_charged_in_tokens(
    caller: Caller, upstream_log: UpstreamLog, ledger: Ledger, drift: MeasureDrift
) -> None:
    mark = new_mark()
    second_of_sound = base64.b64encode(bytes(48_000)).decode()

    async with open_realtime(caller) as session:
        await session.send_text(f"Listen [tokens=6] [mark={mark}]")
        await session.send("input_audio_buffer.append", audio=second_of_sound)
        await session.send("input_audio_buffer.commit")
        await session.send("response.create", response={"output_modalities": ["audio"]})
        usage = (await session.receive_until("response.done"))["response"]["usage"]

    assert (usage["input_token_details"]["audio_tokens"], usage["output_token_details"]["audio_tokens"]) == (10, 6)
    row, billed = await ledger.row(caller.account_id), await ended(upstream_log, mark)
    assert tokens(row) == tokens(billed) == (usage["input_tokens"], 0, 0, 6)
    assert await drift(caller) == []


async def test_a_response_the_model_starts_by_itself_is_charged(
    caller: Caller, upstream_log: UpstreamLog, ledger: Ledger, drift: MeasureDrift
) -> None:
    mark = new_mark()

    async with open_realtime(caller) as session:
        await session.send("session.update", session={"type": "realtime", "turn_detection": {"type": "server_vad"}})
        await session.send_text(f"Speak [tokens=4] [mark={mark}]")
        await session.send("input_audio_buffer.append", audio=base64.b64encode(bytes(4800)).decode())
        await session.send("input_audio_buffer.commit")
        await session.receive_until("response.done")

    row, billed = await ledger.row(caller.account_id), await ended(upstream_log, mark)
    assert tokens(row) == tokens(billed)
    assert row["completion_tokens"] == 4
    assert await drift(caller) == []


async def test_a_session_without_a_response_is_charged_one_request(
    caller: Caller, ledger: Ledger, drift: MeasureDrift
) -> None:
    async with open_realtime(caller) as session:
        await session.receive_until("session.created")

    row = await ledger.row(caller.account_id)
    assert (row["ending"], row["counted_requests"], row["counted_tokens"], row["cost_nano_usd"]) == (
        "completed",
        1,
        0,
        0,
    )
    assert row["estimated"] is False
    assert await drift(caller) == []


async def test_usage_is_charged_during_a_session_and_its_slot_is_held(
    caller: Caller, ledger: Ledger, redis_state: RedisState, drift: MeasureDrift
) -> None:
    await caller.limit("concurrency", 1)

    async with open_realtime(caller) as session:
        await session.ask("Go [tokens=2000]")
        # Before it has ended: reserved, not used.
        _, used, reserved, _ = await redis_state.counter(caller.account_id, f"T|k{caller.key_id}|lifetime")
        assert used == 0
        assert reserved >= 2000
        assert (await caller.chat()).code == "rate_limit_exceeded"

    await ledger.row(caller.account_id)
    assert await drift(caller) == []
    assert (await caller.chat()).status == 200


async def test_a_disconnect_during_a_response_is_charged_what_passed_and_reaches_the_model(
    caller: Caller, upstream_log: UpstreamLog, ledger: Ledger, drift: MeasureDrift
) -> None:
    mark = new_mark()

    async with open_realtime(caller) as session:
        done = await session.ask(f"First [tokens=10] [mark={mark}]")
        await session.send_text("Go on [tokens=150] [rate=50]")
        await session.send("response.create")
        for _ in range(20):
            await session.receive_until("response.output_text.delta")
        disconnected_at = time.time()

    row, billed = await ledger.row(caller.account_id), await disconnected(upstream_log, mark, disconnected_at)
    assert (row["ending"], row["status"], row["estimated_why"]) == ("client_disconnected", 101, "hung_up")
    assert billed["completion_tokens"] >= 30
    assert 28 <= row["completion_tokens"] < 3 * billed["completion_tokens"]
    assert row["prompt_tokens"] > done["response"]["usage"]["input_tokens"]
    assert await drift(caller) == []


async def test_a_disconnect_before_a_response_is_charged_an_estimate(
    caller: Caller, ledger: Ledger, drift: MeasureDrift
) -> None:
    async with open_realtime(caller) as session:
        await session.send_text("Wait [fault=hang]")
        await session.send("response.create")
        await session.receive_until("conversation.item.done")

    row = await ledger.row(caller.account_id)
    assert (row["ending"], row["estimated_why"], row["completion_tokens"]) == (
        "client_disconnected",
        "hung_up",
        1024,
    )
    assert await drift(caller) == []


async def test_a_cancelled_response_is_charged_what_was_billed(
    caller: Caller, upstream_log: UpstreamLog, ledger: Ledger, drift: MeasureDrift
) -> None:
    mark = new_mark()

    async with open_realtime(caller) as session:
        await session.send_text(f"Go on [tokens=150] [rate=100] [mark={mark}]")
        await session.send("response.create")
        for _ in range(5):
            await session.receive_until("response.output_text.delta")
        await session.send("response.cancel")
        assert (await session.receive_until("response.done"))["response"]["status"] == "cancelled"

    row, billed = await ledger.row(caller.account_id), await ended(upstream_log, mark)
    assert (row["ending"], row["estimated"], tokens(row)) == ("completed", False, tokens(billed))
    assert await drift(caller) == []


async def test_a_session_the_model_ends_is_charged_what_passed(
    caller: Caller, upstream_log: UpstreamLog, ledger: Ledger, drift: MeasureDrift
) -> None:
    mark = new_mark()

    async with open_realtime(caller) as session:
        await session.ask(f"First [tokens=10] [mark={mark}]")
        await session.send_text("Then [tokens=20] [fault=cut]")
        await session.send("response.create")
        events = await session.receive_all()

    assert session.close_code == 1011
    assert [event["type"] for event in events].count("error") == 1
    row, billed = await ledger.row(caller.account_id), await ended(upstream_log, mark)
    assert (row["ending"], row["estimated_why"], row["error_code"]) == ("upstream_error", "cut_off", "upstream_error")
    assert billed["completion_tokens"] - 2 <= row["completion_tokens"] < 3 * billed["completion_tokens"]
    assert await drift(caller) == []


@pytest.mark.parametrize(
    ("fault", "ending", "why"),
    [("error-event", "completed", None), ("no-usage", "completed", "no_usage"), ("429", "completed", None)],
)
async def test_a_response_that_fails_does_not_end_the_session(
    fault: str,
    ending: str,
    why: str | None,
    caller: Caller,
    upstream_log: UpstreamLog,
    ledger: Ledger,
    drift: MeasureDrift,
) -> None:
    mark = new_mark()

    async with open_realtime(caller) as session:
        await session.ask(f"Hello [tokens=30] [fault={fault}] [mark={mark}]")
        await session.ask("And [tokens=3]")

    row, billed = await ledger.row(caller.account_id), await ended(upstream_log, mark)
    assert (row["ending"], row["estimated_why"]) == (ending, why)
    if why is None:
        assert tokens(row) == tokens(billed)
    else:
        assert row["completion_tokens"] >= billed["completion_tokens"]
    assert await drift(caller) == []


@pytest.mark.parametrize("model", ["refused-realtime", "dead-realtime"])
async def test_a_session_the_model_refuses_costs_nothing(
    model: str, make: MakeCaller, ledger: Ledger, drift: MeasureDrift
) -> None:
    caller = await make(model)

    async with open_realtime(caller, f"model={model}") as session:
        events = await session.receive_all()

    # LiteLLM accepts the upgrade and then refuses.
    assert [event["type"] for event in events] == ["error"]
    assert session.close_code == 1011
    row = await ledger.row(caller.account_id)
    assert (row["ending"], row["status"], row["error_code"]) == ("refused_upstream", 502, "upstream_error")
    assert (row["counted_requests"], row["counted_tokens"], row["counted_nano_usd"]) == (0, 0, 0)
    assert await drift(caller) == []


async def test_a_realtime_model_that_stalls_is_a_timeout(
    caller: Caller, ledger: Ledger, drift: MeasureDrift, start_gateway: StartGateway
) -> None:
    async with open_realtime(caller.at(start_gateway(idle_timeout_s=1).url)) as session:
        # Silence is no timeout while no response is requested.
        await asyncio.sleep(1.5)
        await session.ask("Hello [tokens=2]")
        await session.send_text("Wait [fault=hang]")
        await session.send("response.create")
        *_, last = await session.receive_all()

    assert (last["type"], last["error"]["code"], session.close_code) == ("error", "upstream_timeout", 1011)
    row = await ledger.row(caller.account_id)
    assert (row["ending"], row["error_code"], row["completion_tokens"]) == ("timeout", "upstream_timeout", 2)
    assert await drift(caller) == []


async def test_a_session_has_a_maximum_duration(
    caller: Caller, upstream_log: UpstreamLog, ledger: Ledger, drift: MeasureDrift, start_gateway: StartGateway
) -> None:
    mark = new_mark()

    async with open_realtime(caller.at(start_gateway(session_max_s=1).url)) as session:
        await session.ask(f"Hello [tokens=2] [mark={mark}]")
        *_, last = await session.receive_all()

    assert (last["error"]["code"], session.close_code) == ("session_expired", 1001)
    assert "open another one" in last["error"]["message"]
    row, billed = await ledger.row(caller.account_id), await ended(upstream_log, mark)
    assert (row["ending"], row["error_code"], tokens(row)) == ("completed", "session_expired", tokens(billed))
    assert await drift(caller) == []


async def test_a_stopping_gateway_ends_its_sessions_between_responses(
    caller: Caller, upstream_log: UpstreamLog, ledger: Ledger, drift: MeasureDrift, start_gateway: StartGateway
) -> None:
    mark = new_mark()
    gateway: GatewayThread = start_gateway()

    async with open_realtime(caller.at(gateway.url)) as session:
        await session.send_text(f"Hello [tokens=20] [rate=40] [mark={mark}]")
        await session.send("response.create")
        await session.receive_until("response.output_text.delta")
        gateway.request_stop()
        assert (await session.receive_until("response.done"))["response"]["status"] == "completed"
        *_, last = await session.receive_all()

    assert (last["error"]["code"], session.close_code) == ("shutting_down", 1012)
    await gateway.stop_async()
    row, billed = await ledger.row(caller.account_id), await ended(upstream_log, mark)
    assert (row["ending"], row["error_code"], tokens(row)) == ("completed", "shutting_down", tokens(billed))
    assert await drift(caller) == []


async def test_a_session_can_use_only_its_own_model(caller: Caller, upstream_log: UpstreamLog, ledger: Ledger) -> None:
    mark = new_mark()

    async with open_realtime(caller, f"api_key=x&api_base=y&%6dodel={MODEL}&foo=model%3Ddemo-chat") as session:
        await session.send("session.update", session={"type": "realtime", "model": "demo-chat"})
        assert (await session.receive_until("error"))["error"]["code"] == "parameter_not_allowed"
        await session.ask(f"Hello [tokens=2] [mark={mark}]")

    billed = await ended(upstream_log, mark)
    assert (billed["model"], billed["fields"]) == (MODEL, ["model"])


async def test_a_dozen_concurrent_sessions_leave_nothing_reserved(
    caller: Caller, upstream_log: UpstreamLog, ledger: Ledger, drift: MeasureDrift
) -> None:
    marks = [new_mark() for _ in range(12)]

    async def one(mark: str) -> None:
        async with open_realtime(caller) as session:
            for _ in range(3):
                await session.ask(f"Hello [tokens=9] [mark={mark}]")

    await asyncio.gather(*map(one, marks))

    rows = await ledger.rows(caller.account_id, len(marks))
    billed = [await ended(upstream_log, mark) for mark in marks]
    count: Callable[[dict[str, int]], int] = lambda of: of["prompt_tokens"] + of["completion_tokens"]  # noqa: E731
    assert sum(map(count, rows)) == sum(map(count, billed))
    assert await drift(caller) == []


async def test_the_official_client_holds_a_session_and_gets_errors(
    caller: Caller, upstream_log: UpstreamLog, ledger: Ledger, drift: MeasureDrift
) -> None:
    import openai
    from websockets.exceptions import InvalidStatus

    mark = new_mark()
    item: Any = {"type": "message", "role": "user"}
    item["content"] = [{"type": "input_text", "text": f"Hello [tokens=12] [mark={mark}]"}]
    heard = []

    async with openai.AsyncOpenAI(base_url=f"{caller.url}/v1", api_key=caller.key) as client:
        async with client.realtime.connect(model=MODEL) as connection:
            await connection.session.update(session={"type": "realtime", "instructions": "Be kind."})
            await connection.session.update(session={"type": "realtime", "model": "gpt-realtime"})
            await connection.conversation.item.create(item=item)
            await connection.response.create()
            async for event in connection:
                heard.append(event)
                if event.type == "response.done":
                    break
        with pytest.raises(InvalidStatus) as refused:
            async with client.realtime.connect(model="nothing"):
                pass

    kinds = [event.type for event in heard]
    assert "session.created" in kinds
    assert kinds.count("response.output_text.delta") == 12
    (error,) = (event.error for event in heard if event.type == "error")
    assert error.code == "parameter_not_allowed"
    done = heard[-1].response
    row, billed = await ledger.row(caller.account_id), await ended(upstream_log, mark)
    assert tokens(row) == tokens(billed) == (done.usage.input_tokens, 0, 0, 12)
    assert refused.value.response.status_code == 404
    assert b"model_not_found" in refused.value.response.body
    assert await drift(caller) == []
