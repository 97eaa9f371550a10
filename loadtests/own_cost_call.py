"""One worker's path of a call in this process, with a Redis and a LiteLLM that answer at once: for own_cost.py, which
starts this file beside the code of one commit and asks for batches on its standard input.

Everything else is real: the app, its checks, a key with eight limits on four levels, the journal on disk, metrics and
access lines. Neither uvicorn nor aiohttp nor hiredis take part, nor Postgres: what is measured is the gateway's own
Python, and the loop's.
"""

import asyncio
import gc
import importlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import wraps
from inspect import iscoroutinefunction
from pathlib import Path
from struct import pack
from typing import Any, Final

import uvloop

from gateway.domain.grants import Grant, KeyRecord
from gateway.domain.keys import new_key
from gateway.domain.limits import Limit, ScopeIds
from gateway.domain.prices import Price
from gateway.domain.reservation_plan import Entry
from gateway.main import create_app
from gateway.settings import Settings
from gateway.storage.changes import Listening
from gateway.upstream.client import Answer

STUBS: Final = "stubs"
WHOLE: Final = "whole"
REST: Final = "proxy, exchange, loop"
YARDSTICK: Final = "yardstick"
# What each part is made of; a name that a commit does not have is left out.
PARTS: Final[dict[str, tuple[str, ...]]] = {
    "request head": ("gateway.exchange:Head.read", "gateway.exchange:Exchanges.begin"),
    "body": ("gateway.proxy:read_body",),
    "parse": (),  # a field of the endpoint
    "key check": (
        *(f"gateway.proxy:{name}" for name in ("check_key", "check_address", "find_grant")),
        "gateway.authenticate:Authenticator.find_record",
    ),
    "estimate": (
        *(f"gateway.estimate:Estimator.{name}" for name in ("admissible", "may_hide_output", "learn")),
        "gateway.estimate:Estimator.estimate",
    ),
    "reserve": ("gateway.admit:Admission.admit", "gateway.storage.counters.scripts:Counters.reserve"),
    "rate-limit headers": ("gateway.domain.ratelimit_headers:RateLimitHeaders.of", "gateway.proxy:identity"),
    "begin (lease, slot on disk)": (
        "gateway.storage.ledger.begun_calls:BegunCalls.write",
        "gateway.tasks.renew_leases:LeaseKeeper.add",
        "gateway.tasks.renew_leases:LeaseKeeper.remove",
    ),
    "forward": ("gateway.proxy:upstream_headers", "gateway.upstream.pool:UpstreamPool.connect"),
    "relay": ("gateway.relay:Relay.carry",),
    "meter": tuple(f"gateway.meter:{kind}Meter.{what}" for kind in ("Answer", "Stream") for what in ("feed", "finish")),
    "row": ("gateway.forwarded_call:make_row",),
    "journal": ("gateway.settle:Settlements._journal", "gateway.storage.ledger.writer:LedgerWriter.append"),
    "settle": (
        "gateway.settle:Settlements.close_call",
        "gateway.settle:Settlements._try",
        "gateway.storage.counters.scripts:Counters.settle",
    ),
    "metrics": ("gateway.tallies:Tallies.call", "gateway.tallies:Tallies.script", "gateway.metrics:count_call"),
    "access line": (
        "gateway.access_log:AccessLog.begin",
        "gateway.access_log:AccessLog.end",
        "gateway.access_log:Line.ended",
    ),
}
KEY: Final = new_key()
IDS: Final = ScopeIds(api_key_id=1, model_id=1, subscription_id=1, user_id=1)
MESSAGES: Final = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is a limit? " * 20}]
HEADERS: Final = [
    (b"host", b"gateway:4000"), (b"accept", b"application/json"), (b"content-type", b"application/json"),
    (b"user-agent", b"OpenAI/Python 2.0.0"), (b"authorization", f"Bearer {KEY}".encode()),
    (b"x-stainless-lang", b"python"), (b"x-stainless-retry-count", b"0"), (b"accept-encoding", b"gzip, deflate"),
]  # fmt: skip
USAGE: Final = {"prompt_tokens": 100, "completion_tokens": 60, "total_tokens": 160}


class Clock:
    """Which part the time goes to: to the one that was entered last and not left. The clocks' own time is measured
    beforehand and taken off."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}
        self._entered: list[str] = [REST]
        self._last = 0
        self._step_ns = 0.0
        self._step_ns = self._measure_step()

    def _measure_step(self) -> float:
        nothing, steps = self.of(STUBS, lambda: None), 20
        found = []
        for _ in range(500):
            self.start()
            for _ in range(steps):
                nothing()
            found.append(sum(self.stop().values()) * 1000 / (2 * steps))
        return statistics.median(found)

    def start(self) -> None:
        """From zero."""
        self._spent, self._entered, self._last = {}, [REST], time.perf_counter_ns()

    def stop(self) -> dict[str, float]:
        """µs of each part since the start."""
        self._note()
        return {part: ns / 1000 for part, ns in self._spent.items()}

    def _note(self) -> None:
        now = time.perf_counter_ns()
        part = self._entered[-1]
        self._spent[part] = self._spent.get(part, 0.0) + now - self._last - self._step_ns
        self._last = now

    def enter(self, part: str) -> None:
        self._note()
        self._entered.append(part)

    def leave(self) -> None:
        self._note()
        self._entered.pop()

    def of(self, part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """`work`, whose time is the part's."""
        if iscoroutinefunction(work):

            @wraps(work)
            async def later(*args: Any, **kwargs: Any) -> Any:
                self.enter(part)
                try:
                    return await work(*args, **kwargs)
                finally:
                    self.leave()

            return later

        @wraps(work)
        def at_once(*args: Any, **kwargs: Any) -> Any:
            self.enter(part)
            try:
                return work(*args, **kwargs)
            finally:
                self.leave()

        return at_once


class Scripts:
    """Redis: every limit has room."""

    is_connected = True

    async def run(self, script: Any, key: str, *args: Any) -> Any:
        if script.name != "reserve":
            return 1
        entries = len(args[-1]) // (8 * len(Entry._fields))
        numbers = (1, int(time.time() * 1000), 0, *(10**9, 0, 100) * entries)
        return pack(f"<{len(numbers)}q", *numbers)

    async def command(self, *args: Any) -> Any:
        return 1

    async def open(self) -> None: ...

    async def close(self) -> None: ...


class StubAnswer(Answer):
    """LiteLLM's answer, all there at once."""

    def __init__(self, pieces: list[bytes], content_type: str) -> None:
        self.status, self._pieces, self._next = 200, pieces, 0
        self.headers = {"content-type": content_type, "x-litellm-version": "1"}
        self.failure = None

    async def read(self) -> bytes:
        if self._next == len(self._pieces):
            return b""
        self._next += 1
        return self._pieces[self._next - 1]

    def close(self) -> None: ...


class Upstream:
    """LiteLLM at one address."""

    url = "http://litellm:4000"

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.content_type = "application/json"

    async def send(self, *_: Any, **__: Any) -> StubAnswer:
        return StubAnswer(self.pieces, self.content_type)

    async def close(self) -> None: ...


class Pool:
    """Postgres, which nobody asks."""

    def __await__(self) -> Any:
        yield from ()
        return self

    async def close(self) -> None: ...

    def terminate(self) -> None: ...


def limits() -> tuple[Limit, ...]:
    """Eight, on four levels."""
    scopes = IDS.scopes()
    kinds: tuple[tuple[Any, Any, int], ...] = (("rpm", None, 10**6), ("tokens", "month", 10**12))
    levels: tuple[Any, ...] = ("key", "subscription", "user", "team")
    return tuple(
        Limit(id=1 + 2 * n + m, level=level, scope=scopes[level], kind=kind, window=window, amount=amount)
        for n, level in enumerate(levels)
        for m, (kind, window, amount) in enumerate(kinds)
    )


def record() -> KeyRecord:
    """A key with one model."""
    grant = Grant(
        model_id=1, model_name="model", owned_by="provider", max_output_tokens=4096, subscription_id=1,
        subscription_expires_at=None, price=Price(id=1, input=Decimal("0.000001"), output=Decimal("0.000002")),
        limits=limits(), scopes="|".join(IDS.scopes().values()),
    )  # fmt: skip
    return KeyRecord(
        key_id=1, account_id=1, user_id=1, time_zone="UTC", epoch=0, is_account_active=True, is_user_active=True,
        is_revoked=False, expires_at=None, allowed_ips=(), grants={"model": grant},
    )  # fmt: skip


def body(*, streams: bool) -> bytes:
    """Of about 1 KiB."""
    return json.dumps({"model": "model", "messages": MESSAGES, "max_tokens": 200, "stream": streams}).encode()


def answer(events: int) -> tuple[list[bytes], str]:
    """A whole answer, or so many events."""
    if not events:
        choice = {"index": 0, "message": {"role": "assistant", "content": "word " * 60}, "finish_reason": "stop"}
        whole = {"id": "c", "object": "chat.completion", "created": 1, "model": "model", "choices": [choice]}
        return [json.dumps(whole | {"usage": USAGE}).encode()], "application/json"
    event = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "model"}
    said = event | {"choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}]}
    pieces = [b"data: " + json.dumps(said).encode() + b"\n\n"] * events
    pieces.append(b"data: " + json.dumps(event | {"choices": [], "usage": USAGE}).encode() + b"\n\n")
    return [*pieces, b"data: [DONE]\n\n"], "text/event-stream"


@asynccontextmanager
async def open_app(folder: Path, upstream: Upstream) -> AsyncIterator[Any]:
    """The app with these parts in place of the network."""
    from gateway import worker as parts
    from gateway.web.background import Background

    async def load(_: bytes) -> KeyRecord:
        return record()

    stubs: tuple[tuple[Any, str, Any], ...] = (
        (parts, "_open_pool", lambda _: Pool()),
        (parts.urls, "connect", lambda *_, **__: Scripts()),
        (parts, "Upstream", lambda *_, **__: upstream),
        # Periodic work would be measured by chance.
        (Background, "keep", lambda self, work, name: self.start(work(), name) if name == "settlements" else None),
        (parts.AccessLog, "start", lambda _: None),
    )
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in stubs]
    for owner, name, stub in stubs:
        setattr(owner, name, stub)
    try:
        app = create_app(
            Settings.model_validate({
                "database_url": "postgresql://a:b@postgres/c", "redis_url": "redis://redis:6379/0",
                "litellm_urls": upstream.url, "litellm_api_key": "sk-litellm", "key_peppers": "1:" + "ab" * 32,
                "state_dir": folder, "log_level": "error",
            })
        )  # fmt: skip
        worker: Any = app.worker
        worker.keys._listening = lambda: Listening.GOOD
        worker.keys._load = load
        with open(os.devnull, "wb") as nowhere:  # noqa: ASYNC230  no disk is asked
            worker.access_log._out = nowhere
            app._proxy = await worker.open()
            yield app
            await worker.background.stop()
    finally:
        for owner, name, work in before:
            setattr(owner, name, work)


async def call(app: Any, sent: bytes) -> None:
    """One call over ASGI, and what follows it."""
    scope = {
        "type": "http", "method": "POST", "path": "/v1/chat/completions", "query_string": b"", "headers": HEADERS,
        "client": ("10.0.0.1", 50_000), "http_version": "1.1", "scheme": "http",
    }  # fmt: skip
    messages = [{"type": "http.request", "body": sent, "more_body": False}]
    status = 0

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)

    await app(scope, receive, send)
    # The row and the settlement are made in the next turns of the loop.
    for _ in range(4):
        await asyncio.sleep(0)
    if status != 200:
        raise SystemExit(f"the call was answered with {status}")


class _Place:
    __slots__ = ("name", "number", "pair")

    def __init__(self, number: int, name: str, pair: tuple[int, int]) -> None:
        self.number, self.name, self.pair = number, name, pair


def yardstick() -> int:
    """Fixed work in plain Python, a few dozen µs: what a call takes is compared with it, for machines differ. It must
    not change."""
    total, places = 0, {}
    for number in range(60):
        place = _Place(number, str(number), (number, number + 1))
        places[place.name] = place
        total += len(f"{place.number}-{place.name}".encode()) + sum(place.pair)
        if (before := places.get(str(number - 1))) is not None:
            total += before.number
    return total


async def batch(calls: int, events: int, clock: Clock | None) -> dict[str, float]:
    """µs of a call by part; without clocks, of the whole and of the yardstick. The lower quartile of all calls: in the
    middle of others the machine did something else."""
    sent = body(streams=events > 0)
    upstream = Upstream()
    upstream.pieces, upstream.content_type = answer(events)
    found = []
    with tempfile.TemporaryDirectory(prefix="litemaas-own-") as folder:
        async with open_app(Path(folder), upstream) as app:
            for _ in range(30):
                await call(app, sent)
            app.worker.access_log._write()
            gc.collect()
            gc.disable()
            for _ in range(calls):
                if clock is not None:
                    clock.start()
                    await call(app, sent)
                    found.append(clock.stop())
                else:
                    began_ns = time.perf_counter_ns()
                    await call(app, sent)
                    ended_ns = time.perf_counter_ns()
                    yardstick()
                    fixed = (time.perf_counter_ns() - ended_ns) / 1000
                    found.append({WHOLE: (ended_ns - began_ns) / 1000, YARDSTICK: fixed})
            gc.enable()
            # In the program a thread of its own writes them.
            began_ns = time.thread_time_ns()
            app.worker.access_log._write()
            writing = (time.thread_time_ns() - began_ns) / 1000 / calls
            if len(app.worker.settlements):
                raise SystemExit("not every call was settled")
    parts = {*found[0], *found[-1]}
    spent = {part: statistics.quantiles([one.get(part, 0.0) for one in found], n=4)[0] for part in parts}
    part = WHOLE if clock is None else "access line"
    return spent | {part: spent.get(part, 0.0) + writing}


def install(clock: Clock) -> None:
    """Puts the clock around every part."""
    for part, names in PARTS.items():
        for name in names:
            module, _, path = name.partition(":")
            *owners, last = path.split(".")
            try:
                owner: Any = importlib.import_module(module)
                for one in owners:
                    owner = getattr(owner, one)
                found = owner.__dict__[last]
            except (ImportError, AttributeError, KeyError):
                continue
            is_class_method = isinstance(found, classmethod)
            timed = clock.of(part, found.__func__ if is_class_method else found)
            setattr(owner, last, classmethod(timed) if is_class_method else timed)
    from gateway.endpoints.registry import ENDPOINTS

    chat = next(endpoint for endpoint in ENDPOINTS if endpoint.name == "chat_completions")
    object.__setattr__(chat, "parse", clock.of("parse", chat.parse))
    Scripts.run = clock.of(STUBS, Scripts.run)  # type: ignore[method-assign]  # as the others
    Upstream.send = clock.of(STUBS, Upstream.send)  # type: ignore[method-assign]
    StubAnswer.read = clock.of(STUBS, StubAnswer.read)  # type: ignore[method-assign]


def main() -> None:
    """Answers `calls events` by one line of JSON, until its input ends. With the argument `parts`, by part."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    clock = Clock() if sys.argv[1:] == ["parts"] else None
    if clock is not None:
        install(clock)
    run: Callable[[Awaitable[dict[str, float]]], dict[str, float]] = uvloop.run
    for line in sys.stdin:
        calls, events = map(int, line.split())
        out.write(json.dumps(run(batch(calls, events, clock))) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
