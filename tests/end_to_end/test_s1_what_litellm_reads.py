"""Case S1: no allowed field is a way to another model or address, in the LiteLLM that is installed.

What it reads of a body is found in two ways: by its source, and by running it with a dict that notes its keys. Then
each allowed field is sent to it with everything in it that could name another model or address.
"""

import asyncio
import json
import tomllib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from allowed_fields.list_reads import LEFT_OUT, LISTED, allowed_names, list_reads, on_the_call_path
from allowed_fields.recording_litellm import PROVIDERS, RecordingLiteLLM
from callers import new_mark
from gateways import Backends

from deploy.embedded.litellm_venv import FOLDER
from deploy.embedded.model_server.launch import ModelServer
from end_to_end.asking import ROUTES, Route
from gateway.domain.errors import GatewayError
from gateway.endpoints.allowed_fields import ALLOWED_FIELDS, LISTED_FIELDS, why_unsafe
from gateway.endpoints.application_metadata import NOT_SENT as WITHOUT_METADATA
from gateway.endpoints.parameters import LITELLM_METADATA, LITELLM_PARAMETERS, METADATA_PREFIXES
from gateway.endpoints.registry import ENDPOINTS

OTHER: Final = "demo-chat-large"
REASONS: Final = tomllib.loads((Path(__file__).parents[1] / "allowed_fields" / "reasons.toml").read_text())
PACKAGE: Final = next(FOLDER.glob("lib/*/site-packages/litellm"))
JSON_ROUTES: Final = tuple(route for route in ROUTES if not route.takes_a_form)
AT_ONCE: Final = 8
# The one that was granted; and what is put where LiteLLM reads nothing of it.
NOT_SENT: Final = {"model", "metadata"}


def reasoned() -> set[str]:
    return {name for names in REASONS.values() for name in names}


# --- (a) what is read ---


@pytest.fixture(scope="module")
def reads_in_source() -> dict[str, set[str]]:
    return list_reads(PACKAGE)


@pytest.fixture(scope="module")
def recorded(model_server: ModelServer, folder: Path) -> Iterator[RecordingLiteLLM]:
    with RecordingLiteLLM(folder / "recording-litellm", model_server.url) as litellm:
        yield litellm


def full_body(route: Route) -> dict[str, Any]:
    """Every allowed field, with values that get far."""
    values: dict[str, Any] = {name: "x" for name in LISTED_FIELDS[route.name] if not name.startswith("tools.")}
    values |= {name: 1 for name in values if name.startswith(("top_", "max_", "min_", "n_", "seed", "n"))}
    values |= dict.fromkeys(("stream", "background", "previous_response_id", "reasoning_effort", "thinking"))
    values |= {
        "tools": [{"type": "function", "name": "f", "function": {"name": "f"}, "input_schema": {"type": "object"}}],
        "metadata": {"a": "b"},
        "stream_options": {"include_usage": True},
        "response_format": {"type": "text"},
        "include": [],
        "stop": ["x"],
        "tool_choice": "auto",
        "reasoning": {"effort": "low"},
        "context_management": {"edits": []} if route.name == "messages" else None,
    }
    return {name: value for name, value in values.items() if name in LISTED_FIELDS[route.name]} | route.fields("hi")


@pytest.fixture(scope="module")
async def reads_at_run_time(recorded: RecordingLiteLLM, http: aiohttp.ClientSession) -> list[tuple[str, str, str, str]]:
    """(path, model, field, module): a body with every field, and the plain one, to each provider."""
    headers = {"authorization": f"Bearer {recorded.api_key}"}
    for route in JSON_ROUTES:
        for provider in PROVIDERS if route.name in ("chat_completions", "messages", "responses") else ("",):
            model = f"{provider}-chat" if provider else route.model
            for body in (full_body(route), route.fields("hi [tokens=2]", metadata={"a": "b"})):
                async with http.post(
                    recorded.url + route.path, json=body | {"model": model}, headers=headers
                ) as answer:
                    await answer.read()
    lines = [tuple(json.loads(line)) for line in recorded.reads.read_text().splitlines()]
    return [line for line in lines if not line[3].startswith(LEFT_OUT)]


async def test_s1_the_recorder_sees_what_is_read(reads_at_run_time: list[tuple[str, str, str, str]]) -> None:
    seen = {(path, field) for path, _, field, _ in reads_at_run_time}

    for route in JSON_ROUTES:
        assert (route.path, "model") in seen
        # Where a body may name another model.
        assert (route.path, "router_settings_override") in seen
        assert (route.path, "fallbacks") in seen


async def test_s1_each_allowed_field_that_litellm_reads_has_a_reason(
    reads_in_source: dict[str, set[str]], reads_at_run_time: list[tuple[str, str, str, str]]
) -> None:
    # LiteLLM looks for these in every body, to refuse or to remove them.
    at_run_time = {field for _, _, field, _ in reads_at_run_time if "." not in field and "[" not in field}
    read = (reads_in_source.keys() | at_run_time) & allowed_names()

    assert read - reasoned() == set(), "read by LiteLLM, allowed, and without a reason in reasons.toml"
    assert reasoned() - read == set(), "reasons for what LiteLLM does not read"


def test_s1_where_litellm_reads_allowed_fields_is_known(reads_in_source: dict[str, set[str]]) -> None:
    assert on_the_call_path(reads_in_source, allowed_names()) == LISTED.read_text(), (
        "LiteLLM reads allowed fields in other places: run `make litellm-parameters` and read the difference"
    )


async def test_s1_no_key_of_metadata_that_litellm_reads_is_sent(
    reads_at_run_time: list[tuple[str, str, str, str]],
) -> None:
    without = {route.path for route in JSON_ROUTES if route.name in WITHOUT_METADATA}
    keys = {
        field.removeprefix("metadata.")
        for path, _, field, _ in reads_at_run_time
        if field.startswith("metadata.") and path not in without
    }

    assert len(keys) > 50
    assert {
        key
        for key in keys
        if key not in LITELLM_METADATA and key not in LITELLM_PARAMETERS and not key.startswith(METADATA_PREFIXES)
    } == set()


# --- (c) what each does ---


@pytest.fixture
async def visits() -> AsyncIterator[tuple[str, list[str]]]:
    """An address that nobody has a reason to ask, and who came."""
    came: list[str] = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append("a connection")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", came


def to_another_model(route: Route, mark: str) -> dict[str, Any]:
    """Every word that makes LiteLLM run another model, or try again; none that it refuses itself."""
    other = route.fields(f"hi [tokens=2] [mark={mark}]") | {"model": OTHER}
    named = {
        "fallbacks": [{route.model: [other]}],
        "context_window_fallbacks": [{route.model: [OTHER]}],
        "content_policy_fallbacks": [{route.model: [OTHER]}],
        "num_retries": 2,
        "model_group_retry_policy": {route.model: {"BadRequestErrorRetries": 2}},
    }
    return {
        **named,
        "model": OTHER,
        "models": [OTHER],
        "router_settings_override": named,
        "metadata": {"tags": [OTHER]},
    }


def to_another_address(route: Route, address: str) -> dict[str, Any]:
    """Every word that makes it call another address."""
    words = ("api_base", "base_url", "url", "image_url", "file_url", "server_url", "endpoint", "host", "webhook_url")
    deployment = {"model": f"openai/{OTHER}", "api_base": address, "api_key": "x"}
    return {
        **dict.fromkeys(words, address),
        "model_list": [{"model_name": route.model, "litellm_params": deployment}],
        "user_config": {"model_list": [{"model_name": route.model, "litellm_params": deployment}]},
        "litellm_params": deployment,
        "custom_llm_provider": "openai",
        "extra_body": deployment,
    }


def probes(route: Route, address: str, read: set[str]) -> Iterator[tuple[str, bytes]]:
    """(fields, body as the gateway would forward it), of what passes the gateway's own checks. Each field that LiteLLM
    reads is sent alone; those it only copies are sent together."""
    parse = next(endpoint.parse for endpoint in ENDPOINTS if endpoint.name == route.name)
    names = LISTED_FIELDS[route.name] - NOT_SENT
    copied = {name for name in names if name not in read and not name.startswith("tools.")}
    for group in (*([name] for name in sorted(names - copied)), sorted(copied)):
        mark = new_mark()
        # A fallback is tried where the model fails; an address is asked before.
        for fault, bad in (("[fault=400] ", to_another_model(route, mark)), ("", to_another_address(route, address))):
            usual = route.fields(f"{fault}hi [tokens=2] [mark={mark}]")
            for fields in together(group, bad, usual):
                try:
                    call = parse(json.dumps(usual | fields).encode(), ALLOWED_FIELDS)
                except GatewayError:
                    continue
                yield "+".join(group)[:60], bytes(call.body)  # type: ignore[arg-type]  # none of them is large


def together(names: list[str], bad: dict[str, Any], usual: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Bodies with the first value of each, with the second of each, and so on."""
    for values in zip(*(values_of(name, bad, usual) for name in names), strict=False):
        yield dict(values)


def values_of(name: str, bad: dict[str, Any], usual: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """(field, value): `bad` as the value of the field, and within what it usually is."""
    if name.startswith("tools."):
        kind = name.removeprefix("tools.")
        rest = {key: value for key, value in bad.items() if why_unsafe("", f"tools.{key}") is None}
        yield "tools", [rest | {"type": kind, "name": "f", "function": {"name": "f", **bad}, kind: bad}]
        return
    value = usual.get(name)
    if isinstance(value, list) and isinstance(value[0], dict):
        # A message, and a part of one.
        text = value[0]["content"]
        yield name, [bad | value[0]]
        yield name, [value[0] | {"content": [bad | {"type": "text", "text": text}]}]
        return
    yield name, bad
    yield name, [bad]
    yield name, json.dumps(bad)
    yield name, [OTHER]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("route", JSON_ROUTES, ids=lambda route: f"{route.name} {route.model}")
async def test_s1_no_allowed_field_reaches_another_model_or_address(
    route: Route, backends: Backends, visits: tuple[str, list[str]], http: aiohttp.ClientSession,
    reads_in_source: dict[str, set[str]],
) -> None:  # fmt: skip
    address, came = visits
    headers = {"authorization": f"Bearer {backends.litellm_key}", "content-type": "application/json"}
    before = max((call["ordinal"] for call in await received(backends, http, 0)), default=0)
    places, statuses = asyncio.Semaphore(AT_ONCE), []

    async def send(number: int, name: str, body: bytes) -> None:
        async with places:
            sent = {**headers, "x-litellm-call-id": f"{name}-{number}"}
            async with http.post(backends.litellm_url + route.path, data=body, headers=sent) as answer:
                statuses.append(answer.status)
                await answer.read()

    asked = list(probes(route, address, set(reads_in_source)))
    await asyncio.gather(*(send(number, name, body) for number, (name, body) in enumerate(asked)))

    calls = await received(backends, http, before)
    assert {call["model"] for call in calls} <= {route.model}, [
        (call["call_id"], call["model"]) for call in calls if call["model"] != route.model
    ]
    by_call = [call["call_id"] for call in calls if call["call_id"]]
    assert len(by_call) == len(set(by_call)), "asked twice"
    assert came == []
    # It is no test where all are refused on the way.
    assert len(calls) > len(asked) // 10 or route.name == "count_tokens"
    assert len(asked) > len(LISTED_FIELDS[route.name] & reads_in_source.keys())


async def received(backends: Backends, http: aiohttp.ClientSession, since: int) -> list[dict[str, Any]]:
    """What the model server was asked."""
    url = f"{backends.model_server.url}/_calls?since={since}&limit=100000"
    async with http.get(url) as answer:
        return list(await answer.json())
