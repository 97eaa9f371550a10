"""`limits explain` and the gateway agree in every state (A2): random states, both asked, answers compared.

`make explain-states` asks of more states, other ones each time.
"""

import asyncio
import json
import os
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import asyncpg
import pytest
import redis.asyncio
from access_states import HERE, State, make_states, write_states
from callers import CHAT
from conftest import Database
from factories import ADMIN
from gateways import Backends, GatewayThread, RedisState

from admin_api.operations.limits import explain
from deploy.embedded.valkey import Valkey
from gateway.domain.call_shapes import ORDINARY_PROMPT
from gateway.endpoints.chat import parse_chat
from gateway.storage.counters.scripts import Counters
from gateway.storage.postgres import Pool, new_pool

STATES: Final = int(os.environ.get("LITEMAAS_TEST_STATES", "1000"))
SEED: Final = secrets.randbits(32) if "LITEMAAS_TEST_STATES" in os.environ else 2
AT_ONCE: Final = 8
LEAST_OF_EACH: Final = 10
# A bucket may refill, or a window end, between the two questions: then both are asked again.
MAX_ASKED_AGAIN: Final = 3
# Of limits: their messages have numbers that change with time.
COUNTED: Final = ("rate_limit_exceeded", "insufficient_quota", "request_exceeds_limit")


@dataclass(frozen=True, slots=True)
class Answer:
    """None: admitted."""

    code: str | None
    message: str | None


@dataclass(frozen=True, slots=True)
class Asking:
    """Both doors to the same state."""

    pool: Pool
    counters: Counters
    http: aiohttp.ClientSession
    url: str
    redis_state: RedisState

    async def explain(self, state: State) -> Answer:
        call = explain.CallInput(model=state.asks_for, max_tokens=state.max_tokens, address="127.0.0.1")
        said = await explain.explain_limits(self.pool, self.counters, ADMIN, key_id=state.number, call=call)
        return Answer(said.code, None if said.code in COUNTED else said.message)

    async def call(self, state: State) -> Answer:
        headers = {"authorization": f"Bearer {state.secret}"}
        async with self.http.post(self.url + state.path, json=state.body, headers=headers) as answer:
            body: Any = await answer.json()
            if answer.status == 200:
                return Answer(None, None)
            error = body["error"]
            return Answer(error["code"], None if error["code"] in COUNTED else error["message"])

    async def both(self, state: State) -> tuple[Answer, Answer]:
        if state.is_drained:
            await self.call(state)
            await self.redis_state.wait_until_settled(state.number)
        explained = await self.explain(state)
        return explained, await self.call(state)


@pytest.fixture
def own_backends(database: Database, valkey: Valkey, redis_url: str, backends: Backends, tmp_path: Path) -> Backends:
    """A database and a Redis of this test alone: its rows have ids of their own."""
    return Backends(database, valkey, backends.model_server.url, backends.litellm_key, backends.model_server, tmp_path)


@pytest.fixture
async def states(own_backends: Backends) -> list[State]:
    made = make_states(STATES, SEED)
    owner = await asyncpg.connect(own_backends.database.owner_url)
    async with new_pool(own_backends.database.app_url, size=2) as pool:
        await write_states(owner, pool, made)
    await owner.close()
    return made


@pytest.fixture
def own_gateway(own_backends: Backends, states: list[State]) -> Iterator[GatewayThread]:
    with GatewayThread(own_backends.settings()) as running:
        yield running


@pytest.fixture
async def asking(own_backends: Backends, own_gateway: GatewayThread) -> AsyncIterator[Asking]:
    redis_url = own_backends.valkey.url()
    async with (
        new_pool(own_backends.database.app_url, size=4) as pool,
        explain.open_counters(redis_url, timeout_s=30) as counters,
        aiohttp.ClientSession() as http,
        redis.asyncio.from_url(redis_url) as client,
    ):
        yield Asking(pool, counters, http, own_gateway.url, RedisState(client))


@pytest.mark.timeout(600 if STATES <= 1000 else 7200)
async def test_a2_explain_and_the_gateway_agree_in_every_state(states: list[State], asking: Asking) -> None:
    seen: Counter[str | None] = Counter()
    asked_again: list[State] = []
    differing: list[tuple[State, Answer, Answer]] = []
    gate = asyncio.Semaphore(AT_ONCE)

    async def ask(state: State) -> None:
        async with gate:
            explained, called = await asking.both(state)
            if explained != called:
                asked_again.append(state)
                explained, called = await asking.explain(state), await asking.call(state)
            seen[called.code] += 1
            if explained != called:
                differing.append((state, explained, called))

    await asyncio.gather(*map(ask, states))

    assert differing == [], f"seed {SEED}: {len(differing)} of {len(states)}"
    assert len(asked_again) <= MAX_ASKED_AGAIN * len(states) / 1000, f"seed {SEED}: {asked_again}"
    too_few = {code: seen[code] for code in (None, *explain.REFUSALS) if seen[code] < LEAST_OF_EACH}
    assert too_few == {}, f"seed {SEED}"


def test_a2_the_states_ask_with_the_prompt_of_an_ordinary_call() -> None:
    state = next(one for one in make_states(100, SEED) if one.path == CHAT)
    call = parse_chat(json.dumps(state.body).encode())

    assert round(call.prompt_tokens) == ORDINARY_PROMPT


def test_a2_states_have_an_address_to_be_refused() -> None:
    networks = {state.network for state in make_states(200, SEED)}

    assert networks == {None, HERE, "10.0.0.0/8"}
