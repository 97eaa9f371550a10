"""Every failure of a model behind LiteLLM, which changes some errors: response, charge, nothing left reserved."""

import time

import pytest
from callers import Caller, MakeCaller, new_mark
from gateways import Ledger, StartGateway, UpstreamLog

from deploy.embedded.model_server.names import FAULTS
from end_to_end.asking import CHAT, asked, data_of, disconnected, opened
from end_to_end.conftest import MeasureDrift


@pytest.fixture
async def caller(make: MakeCaller) -> Caller:
    return await make("demo-chat", *FAULTS, "fault-dead")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("model", "status"), [
    ("fault-429", 429),
    ("fault-500", 500),
    ("fault-503", 503),
    ("fault-400", 400),
    ("fault-401", 502),
    # The model is unreachable, which LiteLLM reports as its own error.
    ("fault-dead", 500),
])  # fmt: skip
async def test_a_refusal_of_a_model_keeps_its_status_and_costs_nothing(
    model: str,
    status: int,
    stream: bool,
    caller: Caller,
    upstream_log: UpstreamLog,
    ledger: Ledger,
    drift: MeasureDrift,
) -> None:
    mark = new_mark()

    response = await asked(caller, CHAT, f"Hello [mark={mark}]", stream=stream, model=model)

    assert response.status == status
    assert response.error["request_id"] == response.request_id
    assert response.headers.get("retry-after") == ("7" if status == 429 else None)
    assert "sk-" not in response.error["message"]
    row = await ledger.row(caller.account_id)
    assert str(row["request_id"]) == response.request_id
    assert (row["ending"], row["status"]) == ("refused_upstream", status)
    assert (row["counted_requests"], row["counted_tokens"], row["counted_nano_usd"]) == (0, 0, 0)
    assert (row["estimated"], row["cost_nano_usd"]) == (False, 0)
    # There was no retry.
    assert len(await upstream_log.calls(mark=mark)) == (0 if model == "fault-dead" else 1)
    assert await drift(caller) == []


async def test_a_refused_credential_of_the_gateway_is_no_error_of_the_caller(caller: Caller) -> None:
    response = await asked(caller, CHAT, "Hello", model="fault-401")

    assert response.error["type"] != "authentication_error"
    assert "API key" not in response.error["message"]


@pytest.mark.parametrize("model", ["fault-cut", "fault-error-event"])
async def test_a_whole_response_that_fails_is_an_error_and_costs_nothing(
    model: str, caller: Caller, ledger: Ledger, drift: MeasureDrift
) -> None:
    response = await asked(caller, CHAT, "Hello [tokens=30]", model=model)

    row = await ledger.row(caller.account_id)
    assert (response.status, row["ending"], row["counted_tokens"]) == (500, "refused_upstream", 0)
    assert await drift(caller) == []


@pytest.mark.parametrize("model", ["fault-cut", "fault-error-event"])
async def test_a_stream_that_fails_ends_with_an_error_and_is_charged_what_passed(
    model: str, caller: Caller, upstream_log: UpstreamLog, ledger: Ledger, drift: MeasureDrift
) -> None:
    mark = new_mark()

    response = await asked(caller, CHAT, f"Hello [tokens=30] [rate=60] [mark={mark}]", stream=True, model=model)

    assert response.status == 200
    assert b'"error"' in data_of(response.body)[-1]
    row, billed = await ledger.row(caller.account_id), await upstream_log.call(mark=mark)
    assert billed["ending"] == ("cut" if model == "fault-cut" else "error")
    assert (row["ending"], row["error_code"]) == ("upstream_error", "upstream_error")
    assert (row["estimated_why"], row["counted_requests"]) == ("cut_off", 1)
    assert billed["completion_tokens"] - 2 <= row["completion_tokens"] < 3 * billed["completion_tokens"]
    assert row["prompt_tokens"] > 0
    assert await drift(caller) == []


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_response_without_usage_is_charged_an_estimate(
    stream: bool, caller: Caller, upstream_log: UpstreamLog, ledger: Ledger, drift: MeasureDrift
) -> None:
    mark = new_mark()

    response = await asked(caller, CHAT, f"Hello [tokens=20] [mark={mark}]", stream=stream, model="fault-no-usage")

    assert response.status == 200
    row, billed = await ledger.row(caller.account_id), await upstream_log.call(mark=mark)
    assert row["ending"] == "completed"
    # LiteLLM estimates the usage of such a stream and does not mark it.
    assert row["estimated_why"] == (None if stream else "no_usage")
    assert row["completion_tokens"] >= billed["completion_tokens"]
    assert row["prompt_tokens"] > 0
    assert row["cost_nano_usd"] > 0
    assert await drift(caller) == []


async def test_a_disconnect_during_a_stream_reaches_the_model_and_is_charged_what_passed(
    caller: Caller, upstream_log: UpstreamLog, ledger: Ledger, drift: MeasureDrift
) -> None:
    mark = new_mark()

    async with opened(caller, CHAT, f"Go on [tokens=500] [rate=50] [mark={mark}]", stream=True) as answer:
        for _ in range(20):
            await answer.content.readuntil(b"\n\n")
        disconnected_at = time.time()

    row = await ledger.row(caller.account_id)
    billed = await disconnected(upstream_log, mark, disconnected_at)
    assert (row["ending"], row["status"], row["estimated_why"]) == ("client_disconnected", 200, "hung_up")
    assert 18 <= row["completion_tokens"] < 3 * billed["completion_tokens"]
    assert await drift(caller) == []


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_silent_model_is_a_timeout_and_costs_nothing(
    stream: bool,
    caller: Caller,
    upstream_log: UpstreamLog,
    ledger: Ledger,
    drift: MeasureDrift,
    start_gateway: StartGateway,
) -> None:
    mark = new_mark()
    there = caller.at(start_gateway(first_byte_timeout_s=1).url)

    response = await asked(there, CHAT, f"Hello? [delay=3] [mark={mark}]", stream=stream)

    assert (response.status, response.code) == (504, "upstream_timeout")
    row = await ledger.row(caller.account_id)
    assert (row["ending"], row["counted_requests"], row["counted_tokens"]) == ("timeout", 1, 0)
    assert await drift(caller) == []
    # LiteLLM does not cancel it: output that nobody receives is not charged.
    assert len(await upstream_log.calls(mark=mark)) == 1


@pytest.mark.parametrize("model", ["fault-slow", "fault-slow-body"])
async def test_a_slow_model_is_no_timeout(
    model: str, caller: Caller, upstream_log: UpstreamLog, ledger: Ledger
) -> None:
    mark = new_mark()

    response = await asked(caller, CHAT, f"Hello [tokens=4] [mark={mark}]", stream=True, model=model)

    row, billed = await ledger.row(caller.account_id), await upstream_log.call(mark=mark)
    assert (response.status, row["ending"], row["estimated"]) == (200, "completed", False)
    assert (row["prompt_tokens"], row["completion_tokens"]) == (billed["prompt_tokens"], billed["completion_tokens"])
