"""Responses of LiteLLM captured on the wire (1.106.2, and 1.109.1 where that differs): the usage is found, and only a
usage chunk that the caller did not ask for is removed."""

from typing import Final

import pytest

from gateway.domain.calls import Usage
from gateway.endpoints.registry import ENDPOINTS
from gateway.meter import AnswerMeter, StreamMeter

BY_NAME: Final = {endpoint.name: endpoint for endpoint in ENDPOINTS}
CHUNK: Final = b'"created":1795375046,"model":"up","object":"chat.completion.chunk","system_fingerprint":"fp_x"'
CHAT: Final = (
    b'data: {"id":"chatcmpl-1",' + CHUNK + b',"choices":[{"index":0,"delta":{"role":"assistant","content":"w0 "}}]}\n\n'
    b'data: {"id":"chatcmpl-1",' + CHUNK + b',"choices":[{"finish_reason":"stop","index":0,"delta":{}}]}\n\n'
)
TOOLS: Final = (
    b'data: {"id":"chatcmpl-2",' + CHUNK + b',"choices":[{"index":0,"delta":{"role":"assistant","tool_calls":'
    b'[{"id":"call_1","function":{"arguments":"","name":"get_weather"},"type":"function","index":0}]}}]}\n\n'
    b'data: {"id":"chatcmpl-2",' + CHUNK + b',"choices":[{"index":0,"delta":{"tool_calls":'
    b'[{"function":{"arguments":"{\\"city\\":\\"Oslo\\"}"},"type":"function","index":0}]}}]}\n\n'
    b'data: {"id":"chatcmpl-2",' + CHUNK + b',"choices":[{"finish_reason":"tool_calls","index":0,"delta":{}}]}\n\n'
)
TEXT: Final = (
    b'data: {"id":"cmpl-1","object":"text_completion","created":1795375047,"model":"up",'
    b'"choices":[{"index":0,"text":"t1 "}],"usage":{"completion_tokens":0,"prompt_tokens":0,"total_tokens":0}}\n\n'
    b'data: {"id":"cmpl-1","object":"text_completion","created":1795375047,"model":"up",'
    b'"choices":[{"finish_reason":"stop","index":0}]}\n\n'
)
REPORTED: Final = (
    b'"usage":{"completion_tokens":6,"prompt_tokens":11,"total_tokens":17,'
    b'"completion_tokens_details":{"reasoning_tokens":0,"text_tokens":6},"cost":0.000023}'
)
# The usage chunk of 1.106, whose choice is empty, and of 1.109, which has none.
CHUNKS: Final = {
    "1.106": b'data: {"id":"chatcmpl-1",' + CHUNK + b',"choices":[{"index":0,"delta":{}}],' + REPORTED + b"}\n\n",
    "1.109": b'data: {"id":"chatcmpl-1",' + CHUNK + b',"choices":[],' + REPORTED + b"}\n\n",
    "1.106, text": b'data: {"id":"cmpl-1","object":"text_completion","created":1795375047,"model":"up",'
    b'"choices":[{"index":0}],' + REPORTED + b"}\n\n",
}
DONE: Final = b"data: [DONE]\n\n"


@pytest.mark.parametrize("usage", CHUNKS.values(), ids=CHUNKS)
@pytest.mark.parametrize("content", [CHAT, TOOLS, TEXT], ids=["chat", "tools", "text"])
@pytest.mark.parametrize("strips_usage", [True, False])
def test_usage_chunks_of_both_shapes_are_read_and_removed_unless_asked_for(
    content: bytes, usage: bytes, strips_usage: bool
) -> None:
    meter = StreamMeter(strips_usage=strips_usage, read=BY_NAME["chat_completions"].new_event_reader())

    passed = meter.feed(content + usage + DONE) + meter.finish()

    assert meter.usage == Usage(prompt_tokens=11, completion_tokens=6)
    assert meter.litellm_nano_usd == 23_000
    assert passed == content + (b"" if strips_usage else usage) + DONE
    assert not meter.has_error


RESPONSES: Final = (
    b'data: {"type":"response.output_text.delta","item_id":"msg_1","output_index":0,"content_index":0,'
    b'"delta":"there","sequence_number":5,"model":"up"}\n\n'
    b'data: {"type":"response.completed","response":{"id":"resp_x","object":"response","status":"completed",'
    b'"model":"up","usage":{"input_tokens":36,"input_tokens_details":{"cached_tokens":4},"output_tokens":9,'
    b'"output_tokens_details":{"reasoning_tokens":2},"total_tokens":45,"cost":0.000054}}}\n\n' + DONE
)
# For a model of OpenAI, LiteLLM reports all usage at the end; for one of Anthropic, the input at the start.
MESSAGES: Final = (
    b'event: message_start\ndata: {"type": "message_start", "message": {"id": "msg_1", "type": "message", '
    b'"role": "assistant", "content": [], "model": "up", "usage": {"input_tokens": 0, "output_tokens": 0}}}\n\n'
    b'event: message_delta\ndata: {"type": "message_delta", "delta": {"stop_reason": "end_turn", '
    b'"stop_sequence": null}, "usage": {"input_tokens": 36, "output_tokens": 9}}\n\n'
    b'event: message_stop\ndata: {"type": "message_stop"}\n\n'
)
CLAUDE: Final = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant",'
    b'"model":"up","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":29,'
    b'"cache_creation_input_tokens":3,"cache_read_input_tokens":4,"output_tokens":1}}}\n\n'
    b'event: ping\ndata: {"type":"ping"}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
    b'"usage":{"output_tokens":9}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
ALL: Final = Usage(prompt_tokens=36, completion_tokens=9)


@pytest.mark.parametrize(("endpoint", "stream", "usage"), [
    ("responses", RESPONSES, Usage(prompt_tokens=36, completion_tokens=9, cached_tokens=4, reasoning_tokens=2)),
    ("messages", MESSAGES, ALL),
    ("messages", CLAUDE, Usage(prompt_tokens=36, completion_tokens=9, cached_tokens=4, cache_write_tokens=3)),
], ids=["responses", "messages", "messages of Anthropic"])  # fmt: skip
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_other_streams_pass_unchanged(endpoint: str, stream: bytes, usage: Usage, size: int) -> None:
    meter = StreamMeter(strips_usage=False, read=BY_NAME[endpoint].new_event_reader())

    passed = b"".join(meter.feed(stream[at : at + size]) for at in range(0, len(stream), size)) + meter.finish()

    assert (passed, meter.usage) == (stream, usage)
    assert meter.model == "up"


@pytest.mark.parametrize(("endpoint", "answer", "usage"), [
    ("chat_completions", b'{"id":"chatcmpl-1","object":"chat.completion","model":"up","choices":[{"index":0,'
     b'"finish_reason":"stop","message":{"content":"Hello","role":"assistant"}}],"usage":{"completion_tokens":9,"prompt_tokens":36,'
     b'"total_tokens":45,"completion_tokens_details":{"reasoning_tokens":0}}}', ALL),
    ("messages", b'{"id":"resp_1","type":"message","role":"assistant","model":"up","stop_sequence":null,"usage":'
     b'{"input_tokens":36,"output_tokens":9},"content":[{"type":"text","text":"Hi there"}],"stop_reason":"end_turn"}',
     ALL),
    ("embeddings", b'{"model":"up","data":[{"embedding":[0.1],"index":0,"object":"embedding"}],"object":"list","usage":'
     b'{"completion_tokens":0,"prompt_tokens":16,"total_tokens":16,"completion_tokens_details":null}}',
     Usage(prompt_tokens=16)),
    ("images", b'{"created":1795375047,"data":[{"b64_json":"aGk=","url":null}],"usage":{"total_tokens":100,'
     b'"input_tokens":50,"input_tokens_details":{"image_tokens":40,"text_tokens":10},"output_tokens":50}}',
     Usage(prompt_tokens=50, completion_tokens=50)),
    ("transcriptions", b'{"text":"hello world","usage":{"type":"tokens","input_tokens":14,"output_tokens":12,'
     b'"total_tokens":26,"input_token_details":{"audio_tokens":14,"text_tokens":0}},"language":null,"duration":null}',
     Usage(prompt_tokens=14, completion_tokens=12)),
    ("rerank", b'{"id":"rr-1","results":[{"index":1,"relevance_score":0.9}],"meta":{"billed_units":{"total_tokens":20},'
     b'"tokens":{"input_tokens":0,"output_tokens":20}}}', Usage(prompt_tokens=20)),
    ("moderations", b'{"id":"modr-1","model":"up","results":[{"flagged":false,"categories":{}}]}', None),
], ids=lambda value: value if isinstance(value, str) else "")  # fmt: skip
def test_usage_is_read_from_whole_responses(endpoint: str, answer: bytes, usage: Usage | None) -> None:
    meter = AnswerMeter(BY_NAME[endpoint].read_answer)

    assert meter.feed(answer) + meter.finish() == answer
    assert meter.usage == usage
