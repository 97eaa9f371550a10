"""D2: an item that a provider completes by its id is its account's alone; who sends another's sends it under a name
that nobody has, or is refused."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis.asyncio
from callers import Caller, MakeCaller, Response
from gateways import Backends, GatewayThread, StartGateway, wait_until
from recording_upstream import RecordingUpstream

from gateway.storage.postgres import Pool

OUTPUT: list[dict[str, Any]] = [
    {"type": "reasoning", "id": "rs_1", "summary": []},
    {"type": "reasoning", "id": "rs_2", "summary": [{"type": "summary_text", "text": "a thought"}]},
    {"type": "reasoning", "id": "rs_3", "summary": [], "encrypted_content": "gAAA"},
    {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "iVBO"},
    {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
    {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"},
    {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]},
]
BY_ID = ("rs_1", "rs_2", "ig_1", "ws_1")
ANSWER: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "demo-chat",
    "output": OUTPUT,
    "usage": {"input_tokens": 3, "output_tokens": 40, "total_tokens": 43},
}


@pytest.fixture
async def upstream() -> AsyncIterator[RecordingUpstream]:
    async with RecordingUpstream() as recording:
        recording.answer(json.dumps(ANSWER).encode())
        yield recording


@pytest.fixture
def recorded(start_gateway: StartGateway, backends: Backends, upstream: RecordingUpstream) -> GatewayThread:
    return start_gateway(litellm_urls=upstream.url, state_dir=backends.folder / "recorded")


async def respond(caller: Caller, items: list[Any], **fields: Any) -> Response:
    body = {"model": "demo-chat", "input": [*items, {"role": "user", "content": "go on"}]} | fields
    async with caller.http.post(f"{caller.url}/v1/responses", json=body, headers=caller.authorization) as answer:
        return Response(answer.status, answer.headers.copy(), await answer.read())


async def forget(backends: Backends, pool: Pool, caller: Caller, count: int) -> None:
    """Only Postgres knows."""

    async def is_written() -> bool:
        sql = "SELECT count(*) FROM response_owners WHERE account_id = $1"
        return bool(await pool.fetchval(sql, caller.account_id) == count)

    await wait_until(is_written, "the owners to be written")
    async with redis.asyncio.from_url(backends.valkey.url()) as client:
        await client.flushall()


@pytest.mark.parametrize("form", ["whole", "streamed", "streamed without output at the end"])
async def test_d2_items_go_back_under_their_ids_for_their_account_only(
    form: str,
    make: MakeCaller,
    recorded: GatewayThread,
    start_gateway: StartGateway,
    upstream: RecordingUpstream,
    backends: Backends,
    pool: Pool,
) -> None:
    is_streamed = form != "whole"
    if is_streamed:
        events = [{"type": "response.created", "response": ANSWER | {"status": "in_progress", "output": []}}]
        events += [{"type": "response.output_item.done", "item": item} for item in OUTPUT]
        output = OUTPUT if form == "streamed" else []
        events.append({"type": "response.completed", "response": ANSWER | {"output": output}})
        upstream.stream([b"data: " + json.dumps(event).encode() + b"\n\n" for event in events])
    owner, other = [one.at(recorded.url) for one in (await make(), await make())]
    assert (await respond(owner, [], stream=is_streamed)).status == 200
    await forget(backends, pool, owner, 1 + len(BY_ID))
    replica = start_gateway(litellm_urls=upstream.url, state_dir=backends.folder / "replica")

    for url in (recorded.url, replica.url):
        assert (await respond(owner.at(url), OUTPUT)).status == 200
        assert upstream.body["input"][:-1] == OUTPUT
    # An account that is given an id by an answer may use it: the model would give it the same ones here.
    upstream.answer(json.dumps(ANSWER | {"output": []}).encode())
    assert (await respond(other, [OUTPUT[1], *OUTPUT[3:]])).status == 200

    sent = upstream.body["input"][:-1]
    names = [item["id"] for item in sent]
    assert not set(names) & set(BY_ID)
    assert [name.partition("_")[0] for name in names[:3]] == ["rs", "ig", "ws"]
    assert names[3:] == ["fc_1", "msg_1"]
    assert [item | {"id": ""} for item in sent] == [item | {"id": ""} for item in (OUTPUT[1], *OUTPUT[3:])]
    # The same item has the same name again: a cache of prompts finds it.
    await respond(other, [OUTPUT[1], *OUTPUT[3:]])
    assert [item["id"] for item in upstream.body["input"][:-1]] == names


@pytest.mark.parametrize(
    "item",
    [
        OUTPUT[0],
        OUTPUT[0] | {"encrypted_content": None, "content": None, "status": "completed"},
        {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": None},
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"type": "file_search_call", "id": "fs_1", "status": "completed", "queries": [], "results": None},
        {"type": "of next year", "id": "ny_1"},
    ],
)
async def test_d2_another_accounts_item_that_is_but_an_id_is_not_found(
    item: dict[str, Any], make: MakeCaller, recorded: GatewayThread, upstream: RecordingUpstream
) -> None:
    owner, other = [one.at(recorded.url) for one in (await make(), await make())]
    assert (await respond(owner, [])).status == 200
    sent = len(upstream.requests)

    refused = await respond(other, [item])

    assert (refused.status, refused.code, refused.error["param"]) == (404, "response_not_found", "input")
    assert len(upstream.requests) == sent


@pytest.mark.parametrize(
    "item",
    [
        {"id": "msg_1"},
        {"id": "msg_1", "type": "item_reference"},
        {"id": "msg_1", "status": "completed"},
        {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "status": "completed"},
        {"id": "msg_1", "type": "item_reference", "content": "x"},
        {"id": "fc_1", "type": "function_call", "call_id": "", "name": "", "arguments": ""},
    ],
)
async def test_d2_a_reference_is_refused_however_it_is_filled(
    item: dict[str, Any], caller: Caller, recorded: GatewayThread, upstream: RecordingUpstream
) -> None:
    refused = await respond(caller.at(recorded.url), [item])

    assert (refused.status, refused.code) == (400, "parameter_not_allowed")
    assert upstream.requests == []


AUDIO = {"id": "audio_1", "data": "AAAA", "transcript": "hi", "expires_at": 1}
USAGE = {"prompt_tokens": 3, "completion_tokens": 40, "total_tokens": 43}
SPOKEN = {
    "id": "c",
    "model": "demo-chat",
    "choices": [{"message": {"role": "assistant", "audio": AUDIO}}],
    "usage": USAGE,
}
SAID = [{"role": "assistant", "audio": {"id": "audio_1"}}, {"role": "user", "content": "go on"}]


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_d2_a_spoken_answer_is_named_by_its_account_only(
    is_streamed: bool, make: MakeCaller, recorded: GatewayThread, upstream: RecordingUpstream
) -> None:
    upstream.answer(json.dumps(SPOKEN).encode())
    if is_streamed:
        events = [{"choices": [{"delta": {"role": "assistant", "audio": AUDIO}}]}, {"choices": [], "usage": USAGE}]
        upstream.stream([b"data: " + json.dumps(event).encode() + b"\n\n" for event in events])
    owner, other = [one.at(recorded.url) for one in (await make(), await make())]
    spoken = await owner.chat(stream=is_streamed, modalities=["audio"], audio={"voice": "alloy", "format": "wav"})
    assert spoken.status == 200
    sent = len(upstream.requests)

    refused = await other.chat(messages=SAID)
    assert (refused.status, refused.code, refused.error["param"]) == (404, "response_not_found", "messages")
    assert len(upstream.requests) == sent
    assert (await owner.chat(messages=SAID)).status == 200
    assert upstream.body["messages"] == SAID


@pytest.mark.parametrize("name", [5, ["rs_1"], {"a": 1}])
async def test_d2_an_id_is_a_text(name: Any, caller: Caller, recorded: GatewayThread) -> None:
    items = await respond(caller.at(recorded.url), [{"type": "reasoning", "id": name, "summary": []}])
    spoken = await caller.at(recorded.url).chat(messages=[{"role": "assistant", "audio": {"id": name}}])

    assert [(answer.status, answer.code) for answer in (items, spoken)] == [(400, "invalid_request")] * 2


@pytest.mark.parametrize("kind", [5, ["message"], {"a": 1}])
async def test_d2_a_type_that_is_no_word_needs_an_owner(kind: Any, caller: Caller, recorded: GatewayThread) -> None:
    refused = await respond(caller.at(recorded.url), [{"type": kind, "id": "msg_1"}])

    assert (refused.status, refused.code) == (404, "response_not_found")
