"""Usage that an upstream reports is used, whatever stands beside it and however the stream ends (D6, S3, S5)."""

import json
from typing import Any

import pytest

from gateway.domain.calls import Usage
from gateway.endpoints.audio import read_transcript
from gateway.endpoints.chat_events import read_chat_event
from gateway.endpoints.messages_events import new_messages_reader
from gateway.endpoints.output_estimates import TOKENS_PER_IMAGE
from gateway.endpoints.responses_events import new_responses_reader
from gateway.endpoints.usage_parsing import read_answer
from gateway.meter import AnswerMeter, StreamMeter

USAGE = {"prompt_tokens": 36, "completion_tokens": 10, "total_tokens": 46}


def chunk(delta: Any = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": None}]
    return b"data: " + json.dumps({"choices": choices, **more}).encode() + b"\n\n"


def event(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def test_d6_input_reported_at_the_start_of_messages_is_known_if_the_stream_ends_early() -> None:
    meter = StreamMeter(strips_usage=False, read=new_messages_reader())
    usage = {"input_tokens": 5000, "cache_read_input_tokens": 20_000, "output_tokens": 1}

    meter.feed(event(type="message_start", message={"model": "m", "usage": usage}))
    meter.feed(event(type="content_block_delta", delta={"type": "text_delta", "text": "Hello"}))

    assert meter.usage is None
    assert meter.so_far == Usage(prompt_tokens=25_000, cached_tokens=20_000, completion_tokens=1)
    assert meter.passed_tokens == 1


@pytest.mark.parametrize("kind", ["response.cancelled", "response.failed", "response.incomplete", "response.newer"])
def test_d6_usage_in_any_event_of_a_responses_stream_is_read(kind: str) -> None:
    meter = StreamMeter(strips_usage=False, read=new_responses_reader())

    meter.feed(event(type=kind, response={"usage": {"input_tokens": 36, "output_tokens": 10}}))

    assert meter.usage == Usage(prompt_tokens=36, completion_tokens=10)


@pytest.mark.parametrize(
    ("usage", "completion"),
    [
        ({"prompt_tokens": 36, "completion_tokens": 10, "total_tokens": 736}, 700),
        ({"prompt_tokens": 36, "completion_tokens": 10, "completion_tokens_details": {"reasoning_tokens": 690}}, 700),
        ({"prompt_tokens": 36, "completion_tokens": 700, "completion_tokens_details": {"reasoning_tokens": 690}}, 700),
        ({"prompt_tokens": 36, "completion_tokens": 10, "total_tokens": 1}, 10),
    ],
)
def test_d6_thinking_reported_outside_the_completion_is_output(usage: dict[str, Any], completion: int) -> None:
    read = read_answer(json.dumps({"usage": usage}).encode())

    assert read is not None
    assert read.usage is not None
    assert (read.usage.prompt_tokens, read.usage.completion_tokens) == (36, completion)


@pytest.mark.parametrize(
    "more",
    [
        {"usage": {"prompt_tokens": 36.0, "completion_tokens": "10"}},
        {"usage": USAGE | {"prompt_tokens_details": [], "completion_tokens_details": "none"}},
        {"usage": USAGE | {"prompt_tokens_details": {"cached_tokens": {}}}},
        {"usage": USAGE, "model": 7},
        {"usage": USAGE, "model": {"name": "m"}},
    ],
)
def test_d6_a_field_of_another_type_costs_only_itself(more: dict[str, Any]) -> None:
    answer = read_answer(json.dumps(more).encode())
    streamed = read_chat_event(json.dumps({"choices": "none"} | more).encode())

    for read in (answer, streamed):
        assert read is not None
        assert read.usage == Usage(prompt_tokens=36, completion_tokens=10)


@pytest.mark.parametrize("number", [5000.5, "5e3", "-3", True, None, [], "9" * 30])
def test_d6_what_is_no_count_is_no_usage(number: Any) -> None:
    read = read_answer(json.dumps({"usage": {"prompt_tokens": number}}).encode())

    assert read is not None
    assert read.usage is None


@pytest.mark.parametrize(
    "delta",
    [
        {"role": "assistant"},
        {"function_call": {"name": "f", "arguments": "{"}},
        {"audio": {"data": "AAAA"}},
        {"images": [{"type": "image_url"}]},
        {"newer_field": {"a": 1}},
        {"content": "x"},
    ],
)
def test_s5_a_chunk_with_usage_that_says_anything_is_kept(delta: dict[str, Any]) -> None:
    meter = StreamMeter(strips_usage=True)
    data = chunk(delta, usage=USAGE)

    assert meter.feed(data) == data
    # More may come: it is what had been used by then.
    assert (meter.usage, meter.so_far) == (None, Usage(prompt_tokens=36, completion_tokens=10))


def test_d6_usage_beside_the_end_of_the_output_is_final() -> None:
    meter = StreamMeter(strips_usage=True)
    choices = [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]

    meter.feed(event(choices=choices, usage=USAGE))

    assert meter.usage == Usage(prompt_tokens=36, completion_tokens=10)


@pytest.mark.parametrize(
    "delta", [b'"images":[1e999]', b'"audio":{"x":1e999}', b'"audio":{"data":"\xff"}', b'"x":"\xff"']
)
def test_a_value_that_cannot_be_decoded_cuts_no_stream(delta: bytes) -> None:
    meter = StreamMeter(strips_usage=True)
    data = b'data: {"choices":[{"delta":{' + delta + b"}}]}\n\n"

    assert meter.feed(data) == data


def test_a_reader_that_fails_cuts_no_stream() -> None:
    def fail(_: bytes) -> None:
        raise OverflowError

    stream = StreamMeter(strips_usage=True, read=fail)
    whole = AnswerMeter(fail)

    assert stream.feed(chunk({"content": "x"})) == chunk({"content": "x"})
    assert whole.feed(b"{}") + whole.finish() == b"{}"


def test_a_duration_that_no_float_holds_is_no_duration() -> None:
    read = read_transcript(b'{"text":"hello","duration":' + b"9" * 400 + b"}")

    assert read is not None
    assert read.usage is None


def test_a_stream_whose_pieces_end_in_cr_is_passed_on_and_not_held() -> None:
    meter = StreamMeter(strips_usage=True)
    piece = b"data: {}\r\n\r\n" + b": " + b"x" * 1000 + b"\r"

    passed = sum(len(meter.feed(piece)) for _ in range(2000))

    assert passed > 900_000


@pytest.mark.parametrize("choices", [None, [], [{"index": 0, "delta": {}}], [{"index": 0, "delta": {"content": None}}]])
def test_s5_a_chunk_with_nothing_but_usage_is_removed(choices: Any) -> None:
    meter = StreamMeter(strips_usage=True)

    assert meter.feed(event(choices=choices, usage=USAGE)) == b""
    assert meter.usage is not None


def test_s5_usage_beside_fields_that_nobody_documents_is_final_and_removed() -> None:
    meter = StreamMeter(strips_usage=True)

    assert meter.feed(event(choices=[], usage=USAGE, time_info={"queue": 1}, newer="a text")) == b""
    assert meter.usage == Usage(prompt_tokens=36, completion_tokens=10)


def test_s3_fields_beside_choices_and_deltas_count() -> None:
    meter = StreamMeter(strips_usage=True)
    kept = event(choices=[{"index": 0, "delta": {}, "newer": "one two three four five"}])

    assert meter.feed(kept) == kept
    once = meter.passed_tokens
    meter.feed(event(choices=[], newer={"text": "one two three four five"}))

    assert once >= 5
    assert meter.passed_tokens >= once + 5


@pytest.mark.parametrize(
    ("delta", "least"),
    [
        ({"function_call": {"name": "get_weather", "arguments": '{"city": "Paris and London"}'}}, 8),
        ({"audio": {"data": "A" * 32_000}}, 10),
        ({"audio": {"transcript": "one two three four five"}}, 5),
        ({"images": [{"image_url": {"url": "data:"}}, {}]}, 2 * TOKENS_PER_IMAGE),
        ({"newer_field": "one two three four five"}, 5),
        ({"newer_field": {"text": "one two three four five"}}, 5),
        ({"reasoning": "one two three four five"}, 5),
    ],
)
def test_s3_every_field_of_a_delta_counts_if_no_usage_comes(delta: dict[str, Any], least: int) -> None:
    meter = StreamMeter(strips_usage=True)

    meter.feed(chunk(delta))

    assert meter.passed_tokens >= least


@pytest.mark.parametrize("field", ["text", "thinking", "partial_json", "signature", "newer"])
def test_s3_every_field_of_a_block_of_messages_counts(field: str) -> None:
    meter = StreamMeter(strips_usage=False, read=new_messages_reader())

    meter.feed(event(type="content_block_delta", index=0, delta={"type": "x", field: "one two three four five"}))

    assert meter.passed_tokens >= 5


def test_s3_a_block_that_comes_whole_counts() -> None:
    meter = StreamMeter(strips_usage=False, read=new_messages_reader())
    block = {"type": "web_search_tool_result", "tool_use_id": "t", "content": [{"title": "one two three four five"}]}

    meter.feed(event(type="content_block_start", index=0, content_block=block))

    assert meter.passed_tokens >= 5


def test_s3_an_output_item_without_deltas_counts_once_it_is_done_and_one_with_deltas_does_not_count_twice() -> None:
    meter = StreamMeter(strips_usage=False, read=new_responses_reader())
    content = [{"type": "output_text", "text": "one two three four five"}]

    meter.feed(event(type="response.output_item.done", item={"id": "a", "type": "message", "content": content}))
    once = meter.passed_tokens
    meter.feed(event(type="response.output_text.delta", item_id="b", delta="one two three four five"))
    twice = meter.passed_tokens
    meter.feed(event(type="response.output_item.done", item={"id": "b", "type": "message", "content": content}))

    assert once >= 5
    assert once < twice == meter.passed_tokens


def test_s3_partial_images_count() -> None:
    meter = StreamMeter(strips_usage=False, read=new_responses_reader())

    meter.feed(event(type="response.image_generation_call.partial_image", item_id="a", partial_image_b64="AAAA"))

    assert meter.passed_tokens == TOKENS_PER_IMAGE
