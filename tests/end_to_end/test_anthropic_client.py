"""The official `anthropic` client, through the gateway and LiteLLM, which calls the model server's responses API."""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from callers import Caller, MakeCaller, new_mark
from gateways import Ledger, UpstreamLog

from end_to_end.asking import assert_as_billed
from end_to_end.conftest import MeasureDrift

if TYPE_CHECKING:
    import anthropic


@pytest.fixture
def client(caller: Caller) -> Iterator["anthropic.Anthropic"]:
    import anthropic

    with anthropic.Anthropic(base_url=caller.url, api_key=caller.key, max_retries=0, timeout=30) as opened:
        yield opened


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("cached", [0, 3])
async def test_a_message_is_charged_what_the_model_billed(
    stream: bool, cached: int, client: "anthropic.Anthropic", caller: Caller, upstream_log: UpstreamLog, ledger: Ledger,
    drift: MeasureDrift,
) -> None:  # fmt: skip
    mark = new_mark()
    messages: Any = [{"role": "user", "content": f"Tell [tokens=13] [cached={cached}] [mark={mark}]"}]

    def ask() -> Any:
        if not stream:
            return client.messages.create(model="demo-chat", max_tokens=40, messages=messages, system="Be brief.")
        with client.messages.stream(model="demo-chat", max_tokens=40, messages=messages, system="Be brief.") as events:
            return events.get_final_message()

    message = await asyncio.to_thread(ask)

    row, billed = await ledger.row(caller.account_id), await upstream_log.call(mark=mark)
    assert len(message.content[0].text.split()) == 13
    # Anthropic's input tokens exclude cached ones; the ledger's include them.
    assert message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0) == billed["prompt_tokens"]
    assert message.usage.output_tokens == 13
    assert billed["cached_tokens"] == cached
    assert (row["endpoint"], row["streamed"]) == ("messages", stream)
    # LiteLLM reports no cost in a stream of messages.
    assert_as_billed(row, billed, tells_cost=not stream)
    assert row["cost_nano_usd"] == 1000 * billed["prompt_tokens"] + 2000 * 13
    assert await drift(caller) == []


async def test_counting_tokens_is_no_request_costs_nothing_and_no_model_answers(
    client: "anthropic.Anthropic", caller: Caller, upstream_log: UpstreamLog, ledger: Ledger, drift: MeasureDrift
) -> None:
    mark = new_mark()
    messages: Any = [{"role": "user", "content": f"How many are these? [mark={mark}]"}]

    # No count makes a counter: these are made of the ledger, and must stay as they are.
    await caller.get("/v1/limits")
    counted = await asyncio.to_thread(client.messages.count_tokens, model="demo-chat", messages=messages)

    row = await ledger.row(caller.account_id)
    assert counted.input_tokens > 5
    # LiteLLM has the provider count, which is free there too.
    assert [one["endpoint"] for one in await upstream_log.calls(mark=mark)] == ["responses_input_tokens"]
    assert (row["endpoint"], row["ending"], row["estimated"]) == ("count_tokens", "completed", False)
    assert (row["counted_requests"], row["counted_tokens"], row["cost_nano_usd"]) == (0, 0, 0)
    assert await drift(caller) == []


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_limit_refusal_is_the_clients_rate_limit_error(
    stream: bool, client: "anthropic.Anthropic", caller: Caller
) -> None:
    import anthropic

    await caller.limit("rpm", 0)

    def ask() -> None:
        with client.messages.stream(
            model="demo-chat", max_tokens=40, messages=[{"role": "user", "content": "Hello"}]
        ) as events:
            events.get_final_message()

    def ask_whole() -> None:
        client.messages.create(model="demo-chat", max_tokens=40, messages=[{"role": "user", "content": "Hello"}])

    with pytest.raises(anthropic.RateLimitError) as refused:
        await asyncio.to_thread(ask if stream else ask_whole)

    assert refused.value.response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(("fault", "kind"), [
    ("402", "billing_error"),
    ("503", "overloaded_error"),
    ("504", "timeout_error"),
    ("529", "overloaded_error"),
])  # fmt: skip
@pytest.mark.parametrize("model", ["demo-claude", "demo-chat"])
async def test_d10_what_the_model_refuses_has_anthropics_type_for_it(
    model: str, fault: str, kind: str, make: MakeCaller
) -> None:
    import anthropic

    caller = await make(model)
    messages: Any = [{"role": "user", "content": f"Hello [fault={fault}]"}]

    def ask() -> Any:
        with anthropic.Anthropic(base_url=caller.url, api_key=caller.key, max_retries=0, timeout=30) as client:
            with pytest.raises(anthropic.APIStatusError) as refused:
                client.messages.create(model=model, max_tokens=40, messages=messages)
            return refused.value

    error = await asyncio.to_thread(ask)

    # LiteLLM makes 500 of Anthropic's 529.
    assert error.status_code == (500 if (model, fault) == ("demo-claude", "529") else int(fault))
    assert error.type == kind
