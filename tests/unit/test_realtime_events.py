"""Events of a realtime session: parsed, checked and rebuilt."""

import json
from typing import Any

import pytest

from gateway.domain.calls import Usage
from gateway.domain.errors import GatewayError
from gateway.endpoints.output_parts import OutputParts
from gateway.endpoints.realtime import Subprotocols, read_client_event, read_query, upstream_query
from gateway.endpoints.realtime_events import read_server_event


def read(text: str, *, others: tuple[str, ...] = ()) -> Any:
    return read_client_event(text, "mine", lambda name: name in others)


@pytest.mark.parametrize(
    ("sent", "goes_on"),
    [
        (
            '{"type": "session.update", "session": {"model": "theirs", "model": "mine"}}',
            '{"type":"session.update","session":{"model":"mine"}}',
        ),
        (
            '{"session": {"model": "theirs"}, "type": "x", "type": "session.update", "session": {"voice": "a"}}',
            '{"session":{"voice":"a"},"type":"session.update"}',
        ),
        (
            '{"type":"response.create","response":{"audio":{"a":1,"a":2}}}',
            '{"type":"response.create","response":{"audio":{"a":2}}}',
        ),
        ('{"type":"x","a":"\\u00e9"}', '{"type":"x","a":"\\u00e9"}'),
    ],
)
def test_the_event_that_is_sent_on_is_the_one_that_was_checked(sent: str, goes_on: str) -> None:
    assert read(sent).text == goes_on


def test_a_transcription_may_use_the_sessions_model_or_another_one_of_the_key() -> None:
    def update(model: str) -> str:
        audio = {"input": {"transcription": {"model": model}}}
        return json.dumps({"type": "session.update", "session": {"audio": audio}})

    assert read(update("mine")).kind == "session.update"
    assert read(update("other-transcriber"), others=("other-transcriber",)).kind == "session.update"
    with pytest.raises(GatewayError, match="other-transcriber"):
        read(update("other-transcriber"))


def test_audio_counts_by_its_duration_and_text_by_its_characters() -> None:
    second = "A" * (48_000 * 4 // 3)
    assert read(json.dumps({"type": "input_audio_buffer.append", "audio": second})).tokens == pytest.approx(
        10, rel=0.01
    )

    def item(*content: dict[str, str]) -> str:
        return json.dumps({"type": "conversation.item.create", "item": {"type": "message", "content": content}})

    assert 4 + 10 <= read(item({"type": "input_audio", "audio": second})).tokens <= 4 + 11
    assert read(item({"type": "input_image", "image_url": "data:" + "x" * 10**6})).tokens == 4 + 800
    assert 10 < read(item({"type": "input_text", "text": "how many words are in this text"})).tokens < 20


def done(usage: dict[str, Any] | None) -> str:
    response = {"id": "r", "status": "completed", "usage": usage}
    return json.dumps({"type": "response.done", "response": response})


@pytest.mark.parametrize(
    ("text", "usage"),
    [
        (
            done(
                {"input_tokens": 9, "output_tokens": 4, "input_token_details": {"cached_tokens": 3, "audio_tokens": 5}}
            ),
            Usage(prompt_tokens=9, completion_tokens=4, cached_tokens=3, audio_prompt_tokens=5),
        ),
        (done(None), None),
        (done({"input_tokens": -9, "output_tokens": 40}), None),
        (done({"input_tokens": 0, "output_tokens": 0}), None),
        ('{"type":"response.created","response":{"usage":{"input_tokens":9}}}', None),
        (
            '{"type":"conversation.item.input_audio_transcription.completed",'
            '"usage":{"type":"duration","seconds":2.5}}',
            Usage(audio_ms=2500),
        ),
        (
            '{"type":"conversation.item.input_audio_transcription.completed",'
            '"usage":{"type":"tokens","input_tokens":7,"output_tokens":2}}',
            Usage(prompt_tokens=7, completion_tokens=2),
        ),
        ("no json", None),
        ("[]", None),
        ('{"type":5}', None),
    ],
)
def test_usage_is_found_in_every_known_field(text: str, usage: Usage | None) -> None:
    assert read_server_event(text, OutputParts()).usage == usage


def test_generated_output_counts_while_it_streams() -> None:
    parts = OutputParts()

    def delta(kind: str, text: str) -> float:
        return read_server_event(json.dumps({"type": kind, "response_id": "r", "delta": text}), parts).said_tokens

    assert delta("response.output_text.delta", "word ") == 1
    assert delta("response.output_audio.delta", "A" * (4800 * 4 // 3)) == pytest.approx(2)
    assert delta("response.audio.delta", "A" * (4800 * 4 // 3)) == pytest.approx(2)
    assert delta("conversation.item.input_audio_transcription.delta", "speech") == 0


def test_s3_output_of_a_session_counts_once_in_whatever_event_it_comes() -> None:
    parts, words = OutputParts(), "one two three four five"

    def said(kind: str, **fields: object) -> float:
        about = {"type": kind, "event_id": "event_1", "response_id": "resp_1", "output_index": 0}
        return read_server_event(json.dumps(about | fields), parts).said_tokens

    # In deltas, and repeated at their end.
    assert said("response.output_text.delta", item_id="a", content_index=0, delta=words) >= 5
    assert said("response.output_text.done", item_id="a", content_index=0, text=words) == 0
    content = [{"type": "output_text", "text": words}]
    assert said("response.output_item.done", item={"id": "a", "type": "message", "content": content}) == 0
    # Without deltas.
    assert said("response.function_call_arguments.done", item_id="b", call_id="c", name="f", arguments=words) >= 5
    assert said("response.output_item.done", item={"id": "b", "type": "function_call", "arguments": words}) == 0
    assert said("response.output_item.done", item={"id": "d", "type": "message", "content": content}) >= 5
    # Not documented.
    assert said("response.newer.delta", item_id="e", delta={"parts": [words]}) >= 5
    assert said("response.newer.piece", item_id="f", newer=words) >= 5
    # Nothing but names.
    assert said("response.output_audio.done", item_id="g", content_index=0) == 0
    assert (
        said("response.content_part.added", item_id="g", content_index=0, part={"type": "audio", "transcript": ""}) == 0
    )


def test_a_query_names_one_model_and_is_rebuilt() -> None:
    assert read_query(b"a=b&model=vendor%2Freal-time%26x&model_=2") == "vendor/real-time&x"
    assert upstream_query("vendor/real-time&intent=x") == "model=vendor%2Freal-time%26intent%3Dx"


def test_a_key_is_never_chosen_as_the_subprotocol() -> None:
    offer = Subprotocols.read(["openai-insecure-api-key.sk-1", "realtime", "openai-beta.realtime-v1"])

    assert (offer.keys, offer.chosen, offer.is_beta) == (("sk-1",), "realtime", True)
    assert Subprotocols.read([]).chosen is None
    with pytest.raises(GatewayError):
        Subprotocols.read(["openai-insecure-api-key.sk-1"])
