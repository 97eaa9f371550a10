"""Case D5: where LiteLLM answers a request of the vendors' types with 200, the gateway gives the same answer.

Each optional field of the openai and anthropic request types is sent as null, as each of its words, and at plain values
of its type, to LiteLLM and then to the gateway.
"""

import asyncio
import json
from collections.abc import Iterator
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import aiohttp
import pytest
from allowed_fields.vendor_fields import request_types
from callers import Caller, MakeCaller
from gateways import Backends
from typing_extensions import is_typeddict

from end_to_end.asking import CHAT, CLAUDE, COMPLETIONS, EMBEDDINGS, MESSAGES, RESPONSES, Route
from gateway.endpoints.allowed_fields import why_unsafe

AT_ONCE: Final = 8
WORDS_EACH: Final = 3
# What two answers of LiteLLM to one request do not share.
OWN_OF_EACH_ANSWER: Final = {"id", "item_id", "created", "created_at", "completed_at"}
# (endpoint, field, `repr` of the value) → why the gateway refuses it; the model server here judges nothing.
LEAST: Final = "OpenAI takes no less than 1"
FEE: Final = "a tool of the provider, whose fee the price does not have, under a cost limit"
DEAR: Final = "costs more than the price of the model"
REFUSED: Final = {
    ("responses", "background", "True"): "nobody would be there to pay for it",
    ("responses", "max_output_tokens", "0"): LEAST,
    ("chat_completions", "max_completion_tokens", "0"): LEAST,
    ("chat_completions", "max_tokens", "0"): LEAST,
    ("chat_completions", "n", "0"): LEAST,
    ("chat_completions", "web_search_options", "{}"): FEE,
    ("messages", "inference_geo", "''"): DEAR,
    ("messages", "inference_geo", "'x'"): DEAR,
    ("messages", "speed", "'fast'"): DEAR,
    ("completions", "best_of", "0"): LEAST,
    ("completions", "n", "0"): LEAST,
}


def values(hint: Any) -> Iterator[Any]:
    """Null, and plain values of each type that the hint names."""
    yield None
    if get_origin(hint) is Literal:
        yield from get_args(hint)[:WORDS_EACH]
        return
    for kind, some in ((bool, (True, False)), (int, (0, 1)), (float, (0.0, 1.0)), (str, ("", "x"))):
        if hint is kind:
            yield from some
    if is_typeddict(hint) or get_origin(hint) is dict:
        yield {}
        if get_origin(hint) is dict:
            yield {"k": "v"}
    elif get_origin(hint) is list or "Iterable" in str(get_origin(hint)):
        yield []
    else:
        for inner in get_args(hint):
            yield from values(inner)


def variants(route: Route) -> list[tuple[str, Any]]:
    own = route.fields("hi [tokens=2]")
    found: list[tuple[str, Any]] = []
    for kind in request_types()[route.name]:
        for name, hint in get_type_hints(kind).items():
            # Headers, for the SDK.
            if name in own or name == "betas" or why_unsafe(route.name, name):
                continue
            for value in values(hint):
                # By `repr`, for True is 1.
                if (name, repr(value)) not in {(one, repr(other)) for one, other in found}:
                    found.append((name, value))
    return found


async def status(http: aiohttp.ClientSession, url: str, key: str, body: dict[str, Any]) -> tuple[int, bytes]:
    async with http.post(url, json=body, headers={"authorization": f"Bearer {key}"}) as answer:
        return answer.status, await answer.read()


def comparable(answer: bytes) -> list[Any]:
    """The events of a stream, or one body, without what differs between two answers to the same request."""
    lines = answer.decode().splitlines()
    data = [line[6:] for line in lines if line.startswith("data: ")]
    return [part if part == "[DONE]" else _comparable(json.loads(part)) for part in data or [answer.decode()]]


def _comparable(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: _comparable(value) for name, value in part.items() if name not in OWN_OF_EACH_ANSWER}
    return [_comparable(one) for one in part] if isinstance(part, list) else part


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "route",
    [CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, MESSAGES, CLAUDE],
    ids=lambda route: f"{route.name} {route.model}",
)
async def test_d5_what_litellm_answers_is_answered_here(route: Route, make: MakeCaller, backends: Backends) -> None:
    caller: Caller = await make(route.model)
    places = asyncio.Semaphore(AT_ONCE)
    answered, refused, differing = [], [], []

    async def compare(name: str, value: Any) -> None:
        body = route.fields("hi [tokens=2]", **{name: value})
        async with places:
            direct, expected = await status(caller.http, backends.litellm_url + route.path, backends.litellm_key, body)
            if direct != 200:
                return
            answered.append(name)
            here, text = await status(caller.http, caller.url + route.path, caller.key, body)
        if here != 200:
            refused.append((name, value, here, text[:200]))
        elif comparable(text) != comparable(expected):
            differing.append((name, value, comparable(text), comparable(expected)))

    tried = variants(route)
    await asyncio.gather(*(compare(name, value) for name, value in tried))

    assert [one for one in refused if (route.name, one[0], repr(one[1])) not in REFUSED] == []
    assert differing == []
    assert {name for name, _ in tried} - {name for name, value in tried if value is None} == set()
    assert len(answered) > len({name for name, _ in tried}) // 2
