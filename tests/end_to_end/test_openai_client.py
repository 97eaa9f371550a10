"""The official `openai` client, through the gateway and LiteLLM: the ledger has what the model server billed."""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from callers import Caller, MakeCaller, new_mark
from gateways import Backends, Ledger, UpstreamLog

from admin_api.operations.models.sync import SyncReport
from end_to_end.asking import CHAT, MESSAGES, RESPONSES, Route, assert_as_billed, assert_charged_the_higher, opened
from end_to_end.conftest import MeasureDrift
from gateway.storage.postgres import Pool

if TYPE_CHECKING:
    import openai

MODELS = ("demo-chat", "vendor/demo-chat", "demo-completion", "demo-embedding")


@pytest.fixture
async def caller(make: MakeCaller) -> Caller:
    return await make(*MODELS)


@pytest.fixture
def client(caller: Caller) -> Iterator["openai.OpenAI"]:
    import openai

    with openai.OpenAI(base_url=f"{caller.url}/v1", api_key=caller.key, max_retries=0, timeout=30) as opened:
        yield opened


def said_by(mark: str, *directives: str) -> Any:
    return [{"role": "user", "content": f"Tell me [mark={mark}] {' '.join(directives)}"}]


async def test_models_and_prices_are_those_of_litellm(synced: SyncReport, pool: Pool, backends: Backends) -> None:
    assert synced.problem is None
    assert {"demo-chat", "vendor/demo-chat", "demo-completion", "demo-embedding", "fault-dead"} <= set(synced.added)
    assert synced.without_price == ["demo-unpriced"]
    assert synced.skipped == []


@pytest.mark.parametrize("model", ["demo-chat", "vendor/demo-chat"])
async def test_a_chat_is_charged_what_the_model_billed_at_the_price_of_litellm(
    model: str, client: "openai.OpenAI", caller: Caller, upstream_log: UpstreamLog, ledger: Ledger, drift: MeasureDrift
) -> None:
    mark = new_mark()

    answer = await asyncio.to_thread(client.chat.completions.create, model=model, messages=said_by(mark, "[tokens=12]"))

    row, billed = await ledger.row(caller.account_id), await upstream_log.call(mark=mark)
    assert len((answer.choices[0].message.content or "").split()) == 12
    assert answer.model == model
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (row["prompt_tokens"], 12)
    assert (row["model_asked"], row["endpoint"], row["streamed"]) == (model, "chat_completions", False)
    assert billed["call_id"] == str(row["request_id"])
    assert_as_billed(row, billed)
    assert await drift(caller) == []


@pytest.mark.parametrize("model", ["demo-chat", "vendor/demo-chat"])
@pytest.mark.parametrize("options", [None, {"include_usage": False}, {"include_usage": True}], ids=str)
@pytest.mark.parametrize("usage", ["empty", "delta"])
async def test_a_streamed_chat_has_usage_only_if_requested_and_is_charged_in_any_case(
    model: str,
    options: Any,
    usage: str,
    client: "openai.OpenAI",
    caller: Caller,
    upstream_log: UpstreamLog,
    ledger: Ledger,
) -> None:
    mark = new_mark()
    messages = said_by(mark, "[tokens=15]", f"[usage={usage}]")
    extra = {"stream_options": options} if options else {}

    def ask() -> list[Any]:
        return list(client.chat.completions.create(model=model, messages=messages, stream=True, **extra))

    chunks = await asyncio.to_thread(ask)

    row, billed = await ledger.row(caller.account_id), await upstream_log.call(mark=mark)
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    reported = [chunk.usage for chunk in chunks if chunk.usage is not None]
    assert len(text.split()) == 15
    assert {chunk.model for chunk in chunks} == {model}
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason] == ["stop"]
    if options == {"include_usage": True}:
        assert [(u.prompt_tokens, u.completion_tokens) for u in reported] == [(billed["prompt_tokens"], 15)]
    else:
        assert reported == []
    assert row["streamed"] is True
    assert_as_billed(row, billed)


@pytest.mark.parametrize("route", [CHAT, RESPONSES, MESSAGES], ids=lambda route: route.name)
async def test_closing_right_after_the_last_event_is_no_disconnect(
    route: Route, caller: Caller, ledger: Ledger, drift: MeasureDrift
) -> None:
    last = b'message_stop"}' if route is MESSAGES else b"[DONE]"

    async def leave_at_the_last() -> None:
        async with opened(caller, route, "Hello [tokens=5]", stream=True) as answer:
            await answer.content.readuntil(last + b"\n\n")

    await asyncio.gather(*(leave_at_the_last() for _ in range(8)))

    rows = await ledger.rows(caller.account_id, 8)
    assert {(row["ending"], row["estimated"], row["completion_tokens"]) for row in rows} == {("completed", False, 5)}
    assert await drift(caller) == []


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_cached_and_reasoning_tokens_are_in_the_ledger(
    stream: bool, client: "openai.OpenAI", caller: Caller, upstream_log: UpstreamLog, ledger: Ledger
) -> None:
    mark = new_mark()
    messages = said_by(mark, "[cached=10]", "[reasoning=4]", "[tokens=9]", *["word"] * 20)

    def ask() -> Any:
        answer: Any = client.chat.completions.create(model="demo-chat", messages=messages, stream=stream)
        return list(answer) if stream else answer

    await asyncio.to_thread(ask)

    row, billed = await ledger.row(caller.account_id), await upstream_log.call(mark=mark)
    assert (row["cached_tokens"], row["reasoning_tokens"], row["completion_tokens"]) == (10, 4, 9)
    assert_as_billed(row, billed)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_each_of_several_choices_is_charged(
    stream: bool, client: "openai.OpenAI", caller: Caller, upstream_log: UpstreamLog, ledger: Ledger
) -> None:
    mark = new_mark()
    messages = said_by(mark, "[tokens=6]")

    def ask() -> set[int]:
        answer: Any = client.chat.completions.create(model="demo-chat", messages=messages, n=3, stream=stream)
        return {choice.index for part in (answer if stream else [answer]) for choice in part.choices}

    seen = await asyncio.to_thread(ask)

    row, billed = await ledger.row(caller.account_id), await upstream_log.call(mark=mark)
    assert seen == {0, 1, 2}
    assert row["completion_tokens"] == 18
    assert_as_billed(row, billed)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_completion_is_charged_what_the_model_billed(
    stream: bool, client: "openai.OpenAI", caller: Caller, upstream_log: UpstreamLog, ledger: Ledger
) -> None:
    mark = new_mark()

    def ask() -> tuple[str, list[Any]]:
        answer: Any = client.completions.create(
            model="demo-completion", prompt=f"Once upon [tokens=11] [mark={mark}]", max_tokens=50, stream=stream
        )
        parts = list(answer) if stream else [answer]
        text = "".join(choice.text or "" for part in parts for choice in part.choices)
        return text, [part.usage for part in parts if part.usage is not None]

    text, reported = await asyncio.to_thread(ask)

    row, billed = await ledger.row(caller.account_id), await upstream_log.call(mark=mark)
    assert len(text.split()) == 11
    # LiteLLM 1.106 puts zeros into every chunk of a stream that was not asked for usage.
    assert [(u.prompt_tokens, u.completion_tokens) for u in reported if u.total_tokens] == (
        [] if stream else [(billed["prompt_tokens"], 11)]
    )
    assert (row["endpoint"], row["streamed"]) == ("completions", stream)
    assert_as_billed(row, billed)


@pytest.mark.parametrize("given", ["one text of five words", ["two texts", "of five words"]], ids=["text", "texts"])
async def test_embeddings_are_charged_what_the_model_billed(
    given: Any, client: "openai.OpenAI", caller: Caller, upstream_log: UpstreamLog, ledger: Ledger
) -> None:
    mark = new_mark()
    given = f"{given} [mark={mark}]" if isinstance(given, str) else [*given, f"[mark={mark}]"]

    answer = await asyncio.to_thread(client.embeddings.create, model="demo-embedding", input=given)

    row, billed = await ledger.row(caller.account_id), await upstream_log.call(mark=mark)
    assert len(answer.data) == (1 if isinstance(given, str) else 3)
    assert (row["endpoint"], row["prompt_tokens"], row["completion_tokens"]) == ("embeddings", 6, 0)
    assert_as_billed(row, billed)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_response_is_charged_what_the_model_billed(
    stream: bool, client: "openai.OpenAI", caller: Caller, upstream_log: UpstreamLog, ledger: Ledger
) -> None:
    mark = new_mark()

    def ask() -> Any:
        answer: Any = client.responses.create(
            model="demo-chat",
            input=f"Go [tokens=14] [cached=2] [reasoning=3] [mark={mark}]",
            instructions="Be brief.",
            stream=stream,
        )
        return next(event for event in answer if event.type == "response.completed").response if stream else answer

    response = await asyncio.to_thread(ask)

    row, billed = await ledger.row(caller.account_id), await upstream_log.call(mark=mark)
    assert len(response.output_text.split()) == 11
    assert (response.usage.input_tokens, response.usage.output_tokens) == (billed["prompt_tokens"], 14)
    assert (row["endpoint"], row["streamed"], row["reasoning_tokens"]) == ("responses", stream, 3)
    assert_as_billed(row, billed)


async def test_the_client_lists_the_models_of_its_key(client: "openai.OpenAI") -> None:
    listed = await asyncio.to_thread(lambda: [model.id for model in client.models.list()])
    shown = await asyncio.to_thread(client.models.retrieve, "vendor/demo-chat")

    assert listed == sorted(MODELS)
    assert shown.id == "vendor/demo-chat"


async def test_a_hundred_calls_of_all_kinds_add_up_to_the_model_servers_count(
    client: "openai.OpenAI", caller: Caller, upstream_log: UpstreamLog, ledger: Ledger, drift: MeasureDrift
) -> None:
    mark = new_mark()
    chats, texts = client.chat.completions, client.embeddings

    def ask(number: int) -> None:
        directives = (f"[tokens={1 + number % 9}]", f"[cached={number % 4}]", "[split=yes]", *["word"] * (number % 13))
        if number % 4 == 0:
            chats.create(model="demo-chat", messages=said_by(mark, *directives))
        elif number % 4 == 1:
            for _ in chats.create(model="vendor/demo-chat", messages=said_by(mark, *directives), stream=True):
                pass
        elif number % 4 == 2:
            texts.create(model="demo-embedding", input=f"[mark={mark}] " + "word " * number)
        else:
            client.completions.create(model="demo-completion", prompt=f"[mark={mark}] {' '.join(directives)}")

    async def ask_some(first: int) -> None:
        for number in range(first, 100, 5):
            await asyncio.to_thread(ask, number)

    await asyncio.gather(*map(ask_some, range(5)))

    rows, billed = await ledger.rows(caller.account_id, 100), await upstream_log.calls(mark=mark)
    assert len(billed) == 100
    for name in ("prompt_tokens", "cached_tokens", "completion_tokens"):
        assert sum(row[name] for row in rows) == sum(call[name] for call in billed)
    for row in rows:
        assert_charged_the_higher(row)
    assert {row["estimated"] for row in rows} == {False}
    assert await drift(caller) == []
