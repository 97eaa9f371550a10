"""Case S1: a key for one model makes LiteLLM run another one, try again, or ask another address.

The field is spelled, escaped and nested in many ways, on each endpoint that has a chat, whole and streamed. LiteLLM
itself is asked too, so that a test that proves nothing any more is noticed.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from callers import Caller, MakeCaller, Response, new_mark, send_raw
from gateways import Backends, GatewayThread, Ledger, StartGateway, UpstreamLog

from end_to_end.asking import CHAT, CLAUDE, MESSAGES, RESPONSES, Route
from gateway import metrics
from gateway.storage.postgres import Pool

OTHER: Final = "demo-chat-large"
ROUTES: Final = (CHAT, MESSAGES, RESPONSES, CLAUDE)
# The first makes the granted model fail, so that a fallback is tried; the second is what the other one would answer.
FAILS: Final = "[fault=400] hi [mark={mark}]"
ANSWERS: Final = "hi [tokens=20] [mark={mark}]"


class Listener:
    """An address of the caller's choice: counts who comes."""

    def __init__(self) -> None:
        self.visits = 0
        self.url = ""

    async def serve(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        writer.close()


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    one = Listener()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with server:
        yield one


def fallback(route: Route, mark: str, **changes: Any) -> list[dict[str, Any]]:
    """To another model, with an input of its own that does not fail."""
    other = {"model": OTHER, **route.fields(ANSWERS.format(mark=mark)), **changes}
    return [{route.model: [other | {"model": changes.get("model", OTHER)}]}]


def spellings(route: Route, mark: str, listener: Listener) -> dict[str, bytes]:
    """What is written into the body behind its own fields, without the braces."""
    to_other = {"fallbacks": fallback(route, mark)}
    elsewhere = {"fallbacks": fallback(route, mark, model=route.model, api_base=listener.url)}
    again = {"model_group_retry_policy": {route.model: {"BadRequestErrorRetries": 5}}, "num_retries": 5}
    name = "router_settings_override"
    written: dict[str, Any] = {
        "plain": {name: to_other},
        "context window": {name: {"context_window_fallbacks": to_other["fallbacks"]}},
        "content policy": {name: {"content_policy_fallbacks": to_other["fallbacks"]}},
        "default": {name: {"default_fallbacks": [OTHER], **to_other}},
        "as text": {name: json.dumps(to_other)},
        "tries again": {name: again},
        "another address": {name: elsewhere},
        "in extra_body": {"extra_body": {name: to_other}},
        "in metadata": {"litellm_metadata": {name: to_other}, "metadata": {name: json.dumps(to_other)}},
        "of its own": to_other,
    }
    found = {kind: json.dumps(fields).encode()[1:-1] for kind, fields in written.items()}
    found["escaped"] = found["plain"].replace(b"router_", rb"\u0072outer\u005f")
    found["sent twice"] = b'"%s":null,' % name.encode() + found["plain"]
    return found


KINDS: Final = tuple(spellings(CHAT, "", Listener()))


async def ask(
    gateway: GatewayThread, caller: Caller, route: Route, mark: str, more: bytes, *, stream: bool
) -> Response:
    """The failing prompt, with `more` written behind it."""
    fields = json.dumps(route.fields(FAILS.format(mark=mark), stream=stream)).encode()
    headers = [("content-type", "application/json"), ("authorization", f"Bearer {caller.key}")]
    body = fields[:-1] + b"," + more + b"}"
    return await asyncio.to_thread(send_raw, gateway.port, "POST", route.path, headers, body, timeout_s=60)


async def test_s1_litellm_itself_runs_another_model(
    caller: Caller, backends: Backends, upstream_log: UpstreamLog
) -> None:
    mark = new_mark()
    body = CHAT.fields(FAILS.format(mark=mark)) | {"router_settings_override": {"fallbacks": fallback(CHAT, mark)}}

    async with caller.http.post(
        backends.litellm_url + CHAT.path, json=body, headers={"authorization": f"Bearer {backends.litellm_key}"}
    ) as answer:
        await answer.read()

    assert OTHER in [call["model"] for call in await upstream_log.calls(mark=mark)]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.name} {route.model}")
@pytest.mark.parametrize("kind", KINDS)
async def test_s1_no_spelling_reaches_another_model_or_address(
    kind: str,
    route: Route,
    stream: bool,
    make: MakeCaller,
    gateway: GatewayThread,
    upstream_log: UpstreamLog,
    listener: Listener,
) -> None:
    caller, mark = await make(route.model), new_mark()

    response = await ask(gateway, caller, route, mark, spellings(route, mark, listener)[kind], stream=stream)

    run = [call["model"] for call in await upstream_log.calls(mark=mark)]
    assert (response.status, response.error.get("code") or response.error["details"]["error_code"]) == (
        400,
        "parameter_not_allowed",
    ), run
    assert (run, listener.visits) == ([], 0)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_s1_another_model_that_answers_is_charged_by_its_own_price(
    stream: bool, make: MakeCaller, start_gateway: StartGateway, upstream_log: UpstreamLog, ledger: Ledger,
    pool: Pool,
) -> None:  # fmt: skip
    gateway = start_gateway(allowed_fields="chat_completions:unsafe:router_settings_override")
    await gateway.wait_for_changes(pool)
    caller, mark = (await make("demo-chat")).at(gateway.url), new_mark()
    before = metrics.OTHER_MODELS_SERVED._value.get()

    spelled = spellings(CHAT, mark, Listener())["plain"]
    response = await ask(gateway, caller, CHAT, mark, spelled, stream=stream)

    row = await ledger.row(caller.account_id)
    (billed,) = [call for call in await upstream_log.calls(mark=mark) if call["ending"] == "complete"]
    assert (response.status, billed["model"], row["model_asked"], row["model_served"]) == (
        200,
        OTHER,
        "demo-chat",
        OTHER,
    )
    # 10 and 30 USD a million tokens. LiteLLM's figure is a float, rounded up.
    exact = billed["prompt_tokens"] * 10_000 + billed["completion_tokens"] * 30_000
    assert row["own_cost_nano_usd"] == exact
    assert exact <= row["litellm_cost_nano_usd"] <= exact + 1
    assert row["cost_nano_usd"] == row["counted_nano_usd"] == row["litellm_cost_nano_usd"]
    assert metrics.OTHER_MODELS_SERVED._value.get() == before + 1
