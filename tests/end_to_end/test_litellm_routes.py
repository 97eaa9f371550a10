"""Every route of the installed LiteLLM, in every spelling: only the gateway's own ones exist."""

import asyncio
import http.client
import re
from collections.abc import Iterator
from urllib.parse import unquote

import aiohttp
import pytest
from callers import Caller
from gateways import Backends, StartGateway
from recording_upstream import RecordingUpstream

from gateway.endpoints.realtime import PATH as SESSION_PATH
from gateway.endpoints.registry import ENDPOINTS

pytestmark = pytest.mark.timeout(300)
MINE = ("/v1", "", "/openai/v1", "/openai")
CLAUDES = ("/v1", "", "/anthropic/v1")
FORWARDED = {
    prefix + endpoint.path.removeprefix("/v1")
    for endpoint in ENDPOINTS
    for prefix in (CLAUDES if "messages" in endpoint.path else MINE)
} | {"/v2/rerank"}
# Azure's: of a model that nobody has, for LiteLLM names it by its parameter.
BELOW_MODELS = "|".join(e.path.removeprefix("/v1/") for e in ENDPOINTS if "messages" not in e.path)
DEPLOYED = re.compile(rf"/openai/deployments/[^/].*/({BELOW_MODELS})")
OPEN = {f"{prefix}/models" for prefix in {*MINE, *CLAUDES}}
OPEN |= {"/v1/limits", "/limits", "/health/live", "/health/ready"}
# For who asks to upgrade, which no one here does.
SESSIONS = {prefix + SESSION_PATH.removeprefix("/v1") for prefix in MINE}
CONNECTIONS = 8


def spellings(path: str) -> Iterator[str]:
    """One route, written as others may read it."""
    yield path
    yield path.removeprefix("/v1") if path.startswith("/v1/") else "/v1" + path
    yield path + "/"
    yield "/" + path
    yield path.replace("/", "//")
    yield path.upper()
    yield f"/%{ord(path[1]):02x}{path[2:]}" if len(path) > 1 else "/%2f"
    yield "/" + path[1:].replace("/", "%2f")
    yield "/v1/chat/completions/../../.." + path
    yield "/v1/%2e%2e" + path
    yield "/v1/chat/completions/..;" + path
    yield path + "?x=/v1/chat/completions"
    yield path + "%00"
    yield path + ";v1"
    yield "http://127.0.0.1" + path


def ask(port: int, key: str, targets: list[tuple[str, str]]) -> list[tuple[str, str, int, str]]:
    """(method, target, status, where else it leads). Blocks."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    found = []
    for method, target in targets:
        connection.putrequest(method, target, skip_host=False, skip_accept_encoding=True)
        connection.putheader("authorization", f"Bearer {key}")
        connection.putheader("content-length", "0")
        connection.endheaders()
        answer = connection.getresponse()
        answer.read()
        found.append((method, target, answer.status, answer.getheader("location") or ""))
    connection.close()
    return found


def plain(target: str) -> str:
    """The path that is asked for: escapes, a query and the absolute form are the caller's to choose."""
    return unquote(target.removeprefix("http://127.0.0.1").partition("?")[0])


async def test_no_route_of_litellm_is_reachable_in_any_spelling(
    caller: Caller, backends: Backends, http: aiohttp.ClientSession, start_gateway: StartGateway
) -> None:
    async with http.get(backends.litellm_url + "/openapi.json") as answer:
        routes: dict[str, dict[str, object]] = (await answer.json())["paths"]
    assert len(routes) > 500
    targets = []
    for template, operations in routes.items():
        path = template.replace("{", "").replace("}", "")
        for spelling in spellings(path):
            targets += [(method, spelling) for method in {m.upper() for m in operations} | {"POST", "HEAD"}]

    async with RecordingUpstream() as upstream:
        gateway = start_gateway(litellm_urls=upstream.url)
        parts = [targets[n::CONNECTIONS] for n in range(CONNECTIONS)]
        answers = await asyncio.gather(*(asyncio.to_thread(ask, gateway.port, caller.key, part) for part in parts))
        assert upstream.requests == []

    wrong = []
    for method, target, status, location in (one for part in answers for one in part):
        path = plain(target)
        if path in FORWARDED or DEPLOYED.fullmatch(path):
            # Asked for nothing: no body.
            allowed = {400, 415} if method == "POST" else {405}
        elif path in SESSIONS:
            allowed = {426}
        elif path in ("", "/"):
            # The gateway's own answer, without facts; nothing but GET and HEAD.
            allowed = {200} if method in ("GET", "HEAD") else {404, 405}
        elif path in OPEN:
            allowed = {200, 405}
        else:
            # What follows may be a model's name, or the id of a stored response, which nobody has.
            below = (*(f"{one}/" for one in OPEN), *(f"{prefix}/responses/" for prefix in MINE))
            allowed = {404, 405} if path.startswith((*below, "/health/")) else {404}
        if status not in allowed or location:
            wrong.append((method, target, status, location))
    assert not wrong, wrong[:20]
    assert len(targets) > 15_000
