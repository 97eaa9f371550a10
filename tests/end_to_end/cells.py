"""The table of endings by endpoint: how each ending is caused, and the state of ledger, Redis and model server."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from callers import Caller, Response, make_caller, new_mark
from gateways import Ledger, UpstreamLog, wait_until

from end_to_end.asking import (
    AT_ONCE,
    CLAUDE,
    COUNT_TOKENS,
    IMAGES,
    INPUT_TOKENS,
    STREAMING,
    TRANSLATIONS,
    Route,
    asked,
    opened,
    tokens,
)
from end_to_end.conftest import MeasureDrift
from gateway.storage.counters.drift import Drift
from gateway.storage.postgres import Pool

# The number of events of 150 before a disconnect; without it the stream takes fifteen seconds.
EVENTS_READ: Final = 12
# Half of it arrives before the failure, in 1.5 s: even a busy LiteLLM has sent some of it by then.
FAILING_STREAM: Final = "Hello [tokens=30] [rate=10]"
LONG_STREAM: Final = "Go on [tokens=150] [rate=10]"


# The charge in a cell.
NOTHING: Final = "nothing"
A_REQUEST: Final = "a request"
UNITS: Final = "units"
USAGE: Final = "usage"
COUNTED: Final = "LiteLLM's count"
ESTIMATE: Final = "estimate"
RESERVED: Final = "whole estimate"
PASSED: Final = "what passed"
# In place of a status if there is no such cell.
ONE_PIECE: Final = "one piece"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table: an endpoint, whole or streamed."""

    route: Route
    is_streamed: bool

    @property
    def title(self) -> str:
        name = f"`{self.route.path}`"
        if self.route.name == "messages":
            name += ", model of Anthropic" if self.route == CLAUDE else ", model of OpenAI"
        return f"{name}, streamed" if self.is_streamed else name


ROWS: Final = (
    *(Row(route, is_streamed) for route in STREAMING for is_streamed in (False, True)),
    *(Row(route, False) for route in AT_ONCE),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Gateways in front of one LiteLLM: a usual one, and one for each way in which an upstream fails it."""

    usual: str
    short_timeouts: str  # waits a second for the first byte
    listless: str  # waits a second for each next byte
    lost: str  # none of its addresses is reachable
    shut: str  # its breaker is open
    litellm_url: str
    litellm_key: str
    http: aiohttp.ClientSession
    pool: Pool
    upstream_log: UpstreamLog
    ledger: Ledger
    drift: MeasureDrift

    async def make_caller(self, model: str) -> Caller:
        """A caller with a new account and a counter of every kind."""
        caller = await make_caller(self.pool, self.usual, self.http, (model,))
        for kind in ("requests", "tokens", "cost"):
            await caller.limit(kind, 10**12, window="lifetime")
        return caller


@dataclass(slots=True)
class Seen:
    """What came of one cell. `said` is None where the caller did not stay; `row` where no call reached the gateway."""

    response: Response | None
    row: dict[str, Any] | None = None
    billed: list[dict[str, Any]] = field(default_factory=list)
    drift: list[Drift] = field(default_factory=list)

    @property
    def cell(self) -> str:
        """The cell in the table: the status of the call's row, and the charge."""
        if self.row is None:
            return ONE_PIECE
        word = charged(self.row)
        if word == USAGE and tokens(self.row) != tokens(self.billed[0]):
            word = COUNTED
        return f"{self.row['status']} {word}"


Run = Callable[[Scene, Row, Caller, str], Awaitable[Response | None]]


def charged(row: dict[str, Any]) -> str:
    """The charge of a ledger row in one word."""
    if not row["counted_requests"]:
        return NOTHING
    if not row["counted_tokens"]:
        return UNITS if row["cost_nano_usd"] else A_REQUEST
    if row["estimated_why"] == "hung_up" and row["first_byte_ms"] is None:
        return RESERVED
    return {"hung_up": PASSED, "cut_off": PASSED, "no_usage": ESTIMATE, None: USAGE}[row["estimated_why"]]


async def complete(scene: Scene, row: Row, caller: Caller, mark: str) -> Response:
    return await asked(caller, row.route, f"Hello there [tokens=17] [cached=2] [mark={mark}]", stream=row.is_streamed)


async def complete_without_usage(scene: Scene, row: Row, caller: Caller, mark: str) -> Response:
    return await asked(caller, row.route, f"Hello [tokens=17] [fault=no-usage] [mark={mark}]", stream=row.is_streamed)


async def disconnect_before_any_byte(scene: Scene, row: Row, caller: Caller, mark: str) -> None:
    async def is_running() -> bool:
        return bool(await scene.upstream_log.calls(mark=mark, ending="running"))

    prompt = f"Wait [delay=4] [tokens=9] [mark={mark}]"
    call = asyncio.ensure_future(asked(caller, row.route, prompt, stream=row.is_streamed))
    await wait_until(is_running, "the call at the model server")
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


async def disconnect_during_the_response(scene: Scene, row: Row, caller: Caller, mark: str) -> Response | None:
    if not row.is_streamed:
        return await prove_one_piece(scene, row, mark)
    async with opened(caller, row.route, f"{LONG_STREAM} [mark={mark}]", stream=True) as answer:
        for _ in range(EVENTS_READ):
            await answer.content.readuntil(b"\n\n")
    return None


async def refused_4xx(scene: Scene, row: Row, caller: Caller, mark: str) -> Response:
    return await asked(caller, row.route, f"Hello [fault=400] [mark={mark}]", stream=row.is_streamed)


async def refused_5xx(scene: Scene, row: Row, caller: Caller, mark: str) -> Response:
    return await asked(caller, row.route, f"Hello [fault=500] [mark={mark}]", stream=row.is_streamed)


async def unreachable(scene: Scene, row: Row, caller: Caller, mark: str) -> Response:
    return await asked(caller.at(scene.lost), row.route, f"Hello [mark={mark}]", stream=row.is_streamed)


async def breaker_open(scene: Scene, row: Row, caller: Caller, mark: str) -> Response:
    return await asked(caller.at(scene.shut), row.route, f"Hello [mark={mark}]", stream=row.is_streamed)


async def silent_before_any_byte(scene: Scene, row: Row, caller: Caller, mark: str) -> Response:
    there = caller.at(scene.short_timeouts)
    return await asked(there, row.route, f"Hello? [delay=6] [mark={mark}]", stream=row.is_streamed)


async def silent_within_the_answer(scene: Scene, row: Row, caller: Caller, mark: str) -> Response:
    if not row.is_streamed:
        return await prove_one_piece(scene, row, mark)
    there = caller.at(scene.listless)
    return await asked(there, row.route, f"Hello? [tokens=9] [rate=0.3] [mark={mark}]", stream=True)


async def cut(scene: Scene, row: Row, caller: Caller, mark: str) -> Response:
    prompt = f"{FAILING_STREAM} [fault=cut] [mark={mark}]"
    return await asked(caller, row.route, prompt, stream=row.is_streamed)


async def error_at_the_end(scene: Scene, row: Row, caller: Caller, mark: str) -> Response:
    prompt = f"{FAILING_STREAM} [fault=error-event] [mark={mark}]"
    return await asked(caller, row.route, prompt, stream=row.is_streamed)


async def prove_one_piece(scene: Scene, row: Row, mark: str) -> Response:
    """Asks LiteLLM itself: by the time of its first byte the model has finished, so there is no middle to break in."""
    content = row.route.content(f"Hello [tokens=20] [rate=100] [mark={mark}]")
    headers = {"authorization": f"Bearer {scene.litellm_key}"}
    async with scene.http.post(scene.litellm_url + row.route.path, headers=headers, **content) as answer:
        (call,) = await scene.upstream_log.calls(mark=mark)
        assert call["ending"] == "complete"
        assert not answer.headers["content-type"].startswith("text/event-stream")
        return Response(answer.status, answer.headers.copy(), await answer.read())


ENDINGS: Final[dict[str, Run]] = {
    "complete, usage reported": complete,
    "complete, none reported": complete_without_usage,
    "caller leaves before any byte": disconnect_before_any_byte,
    "caller leaves in the middle": disconnect_during_the_response,
    "refused, 4xx": refused_4xx,
    "refused, 5xx": refused_5xx,
    "not reachable": unreachable,
    "breaker open": breaker_open,
    "silent before any byte": silent_before_any_byte,
    "silent in the middle": silent_within_the_answer,
    "cut in the middle": cut,
    "error after the work": error_at_the_end,
}
# Endings in which nothing may reach a model.
ASKS_NOBODY: Final = ("not reachable", "breaker open")


async def try_cell(scene: Scene, row: Row, ending: str) -> Seen:
    """One call, and the state it left everywhere."""
    mark = new_mark()
    # A model priced by image reports no usage.
    is_unpriced_by_token = row.route is IMAGES and ending == "complete, none reported"
    tried = Row(Route(IMAGES.name, IMAGES.path, "demo-image"), False) if is_unpriced_by_token else row
    caller = await scene.make_caller(tried.route.model)
    run = ENDINGS[ending]
    if row.route in (COUNT_TOKENS, INPUT_TOKENS):
        # No count makes a counter: these are made of the ledger, and must stay as they are.
        await caller.get("/v1/limits")
    if row.route is TRANSLATIONS and ending not in ASKS_NOBODY:
        # LiteLLM has no such route, so there is no other ending.
        run = complete
    seen = Seen(await run(scene, tried, caller, mark))
    if run in (disconnect_during_the_response, silent_within_the_answer) and not row.is_streamed:
        return seen
    seen.row = await scene.ledger.row(caller.account_id)
    seen.drift = await scene.drift(caller)

    async def is_over() -> bool:
        return not await scene.upstream_log.calls(mark=mark, ending="running")

    await wait_until(is_over, "the end at the model server", timeout_s=60)
    seen.billed = await scene.upstream_log.calls(mark=mark)
    return seen
