"""Which fields of a body are allowed, how one is opened, and what becomes of `metadata`. Cases S1 and D5."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from gateway import metrics
from gateway.domain.errors import GatewayError
from gateway.endpoints.allowed_fields import (
    ALLOWED_FIELDS,
    LISTED_FIELDS,
    UNSAFE_FIELDS,
    AllowedFields,
    parse_opened,
    why_unsafe,
)
from gateway.endpoints.chat import parse_chat
from gateway.endpoints.messages import parse_count, parse_messages
from gateway.endpoints.parameters import LITELLM_METADATA, LITELLM_PARAMETERS
from gateway.endpoints.registry import ENDPOINTS
from gateway.endpoints.requests import Call
from gateway.endpoints.responses import parse_compact, parse_input_tokens, parse_responses
from gateway.endpoints.text import parse_embedding
from gateway.refused_fields import MAX_LINES, RefusedFields

Parse = Callable[..., Call]
MESSAGES = [{"role": "user", "content": "Hello"}]
BODIES: dict[str, tuple[Parse, dict[str, Any]]] = {
    "chat_completions": (parse_chat, {"model": "m", "messages": MESSAGES}),
    "messages": (parse_messages, {"model": "m", "max_tokens": 9, "messages": MESSAGES}),
    "count_tokens": (parse_count, {"model": "m", "messages": MESSAGES}),
    "responses": (parse_responses, {"model": "m", "input": "Hello"}),
    "responses_compact": (parse_compact, {"model": "m", "input": "Hello"}),
    "responses_input_tokens": (parse_input_tokens, {"model": "m", "input": "Hello"}),
    "embeddings": (parse_embedding, {"model": "m", "input": "Hello"}),
}


def parse(endpoint: str, allowed: AllowedFields = ALLOWED_FIELDS, **fields: Any) -> dict[str, Any]:
    """What is forwarded of the endpoint's body with these fields."""
    read, body = BODIES[endpoint]
    return dict(json.loads(bytes(read(json.dumps(body | fields).encode(), allowed).body)))  # type: ignore[arg-type]


def refused(endpoint: str, allowed: AllowedFields = ALLOWED_FIELDS, **fields: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        parse(endpoint, allowed, **fields)
    return caught.value


def test_every_endpoint_has_a_list() -> None:
    assert {endpoint.name for endpoint in ENDPOINTS} | {"realtime"} == LISTED_FIELDS.keys()


@pytest.mark.parametrize("endpoint", LISTED_FIELDS)
def test_s1_no_list_has_a_field_that_is_unsafe(endpoint: str) -> None:
    unsafe = {name for name in LISTED_FIELDS[endpoint] if why_unsafe(endpoint, name)}

    # The id that a realtime session reports; LiteLLM reads no such key of an event.
    assert unsafe == ({"id"} if endpoint == "realtime" else set())


@pytest.mark.parametrize("endpoint", BODIES)
@pytest.mark.parametrize("name", ["router_settings_override", "fallbacks", "unheard_of", "Temperature", "", "modél"])
def test_s1_a_field_that_is_not_listed_is_refused_by_name(endpoint: str, name: str) -> None:
    error = refused(endpoint, **{name: {"model": "x"}})

    assert (error.status, error.code, error.param) == (400, "parameter_not_allowed", name)
    assert f"'{name}'" in error.message
    assert f"LITEMAAS_ALLOWED_FIELDS={endpoint}:" in error.message


@pytest.mark.parametrize("name", [*UNSAFE_FIELDS["*"], "router_settings_override", "fallbacks"])
def test_s1_unsafe_fields_are_opened_by_their_full_spelling_only(name: str) -> None:
    with pytest.raises(ValueError, match=f"chat_completions:unsafe:{name}"):
        parse_opened(f"chat_completions:{name}")

    opened = AllowedFields(parse_opened(f"chat_completions:unsafe:{name}"))

    assert refused("chat_completions", **{name: "x"}).param == name
    assert parse("chat_completions", opened, **{name: "x"})[name] == "x"
    assert refused("messages", opened, **{name: "x"}).param == name


def test_s1_litellms_own_parameters_are_unsafe() -> None:
    assert len(LITELLM_PARAMETERS) > 200
    assert all(why_unsafe("chat_completions", name) for name in (*LITELLM_PARAMETERS, "vertex_x", "_x", "aws_x"))


def test_a_field_is_opened_for_one_endpoint() -> None:
    opened = AllowedFields(parse_opened(" chat_completions:best_of , messages:beta_thing,"))

    assert parse("chat_completions", opened, best_of=2)["best_of"] == 2
    assert parse("messages", opened, beta_thing=[1])["beta_thing"] == [1]
    assert refused("messages", opened, best_of=2).param == "best_of"


@pytest.mark.parametrize("text", ["best_of", "chat:best_of", "chat_completions:", "chat_completions:unsafe:best_of"])
def test_a_setting_without_effect_is_reported(text: str) -> None:
    with pytest.raises(ValueError, match=text):
        parse_opened(text)


def test_d5_null_is_absence() -> None:
    sent = parse("chat_completions", fallbacks=None, unheard_of=None, metadata=None, tools=None, temperature=None)

    assert sent.keys() == {"model", "messages", "tools", "temperature"}


# --- tools ---


@pytest.mark.parametrize("tool", [
    {"type": "mcp", "server_label": "x", "server_url": "litellm_proxy"},
    {"type": "file_search", "vector_store_ids": ["vs_1"]},
    {"type": "mcp_toolset", "mcp_server_name": "x"},
    {"type": "advisor_20260301", "name": "advisor", "model": "other"},
    {"type": "image_generation", "model": "other"},
    {"type": "image_generation", "input_image_mask": {"file_id": "file-1"}},
    {"type": "image_generation", "input_image_mask": {"svg": {"model": "x"}}},
    {"type": "code_interpreter", "container": "cntr_1"},
    {"type": "function", "name": "f", "googleMaps": {}},
    {"type": "function", "enterpriseWebSearch": {}},
    {"type": "custom", "name": "f", "googleSearchRetrieval": {}},
    {"name": "f", "computerUse": {}},
    {"type": "namespace", "name": "n", "tools": [{"type": "whatever_new"}]},
    {"type": "namespace", "name": "n", "tools": [{"googleMaps": {}}]},
    {"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-1"]}},
    {"type": "namespace", "name": "n", "tools": [{"type": "mcp", "server_url": "http://x"}]},
    {"type": "function", "function": {"name": "f"}, "server_url": "http://x"},
    {"type": "MCP", "server_label": "x"},
    {"type": "litellm_web_search"},
    {"mcp": {"server_url": "http://x"}},
    {"retrieval": {"vertexRagStore": {}}},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("endpoint", ["chat_completions", "responses", "messages"])
def test_s1_a_tool_that_reaches_elsewhere_is_refused(endpoint: str, tool: dict[str, Any]) -> None:
    error = refused(endpoint, tools=[{"type": "function", "name": "f", "function": {"name": "f"}}, tool])

    assert (error.code, error.param) == ("parameter_not_allowed", "tools")


@pytest.mark.parametrize(("endpoint", "tool"), [
    ("responses", {"type": "local_shell"}),
    ("responses", {"type": "custom", "name": "apply_patch", "format": {"type": "grammar"}}),
    ("responses", {"type": "namespace", "name": "n", "description": "d", "tools": [{"type": "function", "name": "f"}]}),
    ("responses", {"type": "tool_search"}),
    ("responses", {"type": "web_search"}),
    ("responses", {"type": "code_interpreter", "container": {"type": "auto"}}),
    ("responses", {"type": "function", "name": "f", "parameters": {"properties": {"model": {}, "server_url": {}}}}),
    ("messages", {"name": "Bash", "input_schema": {"properties": {"file_ids": {"type": "array"}}}}),
    ("messages", {"type": None, "name": "Bash", "input_schema": {}}),
    ("messages", {"type": "bash_20250124", "name": "bash"}),
    ("messages", {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"}),
    ("chat_completions", {"type": "function", "function": {"name": "mcp"}}),
    ("chat_completions", {"googleSearch": {}, "urlContext": {}}),
])  # fmt: skip
def test_d5_tools_that_the_caller_runs_pass_unchanged(endpoint: str, tool: dict[str, Any]) -> None:
    assert parse(endpoint, tools=[tool])["tools"] == [tool]


@pytest.mark.parametrize("endpoint", ["chat_completions", "responses"])
@pytest.mark.parametrize("value", ["scale", "Flex", 7, ["flex"]])
def test_s4_a_service_tier_above_the_price_of_the_model_is_refused(endpoint: str, value: Any) -> None:
    assert refused(endpoint, service_tier=value).code == "parameter_not_allowed"
    opened = AllowedFields(parse_opened(f"{endpoint}:unsafe:values.service_tier"))
    assert parse(endpoint, opened, service_tier=value)["service_tier"] == value


@pytest.mark.parametrize("endpoint", ["chat_completions", "responses", "messages"])
@pytest.mark.parametrize("value", ["priority", "fast", "ultrafast", "balanced"])
def test_d3_a_dear_service_tier_is_let_through_for_the_price_to_judge(endpoint: str, value: str) -> None:
    read, fields = BODIES[endpoint]
    body = json.dumps(fields | {"service_tier": value}).encode()
    opened = AllowedFields(parse_opened(f"{endpoint}:unsafe:values.service_tier"))

    judged, by_operator = (read(body, allowed) for allowed in (ALLOWED_FIELDS, opened))

    assert (judged.service_tier, judged.tier_to_price) == (value, value)
    assert (by_operator.service_tier, by_operator.tier_to_price) == (value, None)
    assert f"{endpoint}:unsafe:values.service_tier" in ALLOWED_FIELDS.refuse_tier(endpoint, "m", value).message


@pytest.mark.parametrize(("name", "value"), [("speed", "fast"), ("inference_geo", "us")])
def test_s4_a_field_that_raises_the_price_of_a_token_is_refused(name: str, value: str) -> None:
    error = refused("messages", **{name: value})

    assert (error.code, error.param) == ("parameter_not_allowed", name)


@pytest.mark.parametrize("value", ["auto", "default", "flex", None])
def test_d5_a_service_tier_at_the_price_of_the_model_passes(value: str | None) -> None:
    assert parse("responses", service_tier=value)["service_tier"] == value


def test_a_tool_type_is_opened() -> None:
    opened = AllowedFields(parse_opened("responses:unsafe:tools.mcp,responses:unsafe:tools.server_url"))
    tool = {"type": "mcp", "server_label": "x", "server_url": "http://x"}

    assert parse("responses", opened, tools=[tool])["tools"] == [tool]


# --- files and items of others ---


def part(kind: str, **fields: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": "é"}, {"type": kind, **fields}]}


GEMINI_FILE = "https://generativelanguage.googleapis.com/v1beta/files/abc"
ESCAPED = {
    "file_id": r"fil\u0065_id",
    "item_reference": r"item\u005freference",
    "gs://": r"gs:\/\/",
    "s3://": r"s\u0033://",
    "generativelanguage": r"\u0067enerativelanguage",
    "files/": r"files\u002F",
}


@pytest.mark.parametrize(("endpoint", "fields"), [
    ("chat_completions", {"messages": [part("file", file={"file_id": "file-1"})]}),
    ("responses", {"input": [part("input_image", file_id="file-1")]}),
    ("responses", {"input": [part("input_file", file_id="file-1")]}),
    ("responses", {"input": [{"type": "item_reference", "id": "msg_1"}]}),
    ("responses", {"input": [{"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1", "code": "x"}]}),
    ("responses", {"input": [{"id": "msg_1"}]}),
    ("responses", {"input": [{"id": "msg_1", "status": "completed"}]}),
    ("responses", {"input": [{"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}]}),
    ("responses", {"input": [{"type": "additional_tools", "role": "developer", "tools": [{"type": "mcp"}]}]}),
    ("responses", {"input": [{"type": "additional_tools", "tools": [{"type": "web_search", "server_url": "http://x"}]}]}),
    ("responses", {"input": [{"id": "msg_1", "type": None}]}),
    ("chat_completions", {"messages": [part("image_url", image_url={"url": "gs://bucket/a.png"})]}),
    ("chat_completions", {"messages": [part("image_url", image_url="gs://bucket/a.png")]}),
    ("chat_completions", {"messages": [part("image_url", image_url={"url": "https://x/?gs://bucket/a.png"})]}),
    ("chat_completions", {"messages": [part("file", file={"file_data": "gs://bucket/a.pdf"})]}),
    ("chat_completions", {"messages": [part("video_url", video_url={"url": "s3://bucket/a.mp4"})]}),
    ("chat_completions", {"messages": [part("input_audio", input_audio={"data": "gs://bucket/a.wav"})]}),
    ("chat_completions", {"messages": [part("image_url", image_url={"url": GEMINI_FILE})]}),
    ("responses", {"input": [part("input_image", image_url="gs://bucket/a.png")]}),
    ("responses", {"input": [part("input_file", file_url=GEMINI_FILE)]}),
    ("messages", {"messages": [part("image", source={"type": "url", "url": "gs://bucket/a.png"})]}),
    ("embeddings", {"input": "gs://bucket/a.png"}),
    ("embeddings", {"input": ["text", "s3://bucket/a.mp4"]}),
    ("embeddings", {"input": ["files/abc"]}),
    ("embeddings", {"input": [{"image": "gs://bucket/a.png"}]}),
    ("messages", {"messages": [part("document", source={"type": "file", "file_id": "f"})]}),
    ("messages", {"messages": [part("container_upload", file_id="f")]}),
    ("messages", {"messages": [part("tool_result", content=[{"source": {"type": "file", "file_id": "f"}}])]}),
])  # fmt: skip
def test_s1_a_file_or_item_of_another_is_refused(endpoint: str, fields: dict[str, Any]) -> None:
    assert refused(endpoint, **fields).code == "parameter_not_allowed"

    # The same with letters of the words escaped.
    read, body = BODIES[endpoint]
    raw = json.dumps(body | fields)
    for word, escaped in ESCAPED.items():
        raw = raw.replace(word, escaped)
    with pytest.raises(GatewayError, match="is not allowed"):
        read(raw.encode())


@pytest.mark.parametrize(("endpoint", "fields"), [
    ("responses", {"input": [part("input_image", file_id=None, image_url="data:image/png;base64,AA==")]}),
    ("responses", {"input": [part("output_text", text="x", annotations=[{"type": "file_citation", "file_id": "f"}])]}),
    ("chat_completions", {"messages": [{"role": "user", "content": 'say "file_id" and item_reference'}]}),
    ("chat_completions", {"messages": [{"role": "user", "content": "copy gs://bucket/a to files/b"}]}),
    ("chat_completions", {"messages": [part("image_url", image_url={"url": "https://example.org/files/a.png"})]}),
    ("messages", {"messages": [part("tool_use", id="t", name="copy", input={"url": "gs://bucket/a"})]}),
    ("embeddings", {"input": ["how to copy from gs://bucket to files/x", "https://example.org/files/a"]}),
])  # fmt: skip
def test_d5_words_about_files_pass(endpoint: str, fields: dict[str, Any]) -> None:
    assert parse(endpoint, **fields).items() >= fields.items()


# --- metadata ---

CASE = {"tags": "blue", "endpoint": "/checkout", "deployment": "eu1", "guardrails": ["x"], "customer": "42"}


@pytest.mark.parametrize("endpoint", ["chat_completions", "embeddings"])
@pytest.mark.parametrize("metadata", [CASE, {}, [], "x", 7, {name: "x" for name in LITELLM_METADATA}], ids=range(6))
def test_d5_metadata_is_put_where_litellm_reads_nothing(endpoint: str, metadata: Any) -> None:
    assert parse(endpoint, metadata=metadata)["metadata"] == {"application": metadata}


@pytest.mark.parametrize("endpoint", ["responses_compact", "responses_input_tokens"])
def test_d18_metadata_beside_responses_is_not_sent(endpoint: str) -> None:
    assert "metadata" not in parse(endpoint, metadata=CASE)


def test_d5_metadata_of_a_response_keeps_what_litellm_does_not_read() -> None:
    sent = parse("responses", metadata=CASE | {"user_api_key_x": "1", "_y": "2"})["metadata"]

    assert sent["customer"] == "42"
    assert {name.removeprefix("app_"): value for name, value in sent.items()} == CASE | {
        "user_api_key_x": "1",
        "_y": "2",
    }
    assert not sent.keys() & LITELLM_METADATA
    assert not [name for name in sent if name.startswith(("_", "user_api_key", "litellm_"))]


@pytest.mark.parametrize("endpoint", ["messages", "count_tokens"])
def test_d5_metadata_of_a_message_is_the_user_id(endpoint: str) -> None:
    assert parse(endpoint, metadata={"user_id": "u", "tags": ["a"]})["metadata"] == {"user_id": "u"}
    assert "metadata" not in parse(endpoint, metadata={"tags": ["a"], "user_id": None})


@pytest.mark.parametrize("endpoint", ["messages", "responses"])
def test_metadata_that_litellm_would_decode_is_refused(endpoint: str) -> None:
    assert refused(endpoint, metadata='{"tags": ["a"]}').code == "invalid_request"


# --- what else is the model's to judge ---


@pytest.mark.parametrize(("endpoint", "fields"), [
    ("chat_completions", {"stream": True, "stream_options": {"include_usage": None}}),
    ("chat_completions", {"stream": None, "stream_options": None, "n": None, "max_tokens": None}),
    ("chat_completions", {"messages": [{"role": "tool", "tool_call_id": 7, "content": {"ok": True}}]}),
    ("chat_completions", {"messages": [{"role": None, "name": 1, "content": 7, "refusal": []}]}),
    ("chat_completions", {"messages": [{"role": "user", "content": [{"type": None, "text": "x"}]}]}),
    ("chat_completions", {"user": 42}),
    ("messages", {"max_tokens": 0}),
    ("messages", {"system": None, "tools": None, "metadata": {"user_id": None}}),
])  # fmt: skip
def test_d5_what_the_vendor_allows_or_judges_itself_passes(endpoint: str, fields: dict[str, Any]) -> None:
    assert parse(endpoint, **fields)


def test_an_object_as_content_is_estimated() -> None:
    words = {"answer": "many words here " * 200}
    plain, full = (
        parse_chat(msgspec.json.encode({"model": "m", "messages": [{"role": "tool", "content": content}]}))
        for content in ({}, words)
    )

    assert full.prompt_tokens > plain.prompt_tokens + 400


# --- what the operator hears ---


def test_refusals_are_counted_and_a_sample_is_logged(logged: list[dict[str, Any]]) -> None:
    now = [100.0]
    refusals = RefusedFields(lambda: now[0])
    counter = metrics.PARAMETERS_REFUSED.labels("messages")
    before = counter._value.get()
    allowed = AllowedFields(report=refusals.report)

    names = ["x" * number for number in range(1, MAX_LINES * 2 + 1)]
    for name in names:
        refused("messages", allowed, **{name: 1})
        refused("messages", allowed, x=1)
    assert counter._value.get() - before == MAX_LINES * 4
    assert [(line["event"], line["endpoint"], line["field"]) for line in logged] == [
        ("parameter_refused", "messages", name) for name in names[:MAX_LINES]
    ]

    now[0] += 60
    refused("messages", allowed, x=1)
    assert [line["field"] for line in logged[MAX_LINES:]] == ["x"]


@pytest.mark.parametrize("name", ["sk-lm-abc", "Secret", "my password", "x" * 41, "a1"])
def test_a_name_that_is_no_plain_word_is_not_logged(name: str, logged: list[dict[str, Any]]) -> None:
    RefusedFields().report("messages", name)

    assert [line["field"] for line in logged] == ["other"]
