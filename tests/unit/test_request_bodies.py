"""Request bodies: decoding, checks, estimates and the rewritten body."""

import asyncio
import base64
import json
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.domain.errors import GatewayError
from gateway.domain.estimates import TOKENS_PER_ATTACHMENT
from gateway.endpoints.allowed_fields import ALLOWED_FIELDS
from gateway.endpoints.chat import parse_chat
from gateway.endpoints.media import parse_images, parse_speech
from gateway.endpoints.messages import parse_count, parse_messages
from gateway.endpoints.parameters import LITELLM_PARAMETERS
from gateway.endpoints.requests import (
    LARGE,
    MAX_DEPTH,
    Call,
    LargeBody,
    decode_fields,
    encode_fields,
    has_long_number,
    read_count,
    read_maximum,
)
from gateway.endpoints.responses import parse_responses
from gateway.endpoints.text import parse_completion, parse_embedding, parse_moderation, parse_ranking

IMAGE = "data:image/png;base64," + base64.b64encode(bytes(range(256)) * 2000).decode()


def chat(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hello"}]} | fields).encode()


def refused(body: bytes, parse: Callable[[bytes], Any] = parse_chat) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        parse(body)
    return caught.value


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=50)
@given(st.dictionaries(st.text(), json_values, max_size=8))
def test_a_rewritten_body_equals_what_was_sent(body: dict[str, Any]) -> None:
    fields = decode_fields(json.dumps(body).encode())

    assert json.loads(encode_fields(fields)) == body


@settings(max_examples=50)
@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_decoded_or_refused_with_an_error_code(body: bytes) -> None:
    codes = set()
    try:
        parse_chat(body)
    except GatewayError as error:
        codes.add(error.code)

    assert codes <= {"invalid_json", "invalid_request", "parameter_not_allowed"}


def test_the_last_value_of_a_repeated_key_is_kept_even_if_escaped() -> None:
    assert encode_fields(decode_fields(b'{"a":1,"\\u0061":[2], "b":3 }')) == b'{"a":[2],"b":3}'


@pytest.mark.parametrize("number", [b"1e300", b"0.1", b"123456789012345678901234567890", b"-0", b"1E-7"])
def test_numbers_keep_every_digit(number: bytes) -> None:
    assert encode_fields(decode_fields(b'{"x":[' + number + b"]}")) == b'{"x":[' + number + b"]}"


@pytest.mark.parametrize("number", [b"1e400", b"-1E+9999", b"9" * 400, b"1" + b"0" * 309 + b".5"])
def test_a_number_beyond_float_range_is_refused_outside_of_strings(number: bytes) -> None:
    with pytest.raises(GatewayError, match="too large"):
        decode_fields(b'{"x":[{"y":' + number + b"}]}")
    assert decode_fields(b'{"x":"\\" ' + number + b' \\\\"}')


def test_a_large_body_is_rewritten_like_any_other() -> None:
    body = b'{"a":1,"b":"' + b"x" * 2_000_000 + b'","a":[2]}'
    written = encode_fields(decode_fields(body))
    assert isinstance(written, LargeBody)

    async def sent() -> bytes:
        return b"".join([bytes(chunk) async for chunk in written.chunks()])

    once, again = asyncio.run(sent()), asyncio.run(sent())
    assert once == again == b'{"a":[2],"b":"' + b"x" * 2_000_000 + b'"}'
    assert written.size == len(once)


def test_invalid_utf8_is_found_at_the_chunk_boundaries_of_a_large_body() -> None:
    for at in (0, 1, 2, 3):
        fill = b"x" * (1024 * 1024 - 6 - at)
        assert decode_fields(b'{"a":"' + fill + "🙂".encode() + fill + b'"}')
        with pytest.raises(GatewayError, match="not UTF-8"):
            decode_fields(b'{"a":"' + fill + "🙂".encode()[:3] + fill + b'"}')


def test_nesting_depth_is_counted_outside_of_strings_only() -> None:
    deep = b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1)

    assert decode_fields(b'{"x":' + deep + b"}")
    assert decode_fields(json.dumps({"x": "[{" * 500 + '\\"[' * 50}).encode())
    assert refused(b'{"x":[' + deep + b"]}", decode_fields).code == "invalid_request"


def test_adjacent_brackets_are_not_deep() -> None:
    assert decode_fields(json.dumps({"x": [[] for _ in range(5000)]}).encode())


def test_every_litellm_parameter_is_refused_by_name() -> None:
    assert len(LITELLM_PARAMETERS) > 200
    for name in LITELLM_PARAMETERS:
        error = refused(chat(**{name: "x"}))
        assert (error.code, error.param) == ("parameter_not_allowed", name)


@pytest.mark.parametrize("field", [
    "temperature", "top_p", "stop", "seed", "logprobs", "top_logprobs", "logit_bias", "response_format", "tools",
    "tool_choice", "parallel_tool_calls", "functions", "function_call", "user", "store", "modalities", "audio",
    "prediction", "reasoning_effort", "service_tier", "stream_options", "max_tokens", "max_completion_tokens", "n",
    "presence_penalty", "frequency_penalty", "metadata", "verbosity", "safety_identifier", "prompt_cache_key",
    "guided_json", "guided_regex", "min_p", "top_k", "repetition_penalty", "chat_template_kwargs",
])  # fmt: skip
def test_model_parameters_are_not_refused(field: str) -> None:
    value = {"tools": b"[]", "service_tier": b'"flex"'}.get(field, b"{}")
    ALLOWED_FIELDS.check("chat_completions", {field: msgspec.Raw(value)})


@pytest.mark.parametrize("tool", [{"type": "function", "function": {"name": "mcp"}}, {"googleSearch": {}}, {}])
def test_tools_on_the_list_pass(tool: dict[str, Any]) -> None:
    assert parse_chat(chat(tools=[tool])).model == "m"


def test_a_count_must_be_null_absent_or_a_whole_number_in_range() -> None:
    fields = decode_fields(b'{"one":1,"most":128,"null":null}')

    assert [read_count(fields, name, 128) for name in ("one", "most", "null", "absent")] == [1, 128, None, None]


def test_the_smallest_of_several_token_limits_holds() -> None:
    fields = decode_fields(b'{"max_tokens":50,"max_completion_tokens":20,"max_output_tokens":null}')

    assert read_maximum(fields, ("max_tokens", "max_completion_tokens", "max_output_tokens")) == 20


# --- Requested units ---


def test_the_requested_units_of_a_chat_are_read() -> None:
    body = chat(stream=True, n=3, max_tokens=70)

    call = parse_chat(body)

    assert (call.model, call.is_streamed, call.choices, call.maximum, call.wants_usage) == ("m", True, 3, 70, False)
    assert call.prompt_bytes == len(body)
    assert json.loads(call.body)["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(("fields", "wants", "sent"), [
    ({"stream": True}, False, {"include_usage": True}),
    ({"stream": True, "stream_options": None}, False, {"include_usage": True}),
    ({"stream": True, "stream_options": {"include_usage": False, "x": 1}}, False, {"include_usage": True, "x": 1}),
    ({"stream": True, "stream_options": {"include_usage": True}}, True, {"include_usage": True}),
    ({"stream": False, "stream_options": {"include_usage": True}}, True, {"include_usage": True}),
    ({"stream": None}, False, None),
    ({}, False, None),
])  # fmt: skip
def test_streams_always_request_usage_and_callers_get_it_if_they_asked(
    fields: dict[str, Any], wants: bool, sent: Any
) -> None:
    call = parse_chat(chat(**fields))

    assert call.wants_usage == wants
    assert json.loads(call.body).get("stream_options") == sent


def test_an_image_counts_a_fixed_number_of_tokens_whatever_its_size() -> None:
    text = {"type": "text", "text": "What is this?"}
    small, large = (
        parse_chat(chat(messages=[{"role": "user", "content": [text, {"type": "image_url", "image_url": {"url": u}}]}]))
        for u in ("https://x/y.png", IMAGE)
    )

    assert small.prompt_tokens == large.prompt_tokens
    assert TOKENS_PER_ATTACHMENT < large.prompt_tokens < TOKENS_PER_ATTACHMENT + 20
    # `reserve: maximum` counts the bytes of texts only.
    assert large.prompt_bytes < TOKENS_PER_ATTACHMENT + 300


@pytest.mark.parametrize("part", [
    {"type": "input_audio", "input_audio": {"data": IMAGE, "format": "wav"}},
    {"type": "file", "file": {"file_data": IMAGE}},
    {"type": "video_url", "video_url": {"url": IMAGE}},
])  # fmt: skip
def test_audio_and_files_count_a_fixed_number_of_tokens(part: dict[str, Any]) -> None:
    call = parse_chat(chat(messages=[{"role": "user", "content": [part]}]))

    assert TOKENS_PER_ATTACHMENT <= call.prompt_tokens < TOKENS_PER_ATTACHMENT + 20


def test_an_image_in_a_message_or_a_response_counts_the_same() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": IMAGE}
    message = {"role": "user", "content": [{"type": "image", "source": source}]}
    item = {"role": "user", "content": [{"type": "input_image", "image_url": IMAGE}]}

    anthropic = parse_messages(json.dumps({"model": "m", "max_tokens": 5, "messages": [message]}).encode())
    response = parse_responses(json.dumps({"model": "m", "input": [item]}).encode())

    for call in (anthropic, response):
        assert TOKENS_PER_ATTACHMENT <= call.prompt_tokens < TOKENS_PER_ATTACHMENT + 20


def test_texts_tools_and_schemas_count_by_their_length() -> None:
    plain = parse_chat(chat()).prompt_tokens
    long_text = "word " * 1000

    assert parse_chat(chat(messages=[{"role": "user", "content": long_text}])).prompt_tokens > plain + 500
    assert (
        parse_chat(chat(tools=[{"type": "function", "function": {"description": long_text}}])).prompt_tokens
        > plain + 500
    )
    assert parse_chat(chat(response_format={"description": long_text})).prompt_tokens > plain + 500
    part = {"type": "text", "text": long_text}
    assert parse_chat(chat(messages=[{"role": "user", "content": [part]}])).prompt_tokens > plain + 500


def test_counting_tokens_reserves_none() -> None:
    call = parse_count(chat(max_tokens=50))

    assert (call.prompt_tokens, call.maximum, call.is_free, call.is_streamed) == (0, 0, True, False)


def test_a_background_response_is_refused() -> None:
    error = refused(json.dumps({"model": "m", "input": "x", "background": True}).encode(), parse_responses)

    assert (error.code, error.param) == ("parameter_not_allowed", "background")


@pytest.mark.parametrize(("parse", "missing"), [
    (parse_chat, "messages"), (parse_messages, "messages"), (parse_responses, "input"), (parse_completion, "prompt"),
    (parse_embedding, "input"),
])  # fmt: skip
def test_a_body_without_a_prompt_is_refused(parse: Callable[[bytes], Call], missing: str) -> None:
    error = refused(b'{"model":"m"}', parse)

    assert (error.code, error.param) == ("invalid_request", missing)


@pytest.mark.parametrize(("parse", "fields"), [
    (parse_embedding, {"input": "x"}),
    (parse_moderation, {"input": "x"}),
    (parse_ranking, {"query": "x", "documents": ["y"]}),
    (parse_images, {"prompt": "x"}),
    (parse_speech, {"input": "x"}),
])  # fmt: skip
def test_a_stream_is_refused_on_endpoints_litellm_does_not_stream(
    parse: Callable[[bytes], Call], fields: dict[str, Any]
) -> None:
    body = {"model": "m", **fields}

    error = refused(json.dumps(body | {"stream": True}).encode(), parse)

    assert (error.code, error.param) == ("parameter_not_allowed", "stream")
    assert not parse(json.dumps(body | {"stream": False}).encode()).is_streamed


def test_speech_as_events_is_refused() -> None:
    error = refused(b'{"model":"m","input":"x","stream_format":"sse"}', parse_speech)

    assert (error.code, error.param) == ("parameter_not_allowed", "stream_format")
    assert parse_speech(b'{"model":"m","input":"x","stream_format":"audio"}').model == "m"


@given(st.text("019eE+-. ", max_size=20), st.sampled_from(["", "7" * 299, "3" * 300]), st.text("0e+ ", max_size=5))
@example("x" * LARGE, "1" * 300, "")
@example("x" * (LARGE - 3), "", "1e999")
@example("1", "", "e+00 ")
@example("1", "", "e+000")
def test_long_numbers_are_found_wherever_they_are(before: str, digits: str, after: str) -> None:
    text = before + digits + after
    is_there = re.search(r"\d[eE]\+?\d{3}|\d{300}", text) is not None

    assert has_long_number(text.encode()) is is_there
