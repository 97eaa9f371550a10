"""Inputs that control LiteLLM: each is refused or has no effect at the gateway. LiteLLM itself is called too, to
notice a test that no longer proves anything.
"""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from callers import CHAT, Caller, MakeCaller, Response, chat_body, new_mark, send_raw
from gateways import Backends, GatewayThread, Ledger, UpstreamLog

OTHER = "demo-chat-large"
JSON = ("content-type", "application/json")


async def ask(
    caller: Caller, gateway: GatewayThread, body: dict[str, Any] | bytes, *, path: str = CHAT,
    headers: Sequence[tuple[str, str]] = (), method: str = "POST",
) -> Response:  # fmt: skip
    """A call with path, headers and body exactly as given."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    own = [JSON, *(headers or [("authorization", f"Bearer {caller.key}")])]
    return await asyncio.to_thread(send_raw, gateway.port, method, path, own, raw, timeout_s=30)


async def ask_litellm(caller: Caller, backends: Backends, body: dict[str, Any], *, path: str = CHAT) -> Response:
    """A call directly to LiteLLM, with its master key."""
    headers = {"authorization": f"Bearer {backends.litellm_key}"}
    async with caller.http.post(backends.litellm_url + path, json=body, headers=headers) as answer:
        return Response(answer.status, answer.headers.copy(), await answer.read())


def prompt(mark: str) -> str:
    return f"Hello [tokens=3] [mark={mark}]"


async def models_run(upstream_log: UpstreamLog, mark: str) -> list[str]:
    return sorted(call["model"] for call in await upstream_log.calls(mark=mark))


# --- LiteLLM itself ---


async def test_litellm_itself_runs_models_the_body_does_not_name(
    caller: Caller, backends: Backends, upstream_log: UpstreamLog
) -> None:
    marks = [new_mark() for _ in range(4)]

    await ask_litellm(caller, backends, chat_body(prompt(marks[0])), path=f"{CHAT}?model={OTHER}")
    await ask_litellm(caller, backends, chat_body(prompt(marks[1]), model=f"demo-chat,{OTHER}"))
    await ask_litellm(caller, backends, chat_body(prompt(marks[2]), model="fault-500", fallbacks=[OTHER]))
    await ask_litellm(caller, backends, chat_body(prompt(marks[3])), path=f"/engines/{OTHER}/chat/completions")

    assert await models_run(upstream_log, marks[0]) == [OTHER]
    assert await models_run(upstream_log, marks[1]) == ["demo-chat", OTHER]
    assert OTHER in await models_run(upstream_log, marks[2])
    assert await models_run(upstream_log, marks[3]) == [OTHER]


async def test_litellm_itself_retries_if_a_caller_says_so(
    caller: Caller, backends: Backends, upstream_log: UpstreamLog
) -> None:
    mark = new_mark()

    await ask_litellm(caller, backends, chat_body(prompt(mark), model="fault-500", num_retries=2))

    assert len(await upstream_log.calls(mark=mark)) > 1


@pytest.mark.parametrize("model", ["openai/demo-chat", "vendor-demo-chat"])
async def test_litellm_itself_accepts_other_names_of_models(model: str, caller: Caller, backends: Backends) -> None:
    assert (await ask_litellm(caller, backends, chat_body(model=model))).status == 200


# --- Another model than the checked one ---


@pytest.mark.parametrize("query", [
    f"model={OTHER}",
    "model=demo-chat",
    f"a=b&model={OTHER}",
    f"a=b;model={OTHER}",
    f"MODEL={OTHER}",
    f"%6dodel={OTHER}",
    f"%256dodel={OTHER}",
    f"+model={OTHER}",
    "model",
])  # fmt: skip
async def test_a_query_that_names_a_model_is_refused(
    query: str, caller: Caller, gateway: GatewayThread, upstream_log: UpstreamLog
) -> None:
    mark = new_mark()

    response = await ask(caller, gateway, chat_body(prompt(mark)), path=f"{CHAT}?{query}")

    assert (response.status, response.code) == (400, "model_in_query")
    assert await upstream_log.calls(mark=mark) == []


async def test_any_other_query_has_no_effect(
    caller: Caller, gateway: GatewayThread, upstream_log: UpstreamLog, ledger: Ledger
) -> None:
    mark = new_mark()

    response = await ask(
        caller, gateway, chat_body(prompt(mark)), path=f"{CHAT}?num_retries=3&fallbacks={OTHER}&api_base=x&stream=true"
    )

    assert (response.status, response.json["object"]) == (200, "chat.completion")
    assert await models_run(upstream_log, mark) == ["demo-chat"]
    await ledger.row(caller.account_id)


@pytest.mark.parametrize("model", [
    f"demo-chat,{OTHER}",
    "demo-chat,demo-chat",
    "demo-chat,",
    ["demo-chat", OTHER],
    {"name": "demo-chat"},
    "",
    None,
    7,
], ids=str)  # fmt: skip
async def test_a_model_that_is_not_a_single_name_is_refused(
    model: Any, caller: Caller, gateway: GatewayThread, upstream_log: UpstreamLog
) -> None:
    mark = new_mark()

    response = await ask(caller, gateway, chat_body(prompt(mark)) | {"model": model})

    assert (response.status, response.code) == (400, "invalid_request")
    assert await upstream_log.calls(mark=mark) == []


@pytest.mark.parametrize("model", [
    OTHER,
    "openai/demo-chat",
    "openai/vendor/demo-chat",
    "vendor-demo-chat",
    "demo-chat ",
    " demo-chat",
    "Demo-chat",
    "demo-chat\u200b",
    "demo-chat\u0000",
    "demo-chat/",
    "*",
    "openai/*",
    "all-proxy-models",
])  # fmt: skip
async def test_a_model_exists_only_by_its_own_name(
    model: str, make: MakeCaller, gateway: GatewayThread, upstream_log: UpstreamLog
) -> None:
    caller, mark = await make("demo-chat", "vendor/demo-chat"), new_mark()

    response = await ask(caller, gateway, chat_body(prompt(mark), model=model))

    assert (response.status, response.code) == (404, "model_not_found")
    assert await upstream_log.calls(mark=mark) == []


@pytest.mark.parametrize(("models", "status", "run"), [
    (("demo-chat", OTHER), 404, []),
    ((OTHER, "demo-chat"), 200, ["demo-chat"]),
])  # fmt: skip
async def test_the_last_of_repeated_model_fields_is_both_checked_and_run(
    models: tuple[str, str], status: int, run: list[str], caller: Caller, gateway: GatewayThread,
    upstream_log: UpstreamLog, ledger: Ledger,
) -> None:  # fmt: skip
    mark = new_mark()
    messages = json.dumps([{"role": "user", "content": prompt(mark)}])
    body = f'{{"model":"{models[0]}","messages":{messages},"m\\u006fdel":"{models[1]}"}}'

    response = await ask(caller, gateway, body.encode())

    assert response.status == status
    assert await models_run(upstream_log, mark) == run
    assert [row["model_asked"] for row in await ledger.rows(caller.account_id, len(run))] == run


# --- Fields and headers that control LiteLLM ---


@pytest.mark.parametrize(("field", "value"), [
    ("fallbacks", [OTHER]),
    ("context_window_fallbacks", [{"demo-chat": [OTHER]}]),
    ("num_retries", 3),
    ("max_retries", 3),
    ("mock_response", "free"),
    ("mock_tool_calls", []),
    ("api_base", "http://127.0.0.1:1"),
    ("base_url", "http://127.0.0.1:1"),
    ("api_key", "sk-mine"),
    ("custom_llm_provider", "openai"),
    ("model_info", {"id": "x"}),
    ("input_cost_per_token", 0),
    ("output_cost_per_token", 0),
    ("specific_deployment", True),
    ("extra_headers", {"x": "y"}),
    ("timeout", 0.001),
    ("tags", ["a"]),
    ("no-log", True),
    ("litellm_metadata", {"tags": ["a"]}),
])  # fmt: skip
async def test_a_field_that_controls_litellm_is_refused_by_name(
    field: str, value: Any, make: MakeCaller, gateway: GatewayThread, upstream_log: UpstreamLog
) -> None:
    caller, mark = await make("demo-chat", "fault-500"), new_mark()

    response = await ask(caller, gateway, chat_body(prompt(mark), model="fault-500") | {field: value})

    assert (response.status, response.code) == (400, "parameter_not_allowed")
    assert response.error["param"].partition(".")[0] == field
    assert await upstream_log.calls(mark=mark) == []


async def test_headers_that_control_litellm_have_no_effect(
    caller: Caller, gateway: GatewayThread, upstream_log: UpstreamLog, ledger: Ledger
) -> None:
    mark = new_mark()
    headers = [
        ("authorization", f"Bearer {caller.key}"),
        ("x-litellm-api-key", "sk-wrong"),
        ("x-litellm-num-retries", "3"),
        ("x-litellm-tags", "a,b"),
        ("x-litellm-timeout", "0.0001"),
        ("x-litellm-stream-timeout", "0.0001"),
        ("x-litellm-call-id", "mine"),
        ("x-litellm-model-id", OTHER),
        ("x-model", OTHER),
    ]

    response = await ask(caller, gateway, chat_body(prompt(mark)), headers=headers)

    assert (response.status, response.json["model"]) == (200, "demo-chat")
    (billed,) = await upstream_log.calls(mark=mark)
    assert (billed["model"], billed["call_id"]) == ("demo-chat", response.request_id)
    assert str((await ledger.row(caller.account_id))["request_id"]) == response.request_id


@pytest.mark.parametrize("header", [None, ("x-litellm-num-retries", "3"), ("x-stainless-retry-count", "3")], ids=str)
async def test_a_failing_model_is_called_once_whatever_a_header_says(
    header: tuple[str, str] | None, make: MakeCaller, gateway: GatewayThread, upstream_log: UpstreamLog
) -> None:
    caller, mark = await make("fault-500"), new_mark()
    headers = [("authorization", f"Bearer {caller.key}"), *([header] if header else [])]

    response = await ask(caller, gateway, chat_body(prompt(mark), model="fault-500"), headers=headers)

    assert response.status == 500
    assert len(await upstream_log.calls(mark=mark)) == 1


@pytest.mark.parametrize("name", [
    "x-litellm-api-key", "authorization", "api-key", "x-api-key", "x-goog-api-key", "ocp-apim-subscription-key",
])  # fmt: skip
async def test_the_key_of_litellm_is_no_key_of_the_gateway(
    name: str, caller: Caller, gateway: GatewayThread, backends: Backends, upstream_log: UpstreamLog
) -> None:
    mark = new_mark()
    value = f"Bearer {backends.litellm_key}" if name == "authorization" else backends.litellm_key

    response = await ask(caller, gateway, chat_body(prompt(mark)), headers=[(name, value)])

    assert response.status == 401
    assert await upstream_log.calls(mark=mark) == []


@pytest.mark.parametrize("stream", ["true", "false", 1, 0, "yes", [], {}], ids=repr)
async def test_a_stream_field_that_is_no_boolean_is_refused(
    stream: Any, caller: Caller, gateway: GatewayThread, upstream_log: UpstreamLog
) -> None:
    mark = new_mark()

    response = await ask(caller, gateway, chat_body(prompt(mark)) | {"stream": stream})

    assert (response.status, response.code, response.error["param"]) == (400, "invalid_request", "stream")
    assert await upstream_log.calls(mark=mark) == []


# --- Paths ---


@pytest.mark.parametrize("path", [
    f"/engines/{OTHER}/chat/completions",
    "/engines/demo-chat/chat/completions",
    f"/v1/engines/{OTHER}/chat/completions",
    "/v1/chat/completions/",
    "//v1/chat/completions",
    "/v1//chat/completions",
    "/V1/chat/completions",
    "/v1/chat%2Fcompletions%2F",
    "/v1/chat/./completions",
    "/v1/chat/completions;model=x",
    "/openai/deployments//chat/completions",
    "/v1/messages/batches",
    "/v1beta/models/demo-chat:generateContent",
])  # fmt: skip
async def test_other_routes_to_a_model_do_not_exist(
    path: str, caller: Caller, gateway: GatewayThread, upstream_log: UpstreamLog
) -> None:
    mark = new_mark()

    response = await ask(caller, gateway, chat_body(prompt(mark)), path=path)

    assert (response.status, response.code) == (404, "not_found")
    assert await upstream_log.calls(mark=mark) == []


@pytest.mark.parametrize("path", [
    "/openai/deployments/demo-chat/chat/completions?api-version=2024-06-01",
    "/openai/v1/chat/completions",
    "/openai/chat/completions",
])  # fmt: skip
async def test_paths_of_other_clients_call_the_granted_model(
    path: str, caller: Caller, gateway: GatewayThread, upstream_log: UpstreamLog
) -> None:
    mark = new_mark()

    response = await ask(caller, gateway, chat_body(prompt(mark)), path=path)

    assert response.status == 200
    assert [call["model"] for call in await upstream_log.calls(mark=mark)] == ["demo-chat"]


@pytest.mark.parametrize(("path", "code"), [
    (f"/openai/deployments/{OTHER}/chat/completions", "model_not_found"),
    ("/v1/responses/resp_1/cancel", "response_not_found"),
])  # fmt: skip
async def test_what_a_path_names_belongs_to_the_key(
    path: str, code: str, caller: Caller, gateway: GatewayThread, upstream_log: UpstreamLog
) -> None:
    mark = new_mark()

    response = await ask(caller, gateway, chat_body(prompt(mark)), path=path)

    assert (response.status, response.code) == (404, code)
    assert await upstream_log.calls(mark=mark) == []


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", [
    "/key/generate",
    "/key/list",
    "/user/new",
    "/team/new",
    "/model/info",
    "/v1/model/info",
    "/v2/model/info",
    "/model/new",
    "/model_group/info",
    "/config/update",
    "/get/config/callbacks",
    "/spend/logs",
    "/global/spend",
    "/cache/flushall",
    "/health",
    "/health/readiness",
    "/health/liveliness",
    "/openapi.json",
    "/docs",
    "/ui/",
    "/sso/key/generate",
    "/v1/files",
    "/v1/batches",
    "/v1/vector_stores",
    "/mcp/",
    "//key/generate",
    "/key//generate",
    "/key/generate/",
    "/KEY/GENERATE",
    "/key%2Fgenerate",
    "/%6bey/generate",
    "/%256bey/generate",
    "/key/generate%00",
    "/key/generate;x",
    "/v1/../key/generate",
    "/v1/chat/completions/../../../key/generate",
    "/v1/chat/completions/..%2f..%2f..%2fkey/generate",
    "/v1\\..\\key\\generate",
    "/./key/generate",
])  # fmt: skip
async def test_the_management_routes_of_litellm_are_unreachable(
    method: str, path: str, caller: Caller, gateway: GatewayThread
) -> None:
    response = await ask(caller, gateway, {"model": "demo-chat"}, path=path, method=method)

    # An error of the gateway.
    assert (response.status, response.code) == (404, "not_found")
    assert response.error["request_id"] == response.request_id


@pytest.mark.parametrize("path", ["/v1/models/../key/list", "/models/..%2fkey%2flist", "/v1/models/x/../../key/list"])
async def test_a_model_name_in_a_path_reaches_no_other_route(path: str, caller: Caller, gateway: GatewayThread) -> None:
    response = await ask(caller, gateway, b"", path=path, method="GET")

    assert (response.status, response.code) == (404, "model_not_found")
