"""What is forwarded to the upstream, and which headers of its response reach the caller."""

import json
from collections.abc import AsyncIterator

import pytest
from callers import CHAT, Caller, chat_body
from gateways import Ledger, StartGateway
from multidict import CIMultiDict
from recording_upstream import RecordingUpstream

ANSWER = json.dumps({"model": "x", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}).encode()
# LiteLLM reads credentials, retries, tags and more from headers.
DANGEROUS = {
    "x-litellm-api-key": "sk-stolen",
    "x-litellm-num-retries": "3",
    "x-litellm-call-id": "mine",
    "x-litellm-end-user-id": "somebody",
    "x-litellm-tags": "a,b",
    "x-litellm-timeout": "1",
    "x-goog-api-key": "stolen",
    "x-mcp-auth": "stolen",
    "ocp-apim-subscription-key": "stolen",
    "x-request-id": "mine",
    "x-forwarded-for": "10.0.0.1",
    "forwarded": "for=10.0.0.1",
    "cookie": "token=stolen",
    "accept-encoding": "gzip",
    "x-api-base": "http://127.0.0.1:1",
    "openai-organization": "org-other",
    "langfuse-trace-id": "x",
    "x-stainless-retry-count": "2",
    "range": "bytes=0-1",
    "expect": "",
}
PASSED = {
    "user-agent": "OpenAI/Python 3.54.0",
    "accept": "application/json",
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "tools",
    "openai-beta": "assistants=v2",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}


@pytest.fixture
async def upstream() -> AsyncIterator[RecordingUpstream]:
    async with RecordingUpstream() as server:
        server.answer(ANSWER)
        yield server


@pytest.fixture
def through(upstream: RecordingUpstream, start_gateway: StartGateway, caller: Caller) -> Caller:
    """A caller of a gateway in front of the recording upstream."""
    return caller.at(start_gateway(litellm_urls=upstream.url).url)


async def test_only_allowed_headers_reach_the_upstream(through: Caller, upstream: RecordingUpstream) -> None:
    response = await through.chat(headers=DANGEROUS | PASSED | {"x-api-key": through.key})

    assert response.status == 200
    headers = upstream.headers
    assert {name: headers.pop(name) for name in PASSED} == PASSED
    assert headers.pop("host") in upstream.url
    assert int(headers.pop("content-length")) == len(upstream.raw_body)
    assert headers == {
        "content-type": "application/json",
        "accept-encoding": "identity",
        "authorization": "Bearer sk-the-key-of-litellm",
        "x-litellm-call-id": response.request_id,
        "x-litellm-end-user-id": f"account-{through.account_id}",
    }
    assert through.key.encode() not in upstream.requests[-1]


async def test_the_upstream_path_is_constant_and_the_query_is_not_forwarded(
    through: Caller, upstream: RecordingUpstream
) -> None:
    for path in ("/v1/chat/completions?beta=true", "/chat/completions", "/chat/completions?x=1#y"):
        async with through.http.post(through.url + path, json=chat_body(), headers=through.authorization) as answer:
            assert answer.status == 200
        assert upstream.requests[-1].startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")


async def test_the_request_id_is_in_the_response_the_ledger_and_the_upstream_request(
    through: Caller, upstream: RecordingUpstream, ledger: Ledger
) -> None:
    response = await through.chat(headers={"x-request-id": "chosen-by-the-caller"})

    row = await ledger.row(through.account_id)
    assert str(row["request_id"]) == response.request_id == upstream.headers["x-litellm-call-id"]


async def test_d8_lists_on_several_lines_are_forwarded_in_order(through: Caller, upstream: RecordingUpstream) -> None:
    sent = [("anthropic-beta", "one-2025"), ("anthropic-beta", "two-2025,three-2025"), ("openai-beta", "a")]
    sent += [("openai-beta", ""), ("openai-beta", "b"), ("accept", "text/event-stream"), ("accept", "application/json")]
    headers = CIMultiDict([*sent, *through.authorization.items()])

    async with through.http.post(through.url + CHAT, json=chat_body(), headers=headers) as answer:
        assert answer.status == 200

    assert upstream.headers["anthropic-beta"] == "one-2025, two-2025,three-2025"
    assert upstream.headers["openai-beta"] in ("a, , b", "a, b")
    assert upstream.headers["accept"] == "text/event-stream, application/json"


async def test_the_last_value_of_a_repeated_field_is_forwarded_once(
    through: Caller, upstream: RecordingUpstream
) -> None:
    body = b'{"model":"fault-500","temperature":0,"temperature":1,"mod\\u0065l":"demo-chat","messages":[{"role":"user","content":"x"}]}'  # noqa: E501

    async with through.http.post(
        through.url + "/v1/chat/completions", data=body, headers=through.authorization
    ) as answer:
        assert answer.status == 200

    assert upstream.raw_body.count(b'"model"') == 1
    assert upstream.raw_body.count(b'"temperature"') == 1
    assert upstream.body == {
        "model": "demo-chat",
        "temperature": 1,
        "messages": [{"role": "user", "content": "x"}],
    }


async def test_allowed_fields_pass_unchanged_and_metadata_where_litellm_does_not_read_it(
    through: Caller, upstream: RecordingUpstream
) -> None:
    body = chat_body(
        'é \U0001f642 \\ud83d "quoted" \n',
        temperature=0.30000000000000004,
        metadata={"user_id": "claude-code"},
        guided_json={"type": "object", "properties": {"fallbacks": {"type": "string"}}},
        min_p=1e-7,
        seed=2**62,
        stop=None,
        user="somebody",
        tools=[{"type": "function", "function": {"name": "mcp", "parameters": {}}}],
        max_tokens=5,
        n=2,
    )

    response = await through.chat(body["messages"][0]["content"], **{k: v for k, v in body.items() if k != "messages"})

    assert response.status == 200
    assert upstream.body == body | {"metadata": {"application": body["metadata"]}}


async def test_headers_about_the_upstream_are_not_passed_on(through: Caller, upstream: RecordingUpstream) -> None:
    theirs = [
        "x-litellm-model-api-base: http://10.0.0.5:8000",
        "x-litellm-call-id: theirs",
        "x-litellm-response-cost: 0.5",
        "x-litellm-key-spend: 12",
        "llm_provider-x-request-id: theirs",
        "x-ratelimit-remaining-requests: 999999",
        "x-ratelimit-limit-tokens: 999999",
        "x-ratelimit-api_key-remaining-tokens: 5",
        "x-request-id: theirs",
        "server: uvicorn",
        "set-cookie: a=b",
        "retry-after: 9",
        "access-control-allow-origin: *",
    ]
    upstream.answer(ANSWER, headers=theirs)

    response = await through.chat()

    assert response.body == ANSWER
    assert {name.lower() for name in response.headers} == {
        "date",
        "content-type",
        "connection",
        "transfer-encoding",
        "x-request-id",
        *(f"x-ratelimit-{part}-{of}" for part in ("limit", "remaining", "reset") for of in ("requests", "tokens")),
    }
    assert response.headers["x-ratelimit-limit-tokens"] == "1000000"
    assert response.request_id != "theirs"


async def test_include_usage_is_added_for_a_stream_and_other_options_stay(
    through: Caller, upstream: RecordingUpstream
) -> None:
    asked_and_sent = [
        (None, {"include_usage": True}),
        ({"include_usage": False}, {"include_usage": True}),
        ({"chunk_size": 5}, {"chunk_size": 5, "include_usage": True}),
        ({"include_usage": True, "continuous_usage_stats": True}, None),
    ]
    for asked, sent in asked_and_sent:
        await through.chat(stream=True, stream_options=asked)
        assert upstream.body["stream_options"] == (sent or asked)


async def test_include_usage_is_not_added_without_a_stream(through: Caller, upstream: RecordingUpstream) -> None:
    for stream in (None, False):
        await through.chat(stream=stream)
        assert "stream_options" not in upstream.body


async def test_a_redirect_is_neither_followed_nor_passed_on(
    through: Caller, upstream: RecordingUpstream, ledger: Ledger
) -> None:
    upstream.answer(b"", status="307 Temporary Redirect", headers=[f"location: {upstream.url}/key/generate"])

    response = await through.chat()

    assert (response.status, response.code) == (502, "upstream_error")
    assert len(upstream.requests) == 1
    row = await ledger.row(through.account_id)
    assert (row["ending"], row["status"], row["counted_tokens"]) == ("refused_upstream", 502, 0)


async def test_the_callers_key_is_never_sent_upstream_whichever_header_it_came_in(
    through: Caller, upstream: RecordingUpstream
) -> None:
    for name in ("x-api-key", "api-key"):
        async with through.http.post(
            through.url + "/v1/chat/completions", json=chat_body(), headers={name: through.key}
        ) as answer:
            assert answer.status == 200
        assert through.key.encode() not in upstream.requests[-1]
        assert name not in upstream.headers
