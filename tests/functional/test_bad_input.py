"""Invalid requests: refused with a gateway error code in OpenAI's shape; nothing is reserved or forwarded."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import pytest
from callers import CHAT, Caller, Response, chat_body, make_caller, send_raw
from factories import ADMIN
from gateways import GatewayThread, RedisState, UpstreamLog

from admin_api.operations.keys import keys
from admin_api.operations.people import users
from gateway.domain.errors import CODES
from gateway.domain.keys import new_key
from gateway.storage.postgres import Pool

MAX_BODY: Final = 256 * 1024
# One letter changed, so the checksum is wrong.
TYPO: Final = "(typo)"
REVOKED, EXPIRED, INACTIVE, OTHERS = "(revoked)", "(expired)", "(inactive)", "(another caller's)"
OWN: Final = "(own)"
UNKNOWN: Final = new_key()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A request and its expected response. `(name)` in a header value is replaced by a key."""

    code: str
    param: str | None = None
    method: str = "POST"
    target: str = CHAT
    headers: tuple[tuple[str, str], ...] = (("authorization", f"Bearer {OWN}"),)
    body: bytes = field(default=json.dumps(chat_body()).encode(), repr=False)


def sent(code: str, param: str | None = None, /, **fields: Any) -> Case:
    """A chat with these fields; `param` is the invalid one."""
    return Case(code=code, param=param, body=json.dumps(chat_body(**fields)).encode())


def raw(code: str, body: bytes, param: str | None = None) -> Case:
    return Case(code=code, body=body, param=param)


def by(code: str, *headers: tuple[str, str]) -> Case:
    return Case(code=code, headers=headers)


def to(code: str, target: str, method: str = "POST") -> Case:
    return Case(code=code, target=target, method=method, param="model" if code == "model_in_query" else None)


def steers(name: str, value: Any = "x") -> Case:
    """A field that controls LiteLLM."""
    return sent("parameter_not_allowed", name, **{name: value})


def nested(depth: int) -> bytes:
    return b'{"model":"demo-chat","messages":' + b"[" * depth + b"]" * depth + b"}"


CASES: Final = {
    # authentication
    "no key": by("missing_api_key"),
    "an empty bearer": by("missing_api_key", ("authorization", "Bearer ")),
    "another scheme": by("invalid_api_key", ("authorization", "Basic dXNlcjpwYXNz")),
    "a key of another provider": by("invalid_api_key", ("authorization", "Bearer sk-1234")),
    "a key with a typo": by("invalid_api_key", ("authorization", f"Bearer {TYPO}")),
    "a key in capitals": by("invalid_api_key", ("authorization", f"Bearer {UNKNOWN.upper()}")),
    "a key that is not ASCII": by("invalid_api_key", ("authorization", "Bearer sk-lm-\xe9\xff")),
    "a key of the right form nobody has": by("invalid_api_key", ("authorization", f"Bearer {UNKNOWN}")),
    "the same in x-api-key": by("invalid_api_key", ("x-api-key", UNKNOWN)),
    "two keys in two headers": by("conflicting_api_keys", ("authorization", f"Bearer {OWN}"), ("x-api-key", OTHERS)),
    "two keys in one header twice": by(
        "conflicting_api_keys", ("authorization", f"Bearer {OWN}"), ("authorization", f"Bearer {OTHERS}")
    ),
    "nonsense twice": by("invalid_api_key", ("authorization", "Bearer sk-ant-oat-x"), ("api-key", "nonsense")),
    "a key in LiteLLM's header": by("missing_api_key", ("x-litellm-api-key", OWN)),
    "a key in Google's header": by("missing_api_key", ("x-goog-api-key", OWN)),
    "a key in the query": Case(code="missing_api_key", target=f"{CHAT}?key=1", headers=()),
    "a revoked key": by("invalid_api_key", ("authorization", f"Bearer {REVOKED}")),
    "an expired key": by("api_key_expired", ("authorization", f"Bearer {EXPIRED}")),
    "a key of a user who was deactivated": by("account_suspended", ("authorization", f"Bearer {INACTIVE}")),
    # model
    "a model this key may not use": sent("model_not_found", "model", model="demo-chat-large"),
    "a model nobody has": sent("model_not_found", "model", model="gpt-99"),
    "a model in other letters": sent("model_not_found", "model", model="Demo-Chat"),
    "a model with a space behind": sent("model_not_found", "model", model="demo-chat "),
    "a model as its provider calls it": sent("model_not_found", "model", model="openai/demo-chat"),
    "a model with a zero byte": sent("model_not_found", "model", model="demo-chat\0"),
    "no model": sent("invalid_request", "model", model=None),
    "model null": raw("invalid_request", b'{"model":null,"messages":[{"role":"user","content":"x"}]}', "model"),
    "an empty model": sent("invalid_request", "model", model=""),
    "a number as model": sent("invalid_request", "model", model=5),
    "a list of models": sent("invalid_request", "model", model=["demo-chat"]),
    "models with a comma": sent("invalid_request", "model", model="demo-chat,demo-chat-large"),
    "a model name without end": sent("invalid_request", "model", model="x" * 300),
    "a model in the query": to("model_in_query", f"{CHAT}?model=demo-chat-large"),
    "the same model in the query": to("model_in_query", f"{CHAT}?model=demo-chat"),
    "a model in the query without a value": to("model_in_query", f"{CHAT}?model"),
    "a model in the query in capitals": to("model_in_query", f"{CHAT}?MODEL=x"),
    "a model in the query, a letter escaped": to("model_in_query", f"{CHAT}?%6dodel=x"),
    "a model in the query, escaped twice": to("model_in_query", f"{CHAT}?%256dodel=x"),
    "a model in the query, escaped twenty times": to("model_in_query", f"{CHAT}?%{'25' * 20}6dodel=x"),
    "a model second in the query": to("model_in_query", f"{CHAT}?beta=true&model=x"),
    "a model behind a semicolon": to("model_in_query", f"{CHAT}?beta=true;model=x"),
    "a model behind a space": to("model_in_query", f"{CHAT}?+model=x"),
    # body
    "no body": raw("invalid_json", b""),
    "not JSON": raw("invalid_json", b"model=demo-chat&messages=hi"),
    "JSON cut short": raw("invalid_json", json.dumps(chat_body()).encode()[:-1]),
    "something behind the JSON": raw("invalid_json", json.dumps(chat_body()).encode() + b" {}"),
    "single quotes": raw("invalid_json", b"{'model':'demo-chat'}"),
    "NaN": raw("invalid_json", b'{"model":"demo-chat","messages":[],"temperature":NaN}'),
    "not UTF-8": raw("invalid_json", b'{"model":"demo-chat","messages":[{"role":"user","content":"\xff"}]}'),
    "UTF-16": raw("invalid_json", json.dumps(chat_body()).encode("utf-16")),
    "an array": raw("invalid_request", b"[1,2]"),
    "a string": raw("invalid_request", b'"demo-chat"'),
    "null": raw("invalid_request", b"null"),
    "150 levels deep": raw("invalid_request", nested(150)),
    "100,000 levels deep": raw("invalid_request", nested(100_000)),
    "too large": sent("request_too_large", None, messages=[{"role": "user", "content": "x" * MAX_BODY}]),
    "too large, and wrong about it": Case(
        code="request_too_large",
        headers=(("authorization", f"Bearer {OWN}"), ("content-length", "99999999999")),
        body=b"{}",
    ),
    # fields
    "no messages": sent("invalid_request", "messages", messages=None),
    "an empty list of messages": sent("invalid_request", "messages", messages=[]),
    "a string as messages": sent("invalid_request", "messages", messages="Hello"),
    "messages that are strings": sent("invalid_request", "messages", messages=["Hello"]),
    "max_tokens below zero": sent("invalid_request", "max_tokens", max_tokens=-1),
    "max_tokens zero": sent("invalid_request", "max_tokens", max_tokens=0),
    "max_tokens as text": sent("invalid_request", "max_tokens", max_tokens="5"),
    "max_tokens with a fraction": sent("invalid_request", "max_tokens", max_tokens=1.5),
    "max_tokens as a float": raw(
        "invalid_request", json.dumps(chat_body(max_tokens=1)).replace(": 1}", ": 1e2}").encode(), "max_tokens"
    ),
    "max_tokens true": sent("invalid_request", "max_tokens", max_tokens=True),
    "max_tokens beyond all numbers": sent("invalid_request", "max_tokens", max_tokens=10**30),
    "max_completion_tokens zero": sent("invalid_request", "max_completion_tokens", max_completion_tokens=0),
    "max_output_tokens below zero": sent("invalid_request", "max_output_tokens", max_output_tokens=-5),
    "n zero": sent("invalid_request", "n", n=0),
    "n below zero": sent("invalid_request", "n", n=-3),
    "n too large": sent("invalid_request", "n", n=129),
    "n beyond all numbers": sent("invalid_request", "n", n=10**40),
    "n as text": sent("invalid_request", "n", n="2"),
    "stream as text": sent("invalid_request", "stream", stream="true"),
    "stream as a number": sent("invalid_request", "stream", stream=1),
    "stream_options as a list": sent("invalid_request", "stream_options", stream=True, stream_options=[]),
    "include_usage as text": sent(
        "invalid_request", "stream_options.include_usage", stream=True, stream_options={"include_usage": "yes"}
    ),
    "tools that are no list": sent("invalid_request", "tools", tools={"type": "function"}),
    "a tool of type mcp": sent("parameter_not_allowed", "tools", tools=[{"type": "mcp", "server_url": "http://x"}]),
    "a tool of type mcp behind another": sent(
        "parameter_not_allowed", "tools", tools=[{"type": "function", "function": {"name": "f"}}, {"type": "mcp"}]
    ),
    "a tool of type file_search": sent("parameter_not_allowed", "tools", tools=[{"type": "file_search"}]),
    # fields that control LiteLLM
    "fallbacks": steers("fallbacks", ["demo-chat-large"]),
    "fallbacks, a letter escaped": raw(
        "parameter_not_allowed",
        json.dumps(chat_body(fallbacks=["x"])).replace("fallbacks", "\\u0066allbacks").encode(),
        "fallbacks",
    ),
    "context_window_fallbacks": steers("context_window_fallbacks", []),
    "num_retries": steers("num_retries", 3),
    "max_retries": steers("max_retries", 3),
    "timeout": steers("timeout", 1),
    "api_base": steers("api_base", "http://127.0.0.1:1"),
    "base_url": steers("base_url", "http://127.0.0.1:1"),
    "api_key": steers("api_key", "sk-other"),
    "api_version": steers("api_version", "1"),
    "custom_llm_provider": steers("custom_llm_provider", "azure"),
    "model_list": steers("model_list", []),
    "mock_response": steers("mock_response", "free"),
    "mock_tool_calls": steers("mock_tool_calls", []),
    "extra_headers": steers("extra_headers", {"authorization": "x"}),
    "extra_body": steers("extra_body", {"model": "demo-chat-large"}),
    "input_cost_per_token": steers("input_cost_per_token", 0),
    "guardrails": steers("guardrails", []),
    "tags": steers("tags", ["x"]),
    "cache": steers("cache", {"no-cache": True}),
    "litellm_metadata": steers("litellm_metadata", {"tags": []}),
    "litellm_anything": steers("litellm_anything"),
    "_litellm_x": steers("_litellm_x"),
    "user_config": steers("user_config", {}),
    "specific_deployment": steers("specific_deployment", True),
    "aws_access_key_id": steers("aws_access_key_id"),
    "vertex_project": steers("vertex_project"),
    # path and query
    "a GET of what takes POST": to("method_not_allowed", CHAT, "GET"),
    "a PUT": to("method_not_allowed", CHAT, "PUT"),
    "a DELETE": to("method_not_allowed", CHAT, "DELETE"),
    "a POST of what takes GET": to("method_not_allowed", "/v1/models"),
    "the root": to("not_found", "/"),
    "a path nobody knows": to("not_found", "/v1/nothing"),
    "two slashes": to("not_found", "//v1/chat/completions"),
    "a slash behind": to("not_found", CHAT + "/"),
    "other letters": to("not_found", "/V1/Chat/Completions"),
    "a management route": to("not_found", "/key/generate"),
    "a management route by GET": to("not_found", "/user/list", "GET"),
    "a management route behind dots": to("not_found", "/v1/../key/generate"),
    "a management route behind escaped dots": to("not_found", "/v1/%2e%2e/key/generate"),
    "a management route behind dots escaped twice": to("not_found", "/v1/%252e%252e/key/generate"),
    "a management route behind the chat": to("not_found", CHAT + "/../../../key/generate"),
    "a management route with an escaped slash": to("not_found", "/v1/..%2fkey%2fgenerate"),
    "a management route behind a backslash": to("not_found", "/v1/..\\key\\generate"),
    "a management route in absolute form": to("not_found", "http://127.0.0.1/key/generate"),
    "a management route with parameters": to("not_found", "/key/generate;/v1/chat/completions"),
    "LiteLLM's alias with the model in the path": to("not_found", "/engines/demo-chat/chat/completions"),
    "Azure's path without a model": to("not_found", "/openai/deployments//chat/completions"),
    "LiteLLM's pass-through": to("not_found", "/openai_passthrough/v1/chat/completions"),
}


@dataclass(frozen=True, slots=True)
class Victims:
    """The callers of this file; `words` maps the placeholders to their keys."""

    caller: Caller
    words: dict[str, str]

    def fill(self, value: str) -> str:
        for word, key in self.words.items():
            value = value.replace(word, key)
        return value


@pytest.fixture(scope="module")
async def victims(pool: Pool, gateway: GatewayThread) -> Victims:
    async def make() -> Caller:
        return await make_caller(pool, gateway.url, None, ["demo-chat"])  # type: ignore[arg-type]  # asked verbatim

    caller, other, revoked, expired, inactive = [await make() for _ in range(5)]
    await keys.revoke_key(pool, ADMIN, revoked.key_id)
    await pool.execute("UPDATE api_keys SET expires_at = now() - interval '1 s' WHERE id = $1", expired.key_id)
    await users.update_user(pool, ADMIN, inactive.email, status="deactivated")
    typo = caller.key[:20] + ("a" if caller.key[20] != "a" else "b") + caller.key[21:]
    words = {TYPO: typo, REVOKED: revoked.key, EXPIRED: expired.key, INACTIVE: inactive.key}
    victims = Victims(caller, words | {OTHERS: other.key, OWN: caller.key})
    response = await ask(gateway, victims, Case(code=""))
    assert response.status == 200
    return victims


async def ask(gateway: GatewayThread, victims: Victims, case: Case) -> Response:
    headers = [(name, victims.fill(value)) for name, value in case.headers]
    return await asyncio.to_thread(send_raw, gateway.port, case.method, case.target, headers, case.body)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_invalid_input_gets_a_gateway_error_and_takes_nothing(
    case: Case, victims: Victims, gateway: GatewayThread, redis_state: RedisState, upstream_log: UpstreamLog
) -> None:
    await redis_state.wait_until_settled(victims.caller.account_id)
    before = await redis_state.everything(victims.caller.account_id), await upstream_log.count()

    response = await ask(gateway, victims, case)

    status, kind = CODES[case.code]
    assert (response.code, response.status) == (case.code, status)
    assert response.headers["content-type"] == "application/json"
    assert set(response.error) == {"message", "type", "param", "code", "request_id"}
    assert (response.error["type"], response.error["param"]) == (kind, case.param)
    assert response.error["message"].endswith((".", "'.", ")"))
    assert UUID(response.request_id).version == 7
    assert response.error["request_id"] == response.request_id
    assert response.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
    assert (await redis_state.everything(victims.caller.account_id), await upstream_log.count()) == before


async def test_an_error_never_repeats_the_key(victims: Victims, gateway: GatewayThread) -> None:
    for case in CASES.values():
        if case.code in ("invalid_api_key", "api_key_expired", "conflicting_api_keys", "account_suspended"):
            response = await ask(gateway, victims, case)
            assert not any(key in response.body.decode() for key in victims.words.values())


@pytest.mark.parametrize("headers", [
    (("authorization", f"Bearer {OWN}"), ("x-api-key", OWN)),
    (("authorization", f"bearer  {OWN} "), ("api-key", OWN), ("x-api-key", "")),
    (("x-api-key", OWN),),
    (("api-key", OWN),),
    (("authorization", f"Bearer {OWN}"), ("api-key", "nonsense")),
    (("authorization", "Bearer sk-ant-oat-x"), ("x-api-key", OWN)),
    (("authorization", "Basic dXNlcjpwYXNz"), ("x-api-key", OWN)),
])  # fmt: skip
async def test_one_key_is_accepted_in_every_header_and_repeated(
    headers: tuple[tuple[str, str], ...], victims: Victims, gateway: GatewayThread
) -> None:
    response = await ask(gateway, victims, Case(code="", headers=headers))

    assert response.status == 200


async def test_a_chunked_body_that_is_too_large_is_refused(victims: Victims, gateway: GatewayThread) -> None:
    headers = (("authorization", f"Bearer {OWN}"), ("transfer-encoding", "chunked"), ("content-length", ""))
    chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"

    case = Case(code="", headers=headers[:2], body=chunk * 20 + b"0\r\n\r\n")
    response = await asyncio.to_thread(ask_chunked, gateway.port, victims, case)

    assert (response.status, response.code) == (413, "request_too_large")


def ask_chunked(port: int, victims: Victims, case: Case) -> Response:
    """Like `ask`, with a chunked body, which has no length."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest("POST", CHAT, skip_accept_encoding=True)
    for name, value in case.headers:
        connection.putheader(name, victims.fill(value))
    connection.endheaders()
    connection.send(case.body)
    answer = connection.getresponse()
    response = Response(answer.status, dict(answer.getheaders()), answer.read())
    connection.close()
    return response


async def test_other_query_parameters_are_dropped(victims: Victims, gateway: GatewayThread) -> None:
    response = await ask(gateway, victims, Case(code="", target=f"{CHAT}?beta=true&api-version=2024-10-21&models=x"))

    assert response.status == 200


async def test_a_repeatedly_escaped_query_is_parsed_quickly(victims: Victims, gateway: GatewayThread) -> None:
    case = Case(code="model_in_query", target=f"{CHAT}?%{'25' * 25_000}6dodel=x", headers=())

    response = await asyncio.wait_for(ask(gateway, victims, case), 0.5)

    assert response.code in ("model_in_query", "missing_api_key")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
async def test_d20_utf_16_is_refused_with_the_encoding_to_send(encoding: str, caller: Caller) -> None:
    body = json.dumps(chat_body()).encode(encoding)
    async with caller.http.post(caller.url + CHAT, data=body, headers=caller.authorization) as answer:
        error = (await answer.json())["error"]

    assert (answer.status, error["code"]) == (400, "invalid_json")
    assert "UTF-8" in error["message"]


async def test_d20_a_byte_order_mark_is_skipped(caller: Caller) -> None:
    body = json.dumps(chat_body()).encode("utf-8-sig")
    async with caller.http.post(caller.url + CHAT, data=body, headers=caller.authorization) as answer:
        assert answer.status == 200
