"""Every route of the gateway, from the lists in the program."""

import json

import pytest
from callers import CHAT, Caller, chat_body
from gateways import GatewayThread, scraped_metrics

from gateway.endpoints.registry import ENDPOINTS, FormParser
from gateway.endpoints.routes import DEPLOYMENTS, ROUTES

# Liveness and readiness: open to everyone who can reach the port.
OPEN = ("/health/live", "/health/ready")
FORWARDED = [endpoint.path for endpoint in ENDPOINTS]
FORMS = {endpoint.path for endpoint in ENDPOINTS if isinstance(endpoint.parse, FormParser)}
# Anthropic's clients read the error from another field.
ANTHROPIC = ("/v1/messages", "/v1/messages/count_tokens")
MESSAGES = tuple(path.removeprefix("/v1") for path in ANTHROPIC)
# Azure's: the model stands in the path.
DEPLOYED = [f"{DEPLOYMENTS}demo-chat/{path.removeprefix('/v1/')}" for path in FORWARDED if path not in ANTHROPIC]


def test_the_routes_without_a_key_are_exactly_these(gateway: GatewayThread) -> None:
    app = gateway.apps[0]

    assert app._cold == set(OPEN)
    others = {"/v1", "", "/openai/v1", "/openai"}
    prefixes = {path: {"/v1", "", "/anthropic/v1"} if path in ANTHROPIC else others for path in FORWARDED}
    prefixes |= {"/v1/models": {*others, "/anthropic/v1"}, "/v1/limits": {"/v1", ""}}
    served = {prefix + path.removeprefix("/v1") for path in prefixes for prefix in prefixes[path]}
    assert {*ROUTES, *app._own} == {*served, "/v2/rerank"}


@pytest.mark.parametrize("path", [*ROUTES, *DEPLOYED])
async def test_forwarded_routes_need_a_key(path: str, caller: Caller) -> None:
    url = caller.url + path
    for headers, code in (({}, "missing_api_key"), ({"x-api-key": "sk-1234"}, "invalid_api_key")):
        async with caller.http.post(url, json=chat_body(), headers=headers) as answer:
            body = json.loads(await answer.read())
        assert (answer.status, body["error"]["code"]) == (401, code)
        assert body.get("type") == ("error" if path.endswith(MESSAGES) else None)


@pytest.mark.parametrize("path", [*ROUTES, *DEPLOYED])
async def test_forwarded_routes_accept_post_only(path: str, caller: Caller) -> None:
    response = await caller.get(path)

    assert (response.status, response.code, response.headers["allow"]) == (405, "method_not_allowed", "POST")


@pytest.mark.parametrize("path", FORWARDED)
@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"{}", b'{"model":5}', b'{"model":"demo-chat"}', b"\xff"])
async def test_no_endpoint_fails_on_a_body_without_a_request(path: str, body: bytes, caller: Caller) -> None:
    async with caller.http.post(caller.url + path, data=body, headers=caller.authorization) as answer:
        error = json.loads(await answer.read())["error"]

    refusals = [(415, "unsupported_media_type")] if path in FORMS else [(400, "invalid_json"), (400, "invalid_request")]
    assert (answer.status, error["code"]) in refusals


@pytest.mark.parametrize("path", OPEN)
async def test_open_routes_respond_without_a_key(path: str, caller: Caller) -> None:
    async with caller.http.get(caller.url + path) as answer:
        assert answer.status == 200


async def test_metrics_have_no_labels_for_keys_users_or_unknown_models(caller: Caller) -> None:
    await caller.chat()
    await caller.chat(model="made-up-by-a-caller")

    text = scraped_metrics()

    assert "litemaas_calls_total" in text
    assert not any(secret in text for secret in (caller.key, caller.email, "made-up-by-a-caller"))


@pytest.mark.parametrize(
    "path", ["/docs", "/openapi.json", "/health", "/metrics", "/v1/metrics", "/metrics/", "/v1", "/v1/", "/v1/models/"]
)
async def test_all_other_paths_are_not_found(path: str, caller: Caller) -> None:
    response = await caller.get(path)

    assert (response.status, response.code) == (404, "not_found")


async def test_d19_head_answers_as_get_and_the_root_says_nothing(caller: Caller) -> None:
    def errors() -> list[str]:
        return [line for line in scraped_metrics().splitlines() if line.startswith("litemaas_errors_total{")]

    before = errors()
    for path in ("/v1/models", "/v1/models/demo-chat", "/", "/health/live"):
        asked = await caller.get(path)
        async with caller.http.head(caller.url + path, headers=caller.authorization) as answer:
            assert (answer.status, await answer.read()) == (200, b"")
            assert answer.headers["content-length"] == str(len(asked.body))
    async with caller.http.head(caller.url + "/v1/limits", headers=caller.authorization) as answer:
        assert answer.status == 200
    async with caller.http.get(caller.url + "/") as answer:
        assert (answer.status, await answer.json()) == (200, {})
    assert errors() == before
    async with caller.http.head(caller.url + CHAT, headers=caller.authorization) as answer:
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
