"""D2: a response that is stored at the provider is its account's alone, on every replica and after restarts."""

import json
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import redis.asyncio
from callers import Caller, MakeCaller, Response
from gateways import Backends, GatewayThread, Ledger, StartGateway, UpstreamLog, wait_until

from gateway.storage.postgres import Pool
from gateway.storage.response_owners import KEY, hash_of

RESPONSES = "/v1/responses"
OWNERS = "SELECT * FROM response_owners WHERE account_id = $1"


class CountingPool:
    """Counts the look-ups that a worker makes in Postgres."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.selects = 0

    async def fetch(self, *args: Any) -> Any:
        self.selects += 1
        return await self.pool.fetch(*args)


def count_selects(gateway: GatewayThread) -> CountingPool:
    owners = gateway.apps[0].worker.owners
    counting = CountingPool(owners._pool)
    owners._pool = counting  # type: ignore[assignment]
    return counting


async def respond(caller: Caller, prompt: str = "Hello", **fields: Any) -> Response:
    body = {"model": "demo-chat", "input": prompt} | fields
    async with caller.http.post(caller.url + RESPONSES, json=body, headers=caller.authorization) as answer:
        return Response(answer.status, answer.headers.copy(), await answer.read())


def read_events(stream: bytes) -> list[Any]:
    return [json.loads(line[5:]) for line in stream.splitlines() if line.startswith(b"data:")]


async def wait_for_owner(pool: Pool, caller: Caller, count: int = 1) -> None:
    async def is_written() -> bool:
        return len(await pool.fetch(OWNERS, caller.account_id)) == count

    await wait_until(is_written, "the owner of the response to be written")


async def test_d2_a_conversation_goes_on_for_its_account_only(
    make: MakeCaller,
    gateway: GatewayThread,
    start_gateway: StartGateway,
    backends: Backends,
    pool: Pool,
    ledger: Ledger,
    upstream_log: UpstreamLog,
) -> None:
    owner, other = await make(), await make()
    first = await respond(owner, "[tokens=7]")
    assert first.status == 200
    await wait_for_owner(pool, owner)
    # Another replica, and a worker that was started again: neither has ever met the response.
    replica, restarted = start_gateway(state_dir=backends.folder / "replica"), start_gateway()
    counted = [count_selects(one) for one in (gateway, replica, restarted)]
    previous = first.json["id"]

    for turn, one in enumerate((gateway, replica, restarted)):
        async with redis.asyncio.from_url(backends.valkey.url()) as client:
            await client.flushall()
        sent = await upstream_log.count()

        refused = await respond(other.at(one.url), previous_response_id=previous)
        assert (refused.status, refused.code) == (404, "response_not_found")
        assert refused.error["param"] == "previous_response_id"
        assert await upstream_log.count() == sent
        # Redis and Postgres once more after a moment: a call elsewhere may just have ended.
        assert counted[turn].selects == 2

        answer = await respond(owner.at(one.url), f"[tokens=3] {turn}", previous_response_id=previous)
        assert answer.status == 200
        again = await respond(owner.at(one.url), f"[tokens=3] {turn}", previous_response_id=previous)
        assert again.status == 200
        # The worker that made it knows it; the others ask once.
        assert counted[turn].selects == (2 if one is gateway else 3)
        # The next turn hangs on this one.
        await wait_for_owner(pool, owner, 2 * turn + 3)
        previous = answer.json["id"]

    assert len(await ledger.rows(owner.account_id, 7)) == 7
    assert await pool.fetchval("SELECT count(*) FROM usage_logs WHERE account_id = $1", other.account_id) == 0


@pytest.mark.parametrize(
    "path", ["/v1/responses", "/v1/responses/compact", "/openai/responses",
             "/openai/deployments/demo-chat/responses"],
)  # fmt: skip
async def test_d2_every_route_that_takes_a_response_asks_whose_it_is(
    path: str, make: MakeCaller, upstream_log: UpstreamLog, ledger: Ledger
) -> None:
    owner, other = await make(), await make()
    body = {"model": "demo-chat", "input": "x", "previous_response_id": (await respond(owner)).json["id"]}
    sent = await upstream_log.count()

    async with other.http.post(other.url + path, json=body, headers=other.authorization) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (404, "response_not_found")

    assert await upstream_log.count() == sent
    assert await ledger.rows(other.account_id, 0) == []
    async with owner.http.post(owner.url + path, json=body, headers=owner.authorization) as answer:
        assert answer.status == 200
    assert await upstream_log.count() == sent + 1


async def test_d2_redis_spares_other_replicas_the_statement(
    make: MakeCaller, start_gateway: StartGateway, backends: Backends
) -> None:
    owner = await make()
    replica = start_gateway(state_dir=backends.folder / "replica")
    counted = count_selects(replica)
    first = await respond(owner)

    answer = await respond(owner.at(replica.url), previous_response_id=first.json["id"])

    assert (answer.status, counted.selects) == (200, 0)


async def test_d2_what_is_not_stored_belongs_to_nobody(
    caller: Caller, pool: Pool, ledger: Ledger, backends: Backends
) -> None:
    answer = await respond(caller, store=False)

    await ledger.row(caller.account_id)
    assert await pool.fetch(OWNERS, caller.account_id) == []
    async with redis.asyncio.from_url(backends.valkey.url()) as client:
        assert await client.get(KEY % hash_of(caller.account_id, answer.json["id"]).hex) is None


async def test_d2_the_row_holds_no_id_and_the_tokens_of_the_turn(
    caller: Caller, pool: Pool, ledger: Ledger, backends: Backends
) -> None:
    answer = await respond(caller, "[tokens=5]", stream=True)

    (created, *_) = read_events(answer.body)
    await wait_for_owner(pool, caller)
    owner, row = await pool.fetchrow(OWNERS, caller.account_id), await ledger.row(caller.account_id)
    assert owner["id_hash"] == hash_of(caller.account_id, created["response"]["id"])
    assert owner["total_tokens"] == row["prompt_tokens"] + row["completion_tokens"]
    assert owner["model_id"] == row["model_id"]
    async with redis.asyncio.from_url(backends.valkey.url()) as client:
        assert 3000 < await client.ttl(KEY % owner["id_hash"].hex) <= 3600


async def test_d2_the_estimate_reserves_the_last_turn(
    caller: Caller, gateway: GatewayThread, pool: Pool, ledger: Ledger
) -> None:
    first = await respond(caller, "word " * 500 + "[tokens=100]")
    row = await ledger.row(caller.account_id)
    last_turn = row["prompt_tokens"] + row["completion_tokens"]
    await caller.limit("tokens", row["counted_tokens"] + last_turn, window="day")
    await gateway.wait_for_changes(pool)

    refused = await respond(caller, "more", previous_response_id=first.json["id"], max_output_tokens=5)
    assert refused.status == 429
    await caller.limit("tokens", row["counted_tokens"] + last_turn + 60, window="day")
    await gateway.wait_for_changes(pool)
    answer = await respond(caller, "more", previous_response_id=first.json["id"], max_output_tokens=5)

    assert answer.status == 200
    assert answer.json["usage"]["input_tokens"] > last_turn


async def test_d2_a_response_that_was_left_is_not_continued(
    caller: Caller, pool: Pool, ledger: Ledger, http: aiohttp.ClientSession
) -> None:
    body = {"model": "demo-chat", "input": "[tokens=500] [rate=50]", "stream": True}
    async with http.post(caller.url + RESPONSES, json=body, headers=caller.authorization) as answer:
        begin = await answer.content.readuntil(b"\n\n")
        response_id = read_events(begin)[0]["response"]["id"]
        running = await respond(caller, previous_response_id=response_id)
    await ledger.row(caller.account_id)
    left = await respond(caller, previous_response_id=response_id)

    assert (running.status, left.status) == (404, 404)
    assert (await pool.fetchrow(OWNERS, caller.account_id))["total_tokens"] is None


async def ask(caller: Caller, method: str, path: str) -> Response:
    async with caller.http.request(method, caller.url + path, headers=caller.authorization) as answer:
        return Response(answer.status, answer.headers.copy(), await answer.read())


ACTIONS = (("GET", ""), ("GET", "/input_items"), ("POST", "/cancel"), ("DELETE", ""))


@pytest.mark.parametrize("prefix", ["/v1", "", "/openai/v1"])
async def test_d2_a_response_is_read_and_deleted_by_its_account_only(
    prefix: str, make: MakeCaller, ledger: Ledger, upstream_log: UpstreamLog
) -> None:
    owner, other = await make(), await make()
    response = (await respond(owner, "[tokens=7]")).json
    sent = await upstream_log.count()

    for method, action in ACTIONS:
        refused = await ask(other, method, f"{prefix}/responses/{response['id']}{action}")
        assert (refused.status, refused.code) == (404, "response_not_found")
    assert await upstream_log.count() == sent
    found = [await ask(owner, method, f"{prefix}/responses/{response['id']}{action}") for method, action in ACTIONS]

    assert [answer.status for answer in found] == [200, 200, 200, 200]
    assert (found[0].json, found[2].json) == (response, response)
    assert found[1].json["data"][0]["content"] == "[tokens=7]"
    assert found[3].json == {"id": response["id"], "object": "response", "deleted": True}
    assert (await ask(owner, "GET", f"{prefix}/responses/{response['id']}")).status == 404
    rows = await ledger.rows(owner.account_id, 6)
    assert [(row["endpoint"], row["status"]) for row in rows[1:]] == [("stored_responses", 200)] * 4 + [
        ("stored_responses", 404)
    ]
    assert {(row["counted_tokens"], row["counted_nano_usd"]) for row in rows[1:]} == {(0, 0)}
    assert [row["counted_requests"] for row in rows] == [1, 1, 1, 1, 1, 0]


async def test_d2_reading_a_response_counts_as_a_request(caller: Caller) -> None:
    await caller.limit("requests", 2, window="day")
    response = (await respond(caller)).json

    read = [await ask(caller, "GET", f"{RESPONSES}/{response['id']}") for _ in range(2)]

    assert [answer.status for answer in read] == [200, 429]


async def test_d2_a_response_is_shown_only_once_it_was_charged(
    caller: Caller, ledger: Ledger, http: aiohttp.ClientSession
) -> None:
    body = {"model": "demo-chat", "input": "[tokens=500] [rate=50]", "stream": True}
    async with http.post(caller.url + RESPONSES, json=body, headers=caller.authorization) as answer:
        response_id = read_events(await answer.content.readuntil(b"\n\n"))[0]["response"]["id"]
        running = [await ask(caller, method, f"{RESPONSES}/{response_id}{action}") for method, action in ACTIONS[:3]]
    await ledger.row(caller.account_id)

    assert [answer.status for answer in running] == [404, 404, 404]
    left = [await ask(caller, method, f"{RESPONSES}/{response_id}{action}") for method, action in ACTIONS]
    assert [answer.status for answer in left] == [404, 404, 404, 200]


async def test_d2_routes_of_a_response_need_a_key_and_take_their_methods(caller: Caller) -> None:
    for method, action in ACTIONS:
        async with caller.http.request(method, f"{caller.url}{RESPONSES}/resp_1{action}") as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (401, "missing_api_key")
    for method, path, allowed in (
        ("POST", "resp_1", "GET, DELETE"),
        ("PUT", "resp_1", "GET, DELETE"),
        ("GET", "resp_1/cancel", "POST"),
        ("DELETE", "resp_1/input_items", "GET"),
    ):
        refused = await ask(caller, method, f"{RESPONSES}/{path}")
        assert (refused.status, refused.headers["allow"]) == (405, allowed), path
    assert (await ask(caller, "GET", f"{RESPONSES}/")).code == "not_found"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "invalid_request"),
        ("limit=x", "invalid_request"),
        ("order=up", "invalid_request"),
        ("after=", "invalid_request"),
        ("model=demo-chat-large", "model_in_query"),
    ],
)
async def test_d2_a_page_of_input_items_is_checked(query: str, code: str, caller: Caller) -> None:
    response = (await respond(caller)).json

    refused = await ask(caller, "GET", f"{RESPONSES}/{response['id']}/input_items?{query}")

    assert (refused.status, refused.code) == (400, code)


async def test_d2_unknown_ids_of_any_form_are_not_found(caller: Caller, upstream_log: UpstreamLog) -> None:
    sent = await upstream_log.count()
    for name in ("resp_1", "x" * 5000, "../../key/info", "\u0000", "litellm_poll_1", "resp_" + "e" * 300):
        refused = await respond(caller, previous_response_id=name)
        assert (refused.status, refused.code) == (404, "response_not_found"), name
        refused = await ask(caller, "GET", f"{RESPONSES}/{quote(name, safe='')}")
        assert (refused.status, refused.code) == (404, "response_not_found"), name
    assert await upstream_log.count() == sent


async def test_d2_postgres_away_is_no_answer(make: MakeCaller, gateway: GatewayThread, backends: Backends) -> None:
    caller = await make()
    owners = gateway.apps[0].worker.owners

    class AwayPool:
        async def fetch(self, *_: Any) -> Any:
            raise OSError("away")

    pool, owners._pool = owners._pool, AwayPool()  # type: ignore[assignment]
    try:
        refused = await respond(caller, previous_response_id="resp_1")
    finally:
        owners._pool = pool

    assert (refused.status, refused.code) == (503, "database_unavailable")
