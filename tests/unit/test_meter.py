"""The meter reads usage from responses as they stream, however they are split, and removes only the usage chunk."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.calls import Usage
from gateway.domain.estimates import LETTER_WEIGHT, estimate_text
from gateway.endpoints.messages_events import new_messages_reader
from gateway.endpoints.output_estimates import TOKENS_PER_IMAGE
from gateway.endpoints.responses_events import new_responses_reader
from gateway.endpoints.usage_parsing import read_anthropic_answer, read_ranking
from gateway.meter import MAX_EVENT, AnswerMeter, StreamMeter

DONE: Final = b"data: [DONE]\n\n"
REPORTED: Final = {
    "prompt_tokens": 11,
    "completion_tokens": 6,
    "total_tokens": 17,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
    "cost": 0.000023,
}
USAGE: Final = Usage(prompt_tokens=11, completion_tokens=6, cached_tokens=4, reasoning_tokens=2)


def event(**chunk: Any) -> bytes:
    return b"data: " + msgspec.json.encode({"id": "x", "model": "up", **chunk}) + b"\n\n"


def content(text: str, **more: Any) -> bytes:
    return event(choices=[{"index": 0, "delta": {"content": text}}], **more)


# Six tokens, two of them hidden; the multi-byte characters are split at every byte below.
BEFORE: Final = b"".join([
    event(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}]),
    content("naïve "),
    content("日本語 "),
    content("\U0001f642 "),
    content("end"),
    event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]),
])  # fmt: skip
# As LiteLLM 1.106 writes it, and as 1.109 and OpenAI do.
WITH_CHOICE: Final = event(choices=[{"index": 0, "delta": {}}], usage=REPORTED)
WITHOUT_CHOICE: Final = event(choices=[], usage=REPORTED)
SHAPES: Final = {"with a choice": WITH_CHOICE, "without one": WITHOUT_CHOICE}


def run(meter: StreamMeter | AnswerMeter, pieces: Iterable[bytes]) -> bytes:
    """Everything the meter lets through of these pieces."""
    return b"".join([*map(meter.feed, pieces), meter.finish()])


def halves(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Every split into two pieces."""
    return ((data[:n], data[n:]) for n in range(len(data) + 1))


def each_byte(data: bytes) -> list[bytes]:
    return [data[n : n + 1] for n in range(len(data))]


def assert_read(meter: StreamMeter | AnswerMeter) -> None:
    assert (meter.usage, meter.litellm_nano_usd, meter.model, meter.has_error) == (USAGE, 23_000, "up", False)


@pytest.mark.parametrize("usage", SHAPES.values(), ids=SHAPES.keys())
def test_a_stream_split_anywhere_passes_without_its_usage_chunk(usage: bytes) -> None:
    for pieces in [*halves(BEFORE + usage + DONE), each_byte(BEFORE + usage + DONE)]:
        meter = StreamMeter(strips_usage=True)

        assert run(meter, pieces) == BEFORE + DONE
        assert_read(meter)
        assert 4 <= meter.passed_tokens <= 8


@pytest.mark.parametrize("usage", SHAPES.values(), ids=SHAPES.keys())
def test_a_stream_split_anywhere_passes_unchanged_if_usage_was_asked_for(usage: bytes) -> None:
    stream = BEFORE + usage + DONE
    for pieces in [*halves(stream), each_byte(stream)]:
        meter = StreamMeter(strips_usage=False)

        assert run(meter, pieces) == stream
        assert_read(meter)


@pytest.mark.parametrize("newline", [b"\r\n", b"\r"])
def test_other_line_endings_are_normalized_wherever_they_are_split(newline: bytes) -> None:
    stream = (BEFORE + WITH_CHOICE + DONE).replace(b"\n", newline)
    for pieces in [*halves(stream), each_byte(stream)]:
        meter = StreamMeter(strips_usage=True)

        assert run(meter, pieces).replace(b"\r", b"\n").rstrip() == (BEFORE + DONE).rstrip()
        assert_read(meter)


def test_events_pass_as_soon_as_they_are_complete() -> None:
    meter = StreamMeter(strips_usage=True)

    assert meter.feed(content("a") + content("b")[:-1]) == content("a")
    assert meter.feed(b"\n") == content("b")


def test_an_oversized_event_passes_unparsed_without_buffering() -> None:
    large = content("x" * MAX_EVENT)
    meter = StreamMeter(strips_usage=True)

    assert meter.feed(large[: MAX_EVENT + 10]) == large[: MAX_EVENT + 10]
    assert meter.feed(large[MAX_EVENT + 10 :]) == large[MAX_EVENT + 10 :]
    # Base64 like this may be an image.
    assert TOKENS_PER_IMAGE <= meter.passed_tokens < 2 * TOKENS_PER_IMAGE


def test_an_oversized_event_of_text_counts_by_its_bytes() -> None:
    large = content("some words " * (MAX_EVENT // 8))
    meter = StreamMeter(strips_usage=True)

    run(meter, [large[: MAX_EVENT + 10], large[MAX_EVENT + 10 :], content("a")])

    assert meter.passed_tokens == pytest.approx(len(large) * LETTER_WEIGHT, rel=0.01)


def test_what_is_no_json_counts_by_its_bytes() -> None:
    meter = StreamMeter(strips_usage=True)

    meter.feed(b"data: one two three four five six\n\n")

    assert meter.passed_tokens >= 5


def test_events_after_an_oversized_one_are_parsed_wherever_it_is_split() -> None:
    large, rest = content("x" * (2 * MAX_EVENT)), WITHOUT_CHOICE + DONE
    for first in range(len(large) - 4, len(large) + 5):
        stream = large + rest
        meter = StreamMeter(strips_usage=True)

        passed = run(meter, [stream[: MAX_EVENT + 9], stream[MAX_EVENT + 9 : first], stream[first:]])

        assert passed == large + DONE
        assert_read(meter)


def test_the_last_event_of_a_stream_is_read_without_its_empty_line() -> None:
    for end in (b"", b"\n"):
        meter = StreamMeter(strips_usage=True)

        assert run(meter, [BEFORE + WITHOUT_CHOICE.rstrip(b"\n") + end]) == BEFORE
        assert_read(meter)


@pytest.mark.parametrize("last", [
    event(choices=[], usage=REPORTED)[:-2] + b"\nid: 7\n\n",
    b"id: 7\nevent: message\n" + event(choices=[], usage=REPORTED),
    b": a comment\n" + event(choices=[], usage=REPORTED),
    event(choices=[], usage=REPORTED).replace(b"data: ", b"data:"),
    b'data: {"model":"up","choices":[],\ndata: "usage":' + msgspec.json.encode(REPORTED) + b"}\n\n",
], ids=["fields after", "fields before", "a comment", "no space", "two lines"])  # fmt: skip
def test_usage_is_found_beside_any_other_fields(last: bytes) -> None:
    meter = StreamMeter(strips_usage=True)

    assert run(meter, [BEFORE + last + DONE]) == BEFORE + DONE
    assert_read(meter)


def test_usage_in_a_content_chunk_stays_and_the_last_usage_counts() -> None:
    # vLLM's continuous_usage_stats, and Groq.
    first = content("a", usage={"prompt_tokens": 11, "completion_tokens": 1})
    stream = first + event(choices=[{"delta": {}, "finish_reason": "stop"}], usage=REPORTED) + DONE
    meter = StreamMeter(strips_usage=True)

    assert run(meter, [stream]) == stream
    assert_read(meter)


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, {}])
def test_an_empty_usage_object_counts_as_missing(usage: Any) -> None:
    stream = content("a", usage=usage) + event(choices=[], usage=usage) + DONE
    meter = StreamMeter(strips_usage=True)

    assert run(meter, [stream]) == stream
    assert (meter.usage, meter.passed_tokens) == (None, 1)


def test_an_error_event_is_recognized_and_passes() -> None:
    stream = content("a") + b'data: {"error":{"message":"no","code":"500"}}\n\n' + DONE
    meter = StreamMeter(strips_usage=True)

    assert run(meter, [stream]) == stream
    assert (meter.has_error, meter.usage) == (True, None)


def test_a_null_error_is_no_error() -> None:
    meter = StreamMeter(strips_usage=True)

    run(meter, [content("a", error=None) + event(choices=[], error=None, usage=REPORTED)])

    assert_read(meter)


@pytest.mark.parametrize("delta", [
    {"content": "three words here"},
    {"reasoning_content": "three words here"},
    {"refusal": "three words here"},
    {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": '{"a":1}'}}]},
])  # fmt: skip
def test_all_generated_text_is_counted_while_it_passes(delta: dict[str, Any]) -> None:
    meter = StreamMeter(strips_usage=True)

    run(meter, [event(choices=[{"delta": delta}])] * 10)

    assert 20 <= meter.passed_tokens <= 400


@pytest.mark.parametrize("odd", [
    b"data: \n\n", b"data: nonsense\n\n", b"data: []\n\n", b"data: {\n\n", b": only a comment\n\n", b"\n\n\n\n",
    b"data: " + b"[" * 5000 + b"\n\n", b"event: ping\n\n", b'data: {"choices":5}\n\n', b"data: \xff\xfe\n\n",
    b'data: {"choices":[{"delta":null}],"usage":7}\n\n', b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n',
    b'data: {"model":"\xed\xa0\x80"}\n\n', b'data: {"model":"\\ud800"}\n\n',
])  # fmt: skip
def test_unparsable_events_pass(odd: bytes) -> None:
    meter = StreamMeter(strips_usage=True)

    assert run(meter, [BEFORE + odd + WITH_CHOICE + DONE]) == BEFORE + odd + DONE
    assert_read(meter)


@settings(max_examples=50)
@given(st.lists(st.binary().map(lambda data: data.replace(b"\r", b""))))
def test_no_byte_is_lost_or_added_whatever_the_stream(pieces: list[bytes]) -> None:
    assert run(StreamMeter(strips_usage=False), pieces) == b"".join(pieces)
    assert run(AnswerMeter(), pieces) == b"".join(pieces)


# --- Whole responses ---


def test_a_whole_response_passes_as_soon_as_it_is_known_to_be_one_and_is_parsed_at_its_end() -> None:
    answer = msgspec.json.encode({"model": "up", "choices": [], "usage": REPORTED})
    for pieces in [*halves(answer), each_byte(answer)]:
        meter = AnswerMeter()

        passed = b""
        for number, piece in enumerate(pieces, 1):
            passed += meter.feed(piece)
            came = b"".join(pieces[:number])
            assert passed == (came if b'"choices"' in came else b"")
        assert meter.usage is None
        assert meter.finish() == b""
        assert_read(meter)


@pytest.mark.parametrize("answer", [
    b"", b"<html>", b"[]", b'{"usage":5}', b'{"usage":null}', b"{", b"[" * 5000, b'{"model":"\xff"}',
    b'{"choices":[{"message":{"content":"\xff"}}]}',
])  # fmt: skip
def test_a_whole_response_without_usage_is_estimated_by_its_length(answer: bytes) -> None:
    meter = AnswerMeter()

    run(meter, [answer])

    assert meter.usage is None
    assert 0 <= meter.passed_tokens <= len(answer)


# --- Other endpoints ---


@pytest.mark.parametrize("answer", [
    {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Nine words"}, "finish_reason": "stop"}]},
    {"choices": [{"text": "Nine words", "index": 0, "logprobs": None}], "model": "a-name-of-many-letters"},
    {"output": [{"type": "message", "content": [{"type": "output_text", "text": "Nine words"}]}], "id": "resp_0123456"},
    {"content": [{"type": "text", "text": "Nine words"}], "stop_reason": "end_turn"},
])  # fmt: skip
def test_the_estimate_of_a_whole_response_without_usage_counts_generated_text_only(answer: dict[str, Any]) -> None:
    meter = AnswerMeter()
    meter.feed(msgspec.json.encode(answer))
    meter.finish()

    assert meter.usage is None
    assert meter.passed_tokens == round(estimate_text(b"Nine words"))


def test_a_tool_call_counts_as_generated_text() -> None:
    with_tool_call = {"choices": [{"message": {"tool_calls": [{"function": {"name": "f", "arguments": "x " * 100}}]}}]}
    used = {"content": [{"type": "tool_use", "name": "f", "input": {"path": "x " * 100}}]}

    for answer in (with_tool_call, used):
        meter = AnswerMeter()
        meter.feed(msgspec.json.encode(answer))
        meter.finish()
        assert meter.passed_tokens >= round(estimate_text(b"x " * 100))


def test_the_usage_of_a_responses_stream_is_in_its_last_event() -> None:
    reported = {"input_tokens": 11, "output_tokens": 6, "input_tokens_details": {"cached_tokens": 4},
            "output_tokens_details": {"reasoning_tokens": 2}, "cost": 0.000023}  # fmt: skip
    stream = b"".join([
        event(type="response.created", response={"model": "up", "usage": None}),
        event(type="response.output_text.delta", delta="naïve "),
        event(type="response.completed", response={"model": "up", "usage": reported}),
        DONE,
    ])  # fmt: skip
    for pieces in halves(stream):
        meter = StreamMeter(strips_usage=False, read=new_responses_reader())

        assert run(meter, pieces) == stream
        assert_read(meter)


@pytest.mark.parametrize("last", ["response.completed", "response.incomplete"])
def test_a_responses_stream_is_over_with_its_answer(last: str) -> None:
    # Codex leaves then, without waiting for the connection's end.
    meter = StreamMeter(strips_usage=False, read=new_responses_reader())

    meter.feed(event(type="response.created", response={"model": "up", "usage": None}))
    begun = meter.is_over
    meter.feed(event(type=last, response={"model": "up", "usage": None}))

    assert (begun, meter.is_over) == (False, True)


@pytest.mark.parametrize("last", [
    {"type": "error", "message": "no"},
    {"type": "response.failed", "response": {"error": {"code": "server_error"}}},
    {"error": {"message": "no", "code": "500"}},
])  # fmt: skip
def test_a_failed_responses_stream_is_no_success(last: dict[str, Any]) -> None:
    meter = StreamMeter(strips_usage=False, read=new_responses_reader())

    run(meter, [event(**last)])

    assert meter.has_error


def test_the_usage_of_a_messages_stream_has_two_parts_and_excludes_cached_input() -> None:
    start = {"usage": {"input_tokens": 5, "cache_read_input_tokens": 4, "output_tokens": 1}, "model": "up"}
    stream = b"".join([
        b"event: message_start\n" + event(type="message_start", message=start),
        b"event: content_block_delta\n" + event(type="content_block_delta", delta={"text": "naïve "}),
        b"event: message_delta\n" + event(type="message_delta", usage={"output_tokens": 6}),
        b"event: message_stop\n" + event(type="message_stop"),
    ])  # fmt: skip
    for pieces in halves(stream):
        meter = StreamMeter(strips_usage=False, read=new_messages_reader())

        assert run(meter, pieces) == stream
        assert meter.usage == Usage(prompt_tokens=9, completion_tokens=6, cached_tokens=4)
        assert (meter.model, meter.has_error) == ("up", False)


def test_a_failed_messages_stream_is_no_success() -> None:
    meter = StreamMeter(strips_usage=False, read=new_messages_reader())

    run(meter, [b"event: error\n" + event(type="error", error={"type": "overloaded_error"})])

    assert meter.has_error


def test_the_usage_of_a_whole_message_excludes_cached_input() -> None:
    reported = {"input_tokens": 5, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2, "output_tokens": 6}
    meter = AnswerMeter(read_anthropic_answer)

    run(meter, [msgspec.json.encode({"model": "up", "usage": reported})])

    assert meter.usage == Usage(prompt_tokens=10, completion_tokens=6, cached_tokens=3, cache_write_tokens=2)


@pytest.mark.parametrize(("answer", "tokens"), [
    ({"meta": {"tokens": {"input_tokens": 20, "output_tokens": 0}}}, 20),
    ({"meta": {"tokens": {"input_tokens": 0, "output_tokens": 20}}}, 20),
    ({"meta": {"billed_units": {"total_tokens": 20}}}, 20),
    ({"usage": {"total_tokens": 20, "prompt_tokens": 20}}, 20),
    ({"meta": {}}, None),
    ({"results": []}, None),
    ({"meta": {"tokens": {"input_tokens": -5}}}, None),
])  # fmt: skip
def test_the_tokens_of_a_rerank_response_are_found_in_every_known_field(
    answer: dict[str, Any], tokens: int | None
) -> None:
    meter = AnswerMeter(read_ranking)

    run(meter, [msgspec.json.encode(answer)])

    assert meter.usage == (None if tokens is None else Usage(prompt_tokens=tokens))
