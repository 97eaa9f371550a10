"""What is read from answers as they pass, however they are cut, and what is taken out of them."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.calls import Usage
from gateway.domain.estimates import estimate_text
from gateway.endpoints.messages_events import new_messages_reader
from gateway.endpoints.responses_events import read_responses_event
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


def says(text: str, **more: Any) -> bytes:
    return event(choices=[{"index": 0, "delta": {"content": text}}], **more)


# Of six tokens, two of them hidden: the words of several bytes are cut anywhere below.
BEFORE: Final = b"".join([
    event(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}]),
    says("naïve "),
    says("日本語 "),
    says("\U0001f642 "),
    says("end"),
    event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]),
])  # fmt: skip
# As LiteLLM 1.106 writes it, and as 1.109 and OpenAI do.
WITH_CHOICE: Final = event(choices=[{"index": 0, "delta": {}}], usage=REPORTED)
WITHOUT_CHOICE: Final = event(choices=[], usage=REPORTED)
SHAPES: Final = {"with a choice": WITH_CHOICE, "without one": WITHOUT_CHOICE}


def run(meter: StreamMeter | AnswerMeter, pieces: Iterable[bytes]) -> bytes:
    """All that passes of these pieces."""
    return b"".join([*map(meter.feed, pieces), meter.finish()])


def halves(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Cut in two at every place."""
    return ((data[:n], data[n:]) for n in range(len(data) + 1))


def each_byte(data: bytes) -> list[bytes]:
    return [data[n : n + 1] for n in range(len(data))]


def assert_read(meter: StreamMeter | AnswerMeter) -> None:
    assert (meter.usage, meter.cost_usd, meter.model, meter.has_error) == (USAGE, 0.000023, "up", False)


@pytest.mark.parametrize("usage", SHAPES.values(), ids=SHAPES.keys())
def test_a_stream_cut_anywhere_passes_whole_without_the_usage_chunk(usage: bytes) -> None:
    for pieces in [*halves(BEFORE + usage + DONE), each_byte(BEFORE + usage + DONE)]:
        meter = StreamMeter(strips_usage=True)

        assert run(meter, pieces) == BEFORE + DONE
        assert_read(meter)
        assert 4 <= meter.passed_tokens <= 8


@pytest.mark.parametrize("usage", SHAPES.values(), ids=SHAPES.keys())
def test_a_stream_cut_anywhere_passes_as_it_is_where_usage_was_asked_for(usage: bytes) -> None:
    stream = BEFORE + usage + DONE
    for pieces in [*halves(stream), each_byte(stream)]:
        meter = StreamMeter(strips_usage=False)

        assert run(meter, pieces) == stream
        assert_read(meter)


@pytest.mark.parametrize("newline", [b"\r\n", b"\r"])
def test_other_line_ends_become_plain_ones_wherever_they_are_cut(newline: bytes) -> None:
    stream = (BEFORE + WITH_CHOICE + DONE).replace(b"\n", newline)
    for pieces in [*halves(stream), each_byte(stream)]:
        meter = StreamMeter(strips_usage=True)

        assert run(meter, pieces).replace(b"\r", b"\n").rstrip() == (BEFORE + DONE).rstrip()
        assert_read(meter)


def test_events_pass_as_soon_as_they_are_whole() -> None:
    meter = StreamMeter(strips_usage=True)

    assert meter.feed(says("a") + says("b")[:-1]) == says("a")
    assert meter.feed(b"\n") == says("b")


def test_an_event_too_large_passes_unread_and_is_not_held_back() -> None:
    large = says("x" * MAX_EVENT)
    meter = StreamMeter(strips_usage=True)

    assert meter.feed(large[: MAX_EVENT + 10]) == large[: MAX_EVENT + 10]
    assert meter.feed(large[MAX_EVENT + 10 :]) == large[MAX_EVENT + 10 :]
    assert meter.passed_tokens == 0


def test_what_follows_an_event_too_large_is_read_again_wherever_it_is_cut() -> None:
    large, rest = says("x" * (2 * MAX_EVENT)), WITHOUT_CHOICE + DONE
    for first in range(len(large) - 4, len(large) + 5):
        stream = large + rest
        meter = StreamMeter(strips_usage=True)

        passed = run(meter, [stream[: MAX_EVENT + 9], stream[MAX_EVENT + 9 : first], stream[first:]])

        assert passed == large + DONE
        assert_read(meter)


def test_a_stream_without_its_last_empty_line_is_read_to_its_end() -> None:
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
], ids=["fields behind", "fields before", "a comment", "no space", "two lines"])  # fmt: skip
def test_usage_is_found_whatever_else_is_in_its_event(last: bytes) -> None:
    meter = StreamMeter(strips_usage=True)

    assert run(meter, [BEFORE + last + DONE]) == BEFORE + DONE
    assert_read(meter)


def test_usage_in_a_chunk_that_says_something_stays_and_the_last_one_counts() -> None:
    # vLLM's continuous_usage_stats, and Groq.
    first = says("a", usage={"prompt_tokens": 11, "completion_tokens": 1})
    stream = first + event(choices=[{"delta": {}, "finish_reason": "stop"}], usage=REPORTED) + DONE
    meter = StreamMeter(strips_usage=True)

    assert run(meter, [stream]) == stream
    assert_read(meter)


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, {}])
def test_a_usage_that_tells_nothing_is_no_usage(usage: Any) -> None:
    stream = says("a", usage=usage) + event(choices=[], usage=usage) + DONE
    meter = StreamMeter(strips_usage=True)

    assert run(meter, [stream]) == stream
    assert (meter.usage, meter.passed_tokens) == (None, 1)


def test_an_error_event_is_seen_and_passes() -> None:
    stream = says("a") + b'data: {"error":{"message":"no","code":"500"}}\n\n' + DONE
    meter = StreamMeter(strips_usage=True)

    assert run(meter, [stream]) == stream
    assert (meter.has_error, meter.usage) == (True, None)


def test_an_error_that_is_null_is_none() -> None:
    meter = StreamMeter(strips_usage=True)

    run(meter, [says("a", error=None) + event(choices=[], error=None, usage=REPORTED)])

    assert_read(meter)


@pytest.mark.parametrize("delta", [
    {"content": "three words here"},
    {"reasoning_content": "three words here"},
    {"refusal": "three words here"},
    {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": '{"a":1}'}}]},
])  # fmt: skip
def test_all_a_model_says_is_counted_while_it_passes(delta: dict[str, Any]) -> None:
    meter = StreamMeter(strips_usage=True)

    run(meter, [event(choices=[{"delta": delta}])] * 10)

    assert 20 <= meter.passed_tokens <= 400


@pytest.mark.parametrize("odd", [
    b"data: \n\n", b"data: nonsense\n\n", b"data: []\n\n", b"data: {\n\n", b": only a comment\n\n", b"\n\n\n\n",
    b"data: " + b"[" * 5000 + b"\n\n", b"event: ping\n\n", b'data: {"choices":5}\n\n', b"data: \xff\xfe\n\n",
    b'data: {"choices":[{"delta":null}],"usage":7}\n\n', b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n',
    b'data: {"model":"\xed\xa0\x80"}\n\n', b'data: {"model":"\\ud800"}\n\n',
])  # fmt: skip
def test_what_can_not_be_read_passes(odd: bytes) -> None:
    meter = StreamMeter(strips_usage=True)

    assert run(meter, [BEFORE + odd + WITH_CHOICE + DONE]) == BEFORE + odd + DONE
    assert_read(meter)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.binary().map(lambda data: data.replace(b"\r", b""))))
def test_nothing_is_lost_or_added_whatever_comes(pieces: list[bytes]) -> None:
    assert run(StreamMeter(strips_usage=False), pieces) == b"".join(pieces)
    assert run(AnswerMeter(), pieces) == b"".join(pieces)


# --- Whole answers ---


def test_a_whole_answer_passes_at_once_and_is_read_at_its_end() -> None:
    answer = msgspec.json.encode({"model": "up", "choices": [], "usage": REPORTED})
    for pieces in [*halves(answer), each_byte(answer)]:
        meter = AnswerMeter()

        assert [meter.feed(piece) for piece in pieces] == list(pieces)
        assert meter.usage is None
        assert meter.finish() == b""
        assert_read(meter)


@pytest.mark.parametrize("answer", [
    b"", b"<html>", b"[]", b'{"usage":5}', b'{"usage":null}', b"{", b"[" * 5000, b'{"model":"\xff"}',
    b'{"choices":[{"message":{"content":"\xff"}}]}',
])  # fmt: skip
def test_a_whole_answer_that_tells_nothing_is_estimated_by_its_length(answer: bytes) -> None:
    meter = AnswerMeter()

    run(meter, [answer])

    assert meter.usage is None
    assert 0 <= meter.passed_tokens <= len(answer)


# --- What other endpoints say ---


@pytest.mark.parametrize("answer", [
    {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Nine words"}, "finish_reason": "stop"}]},
    {"choices": [{"text": "Nine words", "index": 0, "logprobs": None}], "model": "a-name-of-many-letters"},
    {"output": [{"type": "message", "content": [{"type": "output_text", "text": "Nine words"}]}], "id": "resp_0123456"},
    {"content": [{"type": "text", "text": "Nine words"}], "stop_reason": "end_turn"},
])  # fmt: skip
def test_of_a_whole_answer_that_tells_nothing_only_what_it_says_is_counted(answer: dict[str, Any]) -> None:
    meter = AnswerMeter()
    meter.feed(msgspec.json.encode(answer))
    meter.finish()

    assert meter.usage is None
    assert meter.passed_tokens == round(estimate_text(b"Nine words"))


def test_a_call_of_a_tool_counts_as_said() -> None:
    said = {"choices": [{"message": {"tool_calls": [{"function": {"name": "f", "arguments": "x " * 100}}]}}]}
    used = {"content": [{"type": "tool_use", "name": "f", "input": {"path": "x " * 100}}]}

    for answer in (said, used):
        meter = AnswerMeter()
        meter.feed(msgspec.json.encode(answer))
        meter.finish()
        assert meter.passed_tokens >= round(estimate_text(b"x " * 100))


def test_a_responses_stream_tells_its_usage_in_its_last_event() -> None:
    reported = {"input_tokens": 11, "output_tokens": 6, "input_tokens_details": {"cached_tokens": 4},
            "output_tokens_details": {"reasoning_tokens": 2}, "cost": 0.000023}  # fmt: skip
    stream = b"".join([
        event(type="response.created", response={"model": "up", "usage": None}),
        event(type="response.output_text.delta", delta="naïve "),
        event(type="response.completed", response={"model": "up", "usage": reported}),
        DONE,
    ])  # fmt: skip
    for pieces in halves(stream):
        meter = StreamMeter(strips_usage=False, read=read_responses_event)

        assert run(meter, pieces) == stream
        assert_read(meter)


@pytest.mark.parametrize("last", [
    {"type": "error", "message": "no"},
    {"type": "response.failed", "response": {"error": {"code": "server_error"}}},
    {"error": {"message": "no", "code": "500"}},
])  # fmt: skip
def test_a_responses_stream_that_fails_is_no_success(last: dict[str, Any]) -> None:
    meter = StreamMeter(strips_usage=False, read=read_responses_event)

    run(meter, [event(**last)])

    assert meter.has_error


def test_a_messages_stream_tells_its_usage_in_two_parts_and_its_input_without_what_was_cached() -> None:
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


def test_a_messages_stream_that_fails_is_no_success() -> None:
    meter = StreamMeter(strips_usage=False, read=new_messages_reader())

    run(meter, [b"event: error\n" + event(type="error", error={"type": "overloaded_error"})])

    assert meter.has_error


def test_a_whole_message_tells_its_input_without_what_was_cached() -> None:
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
def test_a_ranking_tells_its_tokens_in_several_places(answer: dict[str, Any], tokens: int | None) -> None:
    meter = AnswerMeter(read_ranking)

    run(meter, [msgspec.json.encode(answer)])

    assert meter.usage == (None if tokens is None else Usage(prompt_tokens=tokens))
