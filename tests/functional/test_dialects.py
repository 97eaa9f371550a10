"""Clients of several vendors at one gateway: whose dialect answers, and the paths by which Azure's and others call."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import pytest
from callers import Caller, MakeCaller, Response, chat_body, new_mark, send_raw
from gateways import Ledger, StartGateway, UpstreamLog

VERSION: Final = {"anthropic-version": "2023-06-01"}
NAMES: Final = ["demo-chat", "demo-chat-large", "demo-moderation", "demo-speech"]


@pytest.fixture
async def caller(make: MakeCaller) -> Caller:
    return await make(*NAMES)


async def ask(
    caller: Caller, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None, body: Any = None
) -> Response:
    sent = {"x-api-key": caller.key, **(headers or {})}
    async with caller.http.request(method, caller.url + path, headers=sent, json=body) as answer:
        return Response(answer.status, answer.headers.copy(), await answer.read())


# D10: lists


async def test_d10_models_are_listed_as_anthropics_clients_read_them(caller: Caller) -> None:
    listed = await ask(caller, "/v1/models", headers=VERSION)

    assert [model["id"] for model in listed.json["data"]] == NAMES
    assert {model["type"] for model in listed.json["data"]} == {"model"}
    assert all({"display_name", "created_at", "lifecycle"} <= model.keys() for model in listed.json["data"])
    rest = {name: value for name, value in listed.json.items() if name != "data"}
    assert rest == {"has_more": False, "first_id": NAMES[0], "last_id": NAMES[-1]}
    assert listed.headers["request-id"] == listed.headers["x-request-id"]
    shown = await ask(caller, "/v1/models/demo-moderation", headers=VERSION)
    assert shown.json == listed.json["data"][2]


@pytest.mark.parametrize("path", ["/v1/models", "/models", "/anthropic/v1/models", "/openai/models"])
async def test_d10_the_route_and_then_the_version_choose_the_dialect(path: str, caller: Caller) -> None:
    for headers in ({}, VERSION):
        listed = (await ask(caller, path, headers=headers)).json
        missing = (await ask(caller, f"{path}/none", headers=headers)).json
        is_anthropic = path.startswith("/anthropic/") or (bool(headers) and not path.startswith("/openai/"))
        assert ("has_more" in listed, listed.get("object") == "list") == (is_anthropic, not is_anthropic)
        assert [model["id"] for model in listed["data"]] == NAMES
        assert (missing.get("type"), missing["error"]["code"]) == ("error" if is_anthropic else None, "model_not_found")


@pytest.mark.parametrize(("query", "names", "has_more"), [
    ("limit=1", NAMES[:1], True),
    ("limit=3", NAMES[:3], True),
    ("limit=4", NAMES, False),
    ("limit=1000", NAMES, False),
    ("after_id=demo-chat", NAMES[1:], False),
    ("after_id=demo-chat&limit=2", NAMES[1:3], True),
    ("after_id=demo-cheap", NAMES[2:], False),
    ("after_id=demo-speech", [], False),
    ("before_id=demo-speech", NAMES[:3], False),
    ("before_id=demo-speech&limit=2", NAMES[1:3], True),
    ("before_id=demo-chat", [], False),
    ("limit=2&unknown=x", NAMES[:2], True),
])  # fmt: skip
async def test_d10_pages_of_models(query: str, names: list[str], has_more: bool, caller: Caller) -> None:
    page = (await ask(caller, f"/v1/models?{query}", headers=VERSION)).json

    assert [model["id"] for model in page["data"]] == names
    assert (page["has_more"], page["first_id"], page["last_id"]) == (
        has_more, names[0] if names else None, names[-1] if names else None,
    )  # fmt: skip


@pytest.mark.parametrize("limit", ["1", "2", "3"])
async def test_d10_pages_in_a_row_have_each_model_once(limit: str, caller: Caller) -> None:
    found: list[str] = []
    query = f"limit={limit}"
    while query:
        page = (await ask(caller, f"/v1/models?{query}", headers=VERSION)).json
        found += [model["id"] for model in page["data"]]
        query = f"limit={limit}&after_id={page['last_id']}" if page["has_more"] else ""

    assert found == NAMES


@pytest.mark.parametrize(("query", "param"), [
    ("limit=0", "limit"), ("limit=1001", "limit"), ("limit=-1", "limit"), ("limit=ten", "limit"),
    ("limit=%D9%A3", "limit"), ("limit=" + "1" * 5000, "limit"), ("after_id=a&before_id=b", "before_id"),
])  # fmt: skip
async def test_d10_a_page_that_cannot_be_is_refused(query: str, param: str, caller: Caller) -> None:
    refused = await ask(caller, f"/v1/models?{query}", headers=VERSION)

    assert (refused.status, refused.json["type"], refused.error["type"]) == (400, "error", "invalid_request_error")
    assert param in refused.error["message"]


async def test_d10_limit_means_nothing_in_openais_list(caller: Caller) -> None:
    assert len((await ask(caller, "/v1/models?limit=0")).json["data"]) == len(NAMES)


# D10: errors


@pytest.mark.parametrize(("method", "path", "status", "kind"), [
    ("GET", "/v1/messages", 405, "invalid_request_error"),
    ("DELETE", "/messages", 405, "invalid_request_error"),
    ("GET", "/anthropic/v1/messages", 405, "invalid_request_error"),
    ("POST", "/v1/messages/none", 404, "not_found_error"),
    ("GET", "/v1/messages/count_tokens", 405, "invalid_request_error"),
    ("GET", "/anthropic/v1/none", 404, "not_found_error"),
])  # fmt: skip
async def test_d10_below_messages_every_error_is_anthropics(
    method: str, path: str, status: int, kind: str, caller: Caller
) -> None:
    refused = await ask(caller, path, method=method)

    assert (refused.status, refused.json["type"], refused.error["type"]) == (status, "error", kind)
    assert refused.headers["request-id"] == refused.json["request_id"]


@pytest.mark.parametrize("path", ["/v1/none", "/v1/models/none", "/v1/limits/none", "/"])
async def test_d10_the_version_chooses_the_dialect_of_errors_elsewhere(path: str, caller: Caller) -> None:
    method = "DELETE" if path == "/" else "GET"
    plain, theirs = [await ask(caller, path, method=method, headers=headers) for headers in ({}, VERSION)]

    assert (plain.json.get("type"), theirs.json["type"]) == (None, "error")
    assert plain.code == theirs.code


async def test_d10_openais_routes_keep_their_dialect_whatever_the_version(caller: Caller) -> None:
    for path, method in (
        ("/v1/chat/completions", "GET"),
        ("/v1/responses", "POST"),
        ("/v1/responses/resp_1", "GET"),
        ("/v1/responses/resp_1", "POST"),
        ("/v1/realtime", "GET"),
        ("/openai/none", "GET"),
    ):
        refused = await ask(caller, path, method=method, headers=VERSION, body={})
        assert (refused.status >= 400, "type" in refused.json) == (True, False)


async def test_d10_without_a_key_models_are_refused_in_the_callers_dialect(caller: Caller) -> None:
    async with caller.http.get(caller.url + "/v1/models", headers=VERSION) as answer:
        refused = await answer.json()

    assert (answer.status, refused["type"], refused["error"]["type"]) == (401, "error", "authentication_error")


async def test_d10_a_websocket_below_messages_is_refused_in_anthropics_dialect(caller: Caller) -> None:
    upgrade = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    upgrade["sec-websocket-key"] = "dGhlIHNhbXBsZSBub25jZQ=="
    refused = await ask(caller, "/v1/messages", headers=upgrade)

    assert (refused.status, refused.json["type"], refused.error["code"]) == (426, "error", "upgrade_required")


# D13: Azure's paths


AZURE: Final = ["/openai/deployments/demo-chat/chat/completions", "/openai/v1/chat/completions",
                "/openai/chat/completions"]  # fmt: skip


@pytest.mark.parametrize("path", AZURE)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_d13_azures_paths_are_served(
    path: str, stream: bool, caller: Caller, upstream_log: UpstreamLog, ledger: Ledger
) -> None:
    mark = new_mark()
    body = chat_body(f"Hello [mark={mark}]", stream=stream)
    headers = {"api-key": caller.key}
    async with caller.http.post(f"{caller.url}{path}?api-version=2024-10-21", json=body, headers=headers) as answer:
        raw = await answer.read()

    assert (answer.status, raw.endswith(b"data: [DONE]\n\n")) == (200, stream), raw
    row, billed = await ledger.row(caller.account_id), await upstream_log.call(mark=mark)
    assert (row["endpoint"], row["model_asked"]) == ("chat_completions", billed["model"])
    assert (row["prompt_tokens"], row["completion_tokens"]) == (billed["prompt_tokens"], billed["completion_tokens"])
    assert row["estimated"] is False


@pytest.mark.parametrize("model", ["demo-moderation", None, "gpt-4o", "", 7, ["a", "b"], "demo-chat,demo-chat-large"])
async def test_d13_the_model_of_the_path_is_called_whatever_the_body_names(
    model: Any, caller: Caller, upstream_log: UpstreamLog, ledger: Ledger
) -> None:
    mark = new_mark()
    body = {"model": model, "messages": [{"role": "user", "content": f"Hello [mark={mark}]"}]}

    answer = await ask(caller, "/openai/deployments/demo-chat-large/chat/completions", method="POST", body=body)

    assert answer.status == 200, answer.body
    row, billed = await ledger.row(caller.account_id), await upstream_log.call(mark=mark)
    assert (row["model_asked"], billed["model"]) == ("demo-chat-large", "demo-chat-large")
    assert row["prompt_tokens"] == billed["prompt_tokens"]


async def test_d13_a_body_that_names_the_model_twice_calls_the_paths(caller: Caller, upstream_log: UpstreamLog) -> None:
    mark = new_mark()
    message = json.dumps(chat_body(f"Hello [mark={mark}]")["messages"])
    twice = f'{{"model": "demo-moderation", "messages": {message}, "model": "demo-moderation"}}'
    url = f"{caller.url}/openai/deployments/demo-chat/chat/completions"
    async with caller.http.post(url, data=twice.encode(), headers={"api-key": caller.key}) as answer:
        assert answer.status == 200

    assert (await upstream_log.call(mark=mark))["model"] == "demo-chat"


@pytest.mark.parametrize(("model", "status", "code"), [
    ("demo-unpriced", 404, "model_not_found"),
    ("none", 404, "model_not_found"),
    ("demo-chat/demo-chat", 404, "model_not_found"),
    ("demo-chat/", 404, "model_not_found"),
    ("/demo-chat", 404, "not_found"),
    ("demo-chat,demo-moderation", 400, "invalid_request"),
    ("x" * 300, 400, "invalid_request"),
])  # fmt: skip
async def test_d13_a_deployment_that_is_not_granted_is_refused(
    model: str, status: int, code: str, caller: Caller
) -> None:
    path = f"/openai/deployments/{quote(model, safe='')}/chat/completions"
    refused = await ask(caller, path, method="POST", body=chat_body())

    assert (refused.status, refused.code) == (status, code)


@pytest.mark.parametrize(("path", "status"), [
    ("/openai/deployments/demo-chat", 404),
    ("/openai/deployments//chat/completions", 404),
    ("/openai/deployments/demo-chat/none", 404),
    ("/openai/deployments/demo-chat/chat/completions/", 404),
    ("/openai/deployments/demo-moderation/messages", 404),
    ("/openai/deployments/demo-chat/v1/chat/completions", 404),
    ("/v1/openai/deployments/demo-chat/chat/completions", 404),
])  # fmt: skip
async def test_d13_paths_that_azure_does_not_have(path: str, status: int, caller: Caller, ledger: Ledger) -> None:
    refused = await ask(caller, path, method="POST", body=chat_body())

    assert (refused.status, refused.code) in ((status, "not_found"), (status, "model_not_found"))
    assert await ledger.rows(caller.account_id, 0) == []


async def test_d13_limits_and_keys_hold_on_azures_paths(caller: Caller, ledger: Ledger) -> None:
    await caller.limit("requests", 1, window="lifetime")
    path = "/openai/deployments/demo-chat/chat/completions"
    first, second = [await ask(caller, path, method="POST", body=chat_body()) for _ in range(2)]
    async with caller.http.post(caller.url + path, json=chat_body(), headers={"api-key": "sk-none"}) as answer:
        assert answer.status == 401

    assert (first.status, second.status) == (200, 429)
    assert len(await ledger.rows(caller.account_id, 1)) == 1


async def test_d13_a_model_in_the_query_is_refused_there_too(caller: Caller) -> None:
    path = "/openai/deployments/demo-chat/chat/completions?model=demo-moderation"
    refused = await ask(caller, path, method="POST", body=chat_body())

    assert (refused.status, refused.code) == (400, "model_in_query")


async def test_d13_every_endpoint_of_openai_has_a_deployment(caller: Caller, ledger: Ledger, make: MakeCaller) -> None:
    listener = await make("demo-transcribe")
    for path in ("audio/transcriptions", "audio/translations"):
        form = aiohttp.FormData()
        form.add_field("model", "none")
        form.add_field("file", b"\0" * 96_000, filename="a.wav", content_type="audio/wav")
        url = f"{listener.url}/openai/deployments/demo-transcribe/{path}"
        async with listener.http.post(url, data=form, headers={"api-key": listener.key}) as answer:
            assert answer.status == 200, await answer.read()
    rows = await ledger.rows(listener.account_id, 2)
    assert [row["model_asked"] for row in rows] == ["demo-transcribe"] * 2
    body = {"input": "Hello", "model": "tts-1", "voice": "alloy"}
    sound = await ask(caller, "/openai/deployments/demo-speech/audio/speech", method="POST", body=body)
    assert sound.status == 200, sound.body
    body = {"input": "Hello", "model": "none"}
    said = await ask(caller, "/openai/deployments/demo-chat/responses", method="POST", body=body)
    assert said.status == 200, said.body


@pytest.mark.parametrize("path", [
    "/openai/realtime?api-version=2024-10-01-preview&deployment=demo-realtime",
    "/openai/v1/realtime?model=demo-realtime",
])  # fmt: skip
async def test_d13_azures_realtime_sessions(path: str, make: MakeCaller, ledger: Ledger) -> None:
    caller = await make("demo-realtime")
    async with caller.http.ws_connect(caller.url + path, headers={"api-key": caller.key}) as session:
        assert (await session.receive_json())["type"] == "session.created"

    assert (await ledger.row(caller.account_id))["model_asked"] == "demo-realtime"


async def test_d13_a_session_with_a_deployment_and_a_model_is_refused(make: MakeCaller) -> None:
    caller = await make("demo-realtime")
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await caller.http.ws_connect(
            f"{caller.url}/openai/realtime?deployment=demo-realtime&model=demo-realtime-large",
            headers={"api-key": caller.key},
        )
    assert refused.value.status == 400


# D24: MCP


MCP: Final = {"type": "url", "url": "https://mcp.example.com", "name": "a"}
TOOLSET: Final = {"type": "mcp_toolset", "mcp_server_name": "a"}
MCP_FIELDS: Final = [
    ({"mcp_servers": [MCP]}, "unsafe:mcp_servers"),
    ({"tools": [TOOLSET]}, "unsafe:tools.mcp_toolset"),
    ({"tools": [TOOLSET], "mcp_servers": [MCP]}, "unsafe:mcp_servers"),
    ({"tools": [{"mcp_server_name": "a"}]}, "tools.mcp_server_name"),
    ({"tools": [{"name": "a", "type": None, "mcp_toolset": {"mcp_server_name": "a"}}]}, "unsafe:tools.mcp_toolset"),
    ({"tools": [{"type": "mcp", "server_label": "a", "server_url": "https://mcp.example.com"}]}, "unsafe:tools.mcp"),
]


@pytest.mark.parametrize(("fields", "setting"), MCP_FIELDS)
@pytest.mark.parametrize("endpoint", ["messages", "count_tokens"])
async def test_d24_mcp_servers_of_messages_are_refused_as_mcp_is(
    endpoint: str, fields: dict[str, Any], setting: str, caller: Caller, ledger: Ledger
) -> None:
    path = "/v1/messages" + ("/count_tokens" if endpoint == "count_tokens" else "")
    refused = await ask(caller, path, method="POST", body=chat_body(max_tokens=9, **fields))

    assert (refused.status, refused.error["code"]) == (400, "parameter_not_allowed")
    assert f"{endpoint}:{setting}" in refused.error["message"]
    assert await ledger.rows(caller.account_id, 0) == []


async def test_d24_an_operator_opens_them(
    caller: Caller, start_gateway: StartGateway, upstream_log: UpstreamLog
) -> None:
    opened = start_gateway(allowed_fields="messages:unsafe:mcp_servers,messages:unsafe:tools.mcp_toolset")
    mark = new_mark()
    body = chat_body(f"Hello [mark={mark}]", max_tokens=9, mcp_servers=[MCP], tools=[TOOLSET])

    answer = await ask(caller.at(opened.url), "/v1/messages", method="POST", body=body)

    assert answer.status == 200, answer.body
    assert (await upstream_log.call(mark=mark))["ending"] == "complete"


# D18: odd and neighbouring paths


@pytest.mark.parametrize(("path", "hint"), [
    ("/v1/v1/messages", "/v1/messages"),
    ("/v1/messages/", "/v1/messages"),
    ("/v1/v1/messages/count_tokens", "/v1/messages/count_tokens"),
    ("/anthropic/v1/v1/messages", "/v1/messages"),
    ("/anthropic/messages", "/messages"),
    ("/v1/messages/v1/messages", "/v1/messages"),
    ("/v1/messages/messages", "/messages"),
    ("//v1/messages", "/v1/messages"),
    ("/openai/v1/messages", "/v1/messages"),
    ("/v1/v1/chat/completions", "/v1/chat/completions"),
    ("/v1/chat/completions/", "/v1/chat/completions"),
    ("/v1//chat/completions", "/v1/chat/completions"),
    ("/v1/chat/completions/chat/completions", "/chat/completions"),
    ("/v1/openai/v1/chat/completions", "/openai/v1/chat/completions"),
    ("/api/v1/chat/completions", "/v1/chat/completions"),
    ("/v1/responses/v1/chat/completions", "/v1/chat/completions"),
    ("/v1/responses/responses", "/responses"),
    ("/v1/v1/models", "/v1/models"),
    ("/v1/models/", "/v1/models"),
    ("/v1/v1/embeddings", "/v1/embeddings"),
])  # fmt: skip
async def test_d18_a_404_names_what_is_too_much_in_a_path(path: str, hint: str, caller: Caller) -> None:
    sent = {"authorization": f"Bearer {caller.key}", "content-type": "application/json"}
    method = "GET" if "models" in path else "POST"
    body = None if method == "GET" else json.dumps(chat_body()).encode()
    refused = await asyncio.to_thread(send_raw, int(caller.url.rpartition(":")[2]), method, path, [*sent.items()], body)

    # Below /v1/responses it could be the id of a response.
    assert refused.status == (405 if path.startswith("/v1/responses/") else 404)
    assert f"Did you mean {hint}?" in refused.error["message"]
    assert refused.json.get("type") == ("error" if "messages" in path and not path.startswith("/openai") else None)


@pytest.mark.parametrize(("method", "path", "why", "is_anthropic"), [
    ("POST", "/v1/messages/batches", "goes on after the answer", True),
    ("GET", "/v1/messages/batches/b_1", "goes on after the answer", True),
    ("POST", "/v1/complete", "use /v1/messages", True),
    ("GET", "/v1/organizations/me", "operator's account", True),
    ("POST", "/v1/files", "send the content", None),
    ("GET", "/files/file_1/content", "send the content", None),
    ("POST", "/v1/batches", "goes on after the answer", False),
    ("POST", "/v1/threads/t_1/messages", "use /v1/responses", False),
    ("POST", "/openai/assistants", "use /v1/responses", False),
    ("POST", "/v1/realtime/client_secrets", "WebSocket /v1/realtime", False),
    ("GET", "/v1/chat/completions/c_1/messages", "stored completions", False),
    ("POST", "/v1/images/variations", "does not report what it costs", False),
])  # fmt: skip
async def test_d18_a_path_of_a_vendor_that_is_not_served_says_why(
    method: str, path: str, why: str, is_anthropic: bool | None, caller: Caller, ledger: Ledger
) -> None:
    for headers in ({}, VERSION):
        refused = await ask(caller, path, method=method, headers=headers)
        assert (refused.status, refused.error["code"]) == (404, "not_found")
        assert why in refused.error["message"]
        speaks = bool(headers) and not path.startswith("/openai/") if is_anthropic is not True else True
        assert refused.json.get("type") == ("error" if speaks else None)
    assert await ledger.rows(caller.account_id, 0) == []


async def test_d18_a_websocket_at_an_odd_path_is_shown_the_right_one(caller: Caller) -> None:
    upgrade = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    upgrade["sec-websocket-key"] = "dGhlIHNhbXBsZSBub25jZQ=="
    refused = await ask(caller, "/v1/v1/realtime?model=demo-realtime", headers=upgrade)

    assert (refused.status, refused.code) == (404, "not_found")
    assert "Did you mean /v1/realtime?" in refused.error["message"]


async def test_d18_what_a_caller_writes_in_a_path_is_short_in_the_answer(caller: Caller) -> None:
    refused = await ask(caller, "/v1/" + "x" * 5000 + "/v1/messages", method="POST")

    assert refused.status == 404
    assert len(refused.error["message"]) < 400


async def test_d18_neighbouring_endpoints_have_key_limits_and_row(
    make: MakeCaller, upstream_log: UpstreamLog, ledger: Ledger
) -> None:
    caller = await make("demo-chat", "demo-rerank")
    mark = new_mark()
    conversation = {"model": "demo-chat", "input": f"Hello [tokens=7] [mark={mark}]"}
    ranking = {"model": "demo-rerank", "query": "Hello", "documents": ["a", "b"]}
    asked = [
        await ask(caller, path, method="POST", body=body)
        for path, body in (
            ("/v1/responses/compact", conversation),
            ("/v1/responses/input_tokens", conversation),
            ("/v2/rerank", ranking),
        )
    ]

    assert [answer.status for answer in asked] == [200, 200, 200]
    rows = {row["endpoint"]: row for row in await ledger.rows(caller.account_id, 3)}
    assert rows.keys() == {"responses_compact", "responses_input_tokens", "rerank"}
    compacted, counted, ranked = [rows[name] for name in ("responses_compact", "responses_input_tokens", "rerank")]
    billed = await upstream_log.call(mark=mark, endpoint="responses_compact")
    assert (compacted["prompt_tokens"], compacted["completion_tokens"]) == (billed["prompt_tokens"], 7)
    assert (compacted["estimated"], compacted["cost_nano_usd"] > 0) == (False, True)
    assert (counted["counted_requests"], counted["counted_tokens"], counted["counted_nano_usd"]) == (0, 0, 0)
    assert asked[1].json["input_tokens"] == billed["prompt_tokens"]
    assert ranked["prompt_tokens"] > 0
    limited = await make("demo-chat")
    await limited.limit("tpm", 1)
    refused = await ask(limited, "/v1/responses/compact", method="POST", body=conversation)
    assert (refused.status, refused.code) == (400, "request_exceeds_limit")


@pytest.mark.parametrize(("path", "fields", "param"), [
    ("compact", {"stream": True}, "stream"),
    ("compact", {"background": True}, "background"),
    ("compact", {"conversation": "conv_1"}, "conversation"),
    ("compact", {"tools": [{"type": "mcp", "server_url": "https://mcp.example.com"}]}, "tools"),
    ("compact", {"input": [{"type": "item_reference", "id": "msg_1"}]}, "content.item_reference"),
    ("compact", {"service_tier": "priority"}, "service_tier"),
    ("input_tokens", {"previous_response_id": "resp_1"}, "previous_response_id"),
    ("input_tokens", {"conversation": "conv_1"}, "conversation"),
    ("input_tokens", {"prompt": {"id": "pmpt_1"}}, "prompt"),
    ("input_tokens", {"stream": True}, "stream"),
])  # fmt: skip
async def test_d18_neighbours_of_responses_refuse_what_responses_refuse(
    path: str, fields: dict[str, Any], param: str, caller: Caller
) -> None:
    body = {"model": "demo-chat", "input": "Hello"} | fields
    refused = await ask(caller, f"/v1/responses/{path}", method="POST", body=body)

    assert (refused.status, refused.code, refused.error["param"]) == (400, "parameter_not_allowed", param)


async def test_d18_a_compaction_of_another_accounts_response_is_refused(
    make: MakeCaller, upstream_log: UpstreamLog, ledger: Ledger
) -> None:
    owner, other = await make("demo-chat"), await make("demo-chat")
    stored = await ask(owner, "/v1/responses", method="POST", body={"model": "demo-chat", "input": "Hello"})
    mark = new_mark()
    body = {"model": "demo-chat", "input": f"Go on [mark={mark}]", "previous_response_id": stored.json["id"]}

    refused = await ask(other, "/v1/responses/compact", method="POST", body=body)

    assert (refused.status, refused.code) == (404, "response_not_found")
    assert (await upstream_log.calls(mark=mark), await ledger.rows(other.account_id, 0)) == ([], [])
    assert (await ask(owner, "/v1/responses/compact", method="POST", body=body)).status == 200


@pytest.mark.parametrize("path", ["/v1/images/edits", "/openai/deployments/demo-gpt-image/images/edits"])
async def test_d18_images_are_edited_with_key_limits_and_row(
    path: str, make: MakeCaller, upstream_log: UpstreamLog, ledger: Ledger
) -> None:
    caller = await make("demo-gpt-image")
    mark = new_mark()
    form = aiohttp.FormData()
    form.add_field("model", "demo-gpt-image" if path.startswith("/v1/") else "gpt-image-1")
    form.add_field("prompt", f"Make it blue [mark={mark}]")
    form.add_field("n", "2")
    for name in ("image[]", "image[]", "mask"):
        form.add_field(name, b"PNG", filename="a.png", content_type="image/png")
    async with caller.http.post(caller.url + path, data=form, headers={"api-key": caller.key}) as answer:
        assert (answer.status, len((await answer.json())["data"])) == (200, 2)

    row, billed = await ledger.row(caller.account_id), await upstream_log.call(mark=mark)
    assert (row["endpoint"], row["estimated"], row["cost_nano_usd"] > 0) == ("image_edits", False, True)
    assert (row["prompt_tokens"], row["completion_tokens"]) == (billed["prompt_tokens"], billed["completion_tokens"])
    assert billed["prompt_tokens"] > 3 * 50
