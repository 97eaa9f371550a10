"""Each task of the matrix: what a client returns is what the model said and what the ledger holds.

A check returns the cell of the page's table.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from callers import Caller, new_mark
from gateways import Ledger, UpstreamLog, wait_until

from clients.client import CHAT_MODEL, EMBEDDING_MODEL, Client
from clients.programs import Programs
from clients.refusals import Scene
from clients.table import WORKS
from clients.tasks import Seen
from deploy.embedded.model_server.words import vector
from gateway.domain.estimates import FIRST_COMPLETION
from gateway.estimate import HIDDEN_TOKENS_A_SECOND

TEXTS: Final = ("a harbour in the rain", "über den Dächern", "日本語")
DIMENSIONS: Final = 8
WORDS: Final = 12
MAX_TOKENS: Final = 256
# Twenty seconds.
ENDLESS_TOKENS: Final = 400
ENDLESS: Final = f"Hello [tokens={ENDLESS_TOKENS}] [rate=20]"
REFUSED: Final = "The gateway (not the model) refuses this call: the limit of 1 requests per day"
COUNTED: Final = ("prompt_tokens", "completion_tokens")


@dataclass(frozen=True, slots=True)
class Trial:
    """One client at one task, and what is needed to look behind it."""

    client: Client
    name: str
    scene: Scene
    programs: Programs
    ledger: Ledger
    upstream_log: UpstreamLog

    async def do(self, caller: Caller, **fields: Any) -> Seen:
        """The task, which is not refused."""
        seen = await self._do(caller, fields)
        assert seen.error is None, f"{seen.error} {seen.status} {seen.message}"
        return seen

    async def _do(self, caller: Caller, fields: Mapping[str, Any]) -> Seen:
        task = replace(self.scene.task(caller), name=self.name, model=self.client.model, max_tokens=MAX_TOKENS)
        return await self.programs.do(self.client, replace(task, **fields))

    async def refused(self, caller: Caller, status: int, code: str, **fields: Any) -> Seen:
        """A task that is refused, as the client shows it."""
        first = next(task for task in ("plain", "stream", "rerank") if self.client.does(task))
        seen = await self._do(caller, {"name": first, "texts": TEXTS} | fields)
        assert seen.error == self.client.errors[status], seen.message
        assert seen.status == (status if self.client.shows_status else 0)
        assert seen.code == (code if self.client.shows_code else None)
        return seen

    def assert_tokens(self, seen: Seen, rows: list[dict[str, Any]], counted: tuple[str, ...] = COUNTED) -> None:
        """Those that are shown are those that are charged."""
        shown = [getattr(seen, name) for name in counted]
        charged = [sum(row[name] for row in rows) for name in counted]
        assert shown == ([None] * len(counted) if self.name in self.client.silent else charged)
        assert {(row["ending"], row["estimated"]) for row in rows} == {("completed", False)}


async def text(trial: Trial) -> str:
    caller = await trial.scene.make(trial.client.model)

    seen = await trial.do(caller, prompt=f"Hello [tokens={WORDS}] [usage=cumulative]")

    row = await trial.ledger.row(caller.account_id)
    if seen.parsed is None:
        assert len((seen.text or "").split()) == WORDS
    else:
        assert_city(seen)
    trial.assert_tokens(seen, [row])
    is_stream = trial.name == "stream"
    assert (row["streamed"], (seen.pieces or 0) > 1) == (is_stream or trial.client.always_streams, is_stream)
    assert trial.scene.wire.tries == trial.client.requests_of_a_call
    return WORKS


async def tools(trial: Trial) -> str:
    caller = await trial.scene.make(trial.client.model)

    name, given = trial.client.tool

    seen = await trial.do(caller, prompt=f"[tool={name}] [arguments={given}] How is it there?")

    arguments = json.loads(seen.arguments) if isinstance(seen.arguments, str) else seen.arguments
    assert (seen.tool, arguments, bool(seen.text)) == (name, json.loads(given), True)
    trial.assert_tokens(seen, await trial.ledger.rows(caller.account_id, 2))
    return WORKS


async def structured_output(trial: Trial) -> str:
    caller = await trial.scene.make(trial.client.model)

    seen = await trial.do(caller, prompt="A city")

    assert_city(seen)
    trial.assert_tokens(seen, await trial.ledger.rows(caller.account_id, 1))
    return WORKS


def assert_city(seen: Seen) -> None:
    assert seen.parsed is not None
    assert {key: type(value) for key, value in seen.parsed.items()} == {"name": str, "population": int}
    assert seen.parsed["name"]


async def embeddings(trial: Trial) -> str:
    caller = await trial.scene.make(EMBEDDING_MODEL)

    seen = await trial.do(caller, model=EMBEDDING_MODEL, texts=TEXTS)

    # Also as four-byte floats in base64, which some ask for: they are eighths.
    assert seen.vectors == [vector(text, DIMENSIONS) for text in TEXTS]
    trial.assert_tokens(seen, [await trial.ledger.row(caller.account_id)], ("prompt_tokens",))
    return WORKS


async def rerank(trial: Trial) -> str:
    caller = await trial.scene.make(trial.client.model)

    seen = await trial.do(caller, prompt="rain", texts=TEXTS)

    row = await trial.ledger.row(caller.account_id)
    assert seen.ranks is not None
    assert len(seen.ranks) == 2
    assert sorted(seen.ranks, key=lambda rank: -rank[1]) == seen.ranks
    trial.assert_tokens(seen, [row])
    assert row["prompt_tokens"] > len(TEXTS)
    return WORKS


async def models(trial: Trial) -> str:
    granted = {trial.client.model, "vendor/demo-chat", EMBEDDING_MODEL}
    caller = await trial.scene.make(*granted)

    seen = await trial.do(caller)

    assert sorted(seen.models or ()) == sorted(granted)
    return WORKS


async def count(trial: Trial) -> str:
    """Counting tells what the call will be charged, is a row, and costs nothing."""
    caller = await trial.scene.make(trial.client.model)

    counted = await trial.do(caller)
    (row,) = await trial.ledger.rows(caller.account_id, 1)
    said = await trial.do(caller, name="plain")

    assert counted.prompt_tokens == said.prompt_tokens
    assert (row["ending"], row["estimated"], row["cost_nano_usd"]) == ("completed", False, 0)
    return WORKS


async def refused_by_limit(trial: Trial) -> str:
    caller = await trial.scene.make(*{trial.client.model, CHAT_MODEL})
    await caller.limit("requests", 1, window="day")
    await trial.scene.spend(caller, "Hello")

    seen = await trial.refused(caller, 429, "insufficient_quota")

    assert trial.client.own_messages.get(429, REFUSED) in seen.message
    assert len(await trial.ledger.rows(caller.account_id, 1)) == 1
    assert trial.scene.wire.tries == trial.client.tries_when_spent
    return trial.client.refusal_cell(429)


async def unknown_model(trial: Trial) -> str:
    caller = await trial.scene.make(trial.client.model)

    seen = await trial.refused(caller, 404, "model_not_found", model="no-such-model")

    assert "no-such-model" in seen.message
    return trial.client.refusal_cell(404)


async def hang_up(trial: Trial) -> str:
    caller, mark = await trial.scene.make(trial.client.model), new_mark()

    watched = trial.upstream_log.url_of(mark=mark)
    prompt = f"{ENDLESS} [mark={mark}]"
    seen = await trial.do(caller, max_tokens=ENDLESS_TOKENS, prompt=prompt, watched=watched)

    async def has_ended() -> bool:
        return (await trial.upstream_log.call(mark=mark))["ending"] != "running"

    assert seen.text
    await wait_until(has_ended, "the model server to be left")
    billed, row = await trial.upstream_log.call(mark=mark), await trial.ledger.row(caller.account_id)
    assert (billed["ending"], row["ending"]) == ("hung_up", "client_disconnected")
    assert 0 < billed["completion_tokens"] < ENDLESS_TOKENS
    # What passed, estimated by its bytes; and what a model may have reasoned unseen while the gateway read on.
    # Where nothing of a message has passed yet, as with an agent that shows it whole, it is at least the estimate.
    unseen = (
        max(FIRST_COMPLETION, HIDDEN_TOKENS_A_SECOND * row["total_ms"] / 1000) if trial.client.asks_to_reason else 0
    )
    assert 0 < row["completion_tokens"] <= max(ENDLESS_TOKENS, unseen)
    assert row["estimated"]
    await trial.scene.redis_state.wait_until_settled(caller.account_id)
    return WORKS


Check = Callable[[Trial], Awaitable[str]]
CHECKS: Final[Mapping[str, Check]] = {
    "plain": text,
    "stream": text,
    "tools": tools,
    "structured": structured_output,
    "embeddings": embeddings,
    "rerank": rerank,
    "models": models,
    "count": count,
    "refused_by_limit": refused_by_limit,
    "unknown_model": unknown_model,
    "hang_up": hang_up,
}
