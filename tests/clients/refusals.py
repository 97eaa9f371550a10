"""Every refusal a client may meet: how to come by it, and what the client has to make of it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from callers import Caller, MakeCaller
from gateways import RedisState, wait_until

from clients.tasks import RETRIES, Task
from clients.wire import Wire

UNPRICED: Final = "demo-unpriced"
ALL: Final = RETRIES + 1


@dataclass(frozen=True, slots=True)
class Scene:
    """Callers of a gateway, that gateway behind a counting wire, and another one that finds no Redis."""

    make: MakeCaller
    redis_state: RedisState
    wire: Wire
    wire_without_redis: Wire

    def task(self, caller: Caller) -> Task:
        return Task(name="plain", url=self.wire.url, key=caller.key, model="demo-chat", max_tokens=16)

    def wire_of(self, task: Task) -> Wire:
        return self.wire if task.url == self.wire.url else self.wire_without_redis

    async def spend(self, caller: Caller, prompt: str) -> None:
        """A call that is answered and settled, past the wire."""
        said = await caller.chat(prompt)
        assert said.status == 200, said.body
        await self.redis_state.wait_until_settled(caller.account_id)


Arrange = Callable[[Scene], AbstractAsyncContextManager[Task]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """`tries` are the requests that arrive where two retries are allowed; after the last one the caller has an answer
    or an exception. `wait_s` are the bounds of the waits that the gateway tells; None: it tells none."""

    name: str
    arrange: Arrange
    status: int
    code: str
    tries: int
    is_answered: bool = False
    wait_s: tuple[float, float] | None = None

    @property
    def row(self) -> str:
        """Its row in the table."""
        return f"{self.name}: {self.status} `{self.code}`"


@asynccontextmanager
async def short_wait(scene: Scene) -> AsyncIterator[Task]:
    # What is missing is spent at one token a second, so that it hardly depends on how long the call took; then about
    # 25 tokens are missing at ten a second.
    caller = await scene.make()
    await caller.limit("tpm", 60)
    await scene.spend(caller, "Hello [tokens=605]")
    await caller.limit("tpm", 600)
    await wait_until(lambda: has_heard_of(caller, 600), "the gateway to know the new limit")
    yield scene.task(caller)


async def has_heard_of(caller: Caller, tokens_per_minute: int) -> bool:
    reported = (await caller.get("/v1/limits")).json["data"]
    return ("tpm", tokens_per_minute) in [(limit["kind"], limit["limit"]) for limit in reported]


@asynccontextmanager
async def long_wait(scene: Scene) -> AsyncIterator[Task]:
    # Ten tokens a second, and about 900 missing: less than the two minutes above which some SDKs give up by themselves.
    caller = await scene.make()
    await caller.limit("tpm", 600)
    await scene.spend(caller, "Hello [tokens=1475]")
    yield scene.task(caller)


@asynccontextmanager
async def concurrency(scene: Scene) -> AsyncIterator[Task]:
    caller = await scene.make()
    await caller.limit("concurrency", 1)
    async with caller.open_chat("Hello [tokens=100] [rate=1]", stream=True):
        yield scene.task(caller)


@asynccontextmanager
async def spent_requests(scene: Scene) -> AsyncIterator[Task]:
    caller = await scene.make()
    await caller.limit("requests", 1, window="day")
    await scene.spend(caller, "Hello")
    yield scene.task(caller)


@asynccontextmanager
async def spent_budget(scene: Scene) -> AsyncIterator[Task]:
    caller = await scene.make()
    await caller.limit("cost", 1_000_000, window="month")
    # At 2 USD a million tokens.
    await scene.spend(caller, "Hello [tokens=500]")
    yield scene.task(caller)


@asynccontextmanager
async def never_fits(scene: Scene) -> AsyncIterator[Task]:
    caller = await scene.make()
    await caller.limit("tpm", 10)
    yield replace(scene.task(caller), prompt="word " * 200)


@asynccontextmanager
async def no_price(scene: Scene) -> AsyncIterator[Task]:
    caller = await scene.make(UNPRICED)
    await caller.limit("cost", 1_000_000_000, window="month")
    yield replace(scene.task(caller), model=UNPRICED)


@asynccontextmanager
async def unknown_model(scene: Scene) -> AsyncIterator[Task]:
    yield replace(scene.task(await scene.make()), model="no-such-model")


@asynccontextmanager
async def invalid_key(scene: Scene) -> AsyncIterator[Task]:
    task = scene.task(await scene.make())
    yield replace(task, key=task.key + "x")


@asynccontextmanager
async def redis_away(scene: Scene) -> AsyncIterator[Task]:
    yield replace(scene.task(await scene.make()), url=scene.wire_without_redis.url)


REFUSALS: Final = (
    Refusal(
        name="a rate limit that fits again in seconds",
        arrange=short_wait,
        status=429,
        code="rate_limit_exceeded",
        tries=2,
        is_answered=True,
        wait_s=(0.1, 5.0),
    ),
    Refusal(
        name="a rate limit that needs more than 60 s",
        arrange=long_wait,
        status=429,
        code="rate_limit_exceeded",
        tries=1,
        wait_s=(60.001, 120.0),
    ),
    Refusal(
        name="concurrent requests, as long as the slot is held",
        arrange=concurrency,
        status=429,
        code="rate_limit_exceeded",
        tries=ALL,
        wait_s=(1.0, 1.0),
    ),
    Refusal(name="requests of the day spent", arrange=spent_requests, status=429, code="insufficient_quota", tries=1),
    Refusal(name="budget of the month spent", arrange=spent_budget, status=429, code="insufficient_quota", tries=1),
    Refusal(
        name="a call larger than a limit will ever hold",
        arrange=never_fits,
        status=400,
        code="request_exceeds_limit",
        tries=1,
    ),
    Refusal(
        name="a cost limit and a model without a price",
        arrange=no_price,
        status=403,
        code="model_has_no_price",
        tries=1,
    ),
    Refusal(name="an unknown model", arrange=unknown_model, status=404, code="model_not_found", tries=1),
    Refusal(name="an invalid key", arrange=invalid_key, status=401, code="invalid_api_key", tries=1),
    Refusal(
        name="Redis away",
        arrange=redis_away,
        status=503,
        code="limits_unavailable",
        tries=ALL,
        wait_s=(1.0, 1.0),
    ),
)
