"""The measurements. Each takes targets and adds figures of one run to the results.

Latency is always that via the proxy less that without it, of the same run, by the same client: never a span inside a
server, which hides its queues.
"""

import asyncio
import statistics
import time
from collections.abc import Mapping, Sequence
from time import monotonic_ns
from typing import Final

from loadtests.bench import requests
from loadtests.bench.client import (
    Caller,
    Event,
    Streams,
    Took,
    WithoutCollection,
    WrongAnswer,
    close_streams,
    open_streams,
)
from loadtests.bench.plan import HALF, JsonLoad, StreamLoad
from loadtests.bench.results import Key, Results
from loadtests.bench.targets import DIRECT, Target
from loadtests.bench.wrk import Wrk
from loadtests.processes import cpu_s, memory_bytes

ONE: Final = "c = 1"
WARM_UP_CALLS: Final = 20
# What is done after the answer belongs to the call.
AFTER_S: Final = 0.2
# Of loads in turns; wrk takes whole seconds.
TURN_S: Final = 1
# Of streams: from the last opening until the window, and the part of the window in which /proc was read.
SETTLING_S: Final = 0.5
LOOK_S: Final = 0.1
HALF_CONNECTIONS: Final = 64
# What the client can send at an even pace beside the model server.
MAX_RATE: Final = 2_000
SMALL_STREAM: Final = 3


def quantile(values: Sequence[float], share: float) -> float:
    """Of unsorted values; the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def call_in_turn(targets: Sequence[Target], body: bytes, calls: int) -> Mapping[str, Sequence[Took]]:
    """One call to each target, the same again, so often; each time another one comes first."""
    callers = [Caller(target, body) for target in targets]
    took: dict[str, list[Took]] = {target.name: [] for target in targets}
    try:
        for _ in range(WARM_UP_CALLS):
            for caller in callers:
                await caller.call()
        with WithoutCollection():
            for number in range(calls):
                first = number % len(callers)
                for index in (*range(first, len(callers)), *range(first)):
                    took[targets[index].name].append(await callers[index].call())
    finally:
        for caller in callers:
            caller.close()
    return took


def added(took: Mapping[str, Sequence[Took]], name: str) -> tuple[list[float], list[float]]:
    """Milliseconds that a target adds to the first byte, and to the whole, of each call; for `direct` all it takes."""
    own, direct = took[name], took[DIRECT]
    if name == DIRECT:
        return [one.first_s * 1e3 for one in own], [one.whole_s * 1e3 for one in own]
    pairs = list(zip(own, direct, strict=True))
    return [(a.first_s - b.first_s) * 1e3 for a, b in pairs], [(a.whole_s - b.whole_s) * 1e3 for a, b in pairs]


def added_to(results: Results, direct: Key | None, figures: Mapping[str, float]) -> dict[str, float]:
    """Each figure less that of `direct` in the same run; nothing for `direct` itself."""
    if direct is None:
        return {}
    return {f"added_{name}": value - results.values(direct, name)[-1] for name, value in figures.items()}


async def measure_latency(results: Results, targets: Sequence[Target], calls: int) -> None:
    """What each adds to one call at a time."""
    took = await call_in_turn(targets, requests.json_body(1024), calls)
    for target in targets:
        first, whole = added(took, target.name)
        results.add(
            Key("latency", target.name, ONE),
            added_p50_ms=statistics.median(whole),
            added_p99_ms=quantile(whole, 0.99),
            first_byte_p50_ms=statistics.median(first),
            first_byte_p99_ms=quantile(first, 0.99),
        )


async def measure_first_event(results: Results, targets: Sequence[Target], calls: int) -> None:
    """What each adds to the first byte of a stream, one at a time."""
    took = await call_in_turn(targets, requests.stream_body(SMALL_STREAM, 0), calls)
    for target in targets:
        first, _ = added(took, target.name)
        key = Key("first event", target.name, ONE)
        results.add(key, added_p50_ms=statistics.median(first), added_p99_ms=quantile(first, 0.99))


async def warm_up_streams(target: Target) -> None:
    """Raises WrongAnswer if it passes no streams."""
    await call_in_turn([target], requests.stream_body(SMALL_STREAM, 0), 1)


def measure_json(
    results: Results, wrk: Wrk, target: Target, load: JsonLoad, seconds: float, direct: Key | None
) -> None:
    """Whole answers in a closed loop. `direct` is what latencies are compared with, measured in the same run."""
    body = requests.json_body(load.body_bytes)
    counts = target.redis_counts() if target.redis_counts else {}
    before = cpu_s(target.pid) if target.pid else 0.0
    done = wrk.run(target, body, connections=load.connections, seconds=seconds)
    time.sleep(AFTER_S)
    figures = {"calls_per_s": done.calls_per_s, "p50_ms": done.p50_ms, "p99_ms": done.p99_ms, "late": done.late}
    if target.pid:
        figures["cpu_us"] = (cpu_s(target.pid) - before) / done.calls * 1e6
        figures["memory_mib"] = memory_bytes(target.pid) / 2**20
    if target.redis_counts:
        # Less this question itself.
        figures |= {
            f"redis_{name}": (now - counts[name] - 1) / done.calls for name, now in target.redis_counts().items()
        }
    figures |= added_to(results, direct, {name: figures[name] for name in ("p50_ms", "p99_ms")})
    results.add(Key("json", target.name, load.name), **figures)


def measure_in_turns(results: Results, wrk: Wrk, targets: Sequence[Target], load: JsonLoad, turns: int) -> None:
    """CPU time of a call of each, a second at a time, each time another one first: what changes on the machine affects
    all of them alike, so a small difference is seen."""
    body, names = requests.json_body(load.body_bytes), [target.name for target in targets]
    used, calls = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0)
    for number in range(turns):
        first = number % len(targets)
        for target in (*targets[first:], *targets[:first]):
            before = cpu_s(target.pid) if target.pid else 0.0
            calls[target.name] += wrk.run(target, body, connections=load.connections, seconds=TURN_S).calls
            time.sleep(AFTER_S)
            used[target.name] += cpu_s(target.pid) - before if target.pid else 0.0
    for name in names:
        results.add(Key("turns", name, load.name), cpu_us=used[name] / calls[name] * 1e6)


async def call_at_pace(target: Target, body: bytes, rate: float, seconds: float) -> list[float]:
    """Milliseconds of each call, counted from when it was due: a late one delays none in the figures only."""
    loop = asyncio.get_running_loop()
    callers = [Caller(target, body) for _ in range(HALF_CONNECTIONS)]
    took: list[float] = []

    async def call(number: int, began: float) -> None:
        for turn in range(number, round(rate * seconds), HALF_CONNECTIONS):
            due = began + turn / rate
            await asyncio.sleep(due - loop.time())
            await callers[number].call()
            took.append((loop.time() - due) * 1e3)

    try:
        await asyncio.gather(*(caller.call() for caller in callers))
        with WithoutCollection():
            began = loop.time() + 0.01
            await asyncio.gather(*(call(number, began) for number in range(HALF_CONNECTIONS)))
    finally:
        for caller in callers:
            caller.close()
    return took


async def measure_half(results: Results, target: Target, direct: Target, calls_per_s: float, seconds: float) -> None:
    """Latency at half of the calls a second that the target can do, at an even pace, less that of the same pace
    without it."""
    body, rate = requests.json_body(1024), min(MAX_RATE, calls_per_s / 2)
    without = await call_at_pace(direct, body, rate, seconds)
    through = await call_at_pace(target, body, rate, seconds)
    results.add(
        Key("half", target.name, HALF),
        rate=rate,
        direct_p99_ms=quantile(without, 0.99),
        added_p50_ms=statistics.median(through) - statistics.median(without),
        added_p99_ms=quantile(through, 0.99) - quantile(without, 0.99),
    )


async def read_streams(target: Target, load: StreamLoad, seconds: float) -> tuple[Streams, float]:
    """The streams, and the CPU seconds of the target in their window."""
    lasts_s = load.streams / 200 + SETTLING_S + seconds + 5
    body = requests.stream_body(int(load.a_second * lasts_s), load.a_second)
    with WithoutCollection():
        opened = await open_streams(target, body, load.streams)
        try:
            await asyncio.sleep(SETTLING_S)
            before, begin = cpu_s(target.pid) if target.pid else 0.0, monotonic_ns()
            await asyncio.sleep(seconds)
            after, end = cpu_s(target.pid) if target.pid else 0.0, monotonic_ns()
        finally:
            close_streams(opened)
    return Streams(target.name, opened, begin, end), after - before


def late_ms(events: Sequence[Event]) -> list[float]:
    """From when the model server wrote each event until it was read."""
    return [(event.read - event.written) / 1e6 for event in events]


async def measure_streams(
    results: Results, target: Target, load: StreamLoad, seconds: float, direct: Key | None
) -> None:
    """Open streams at an even pace. An event's lateness less that of `direct` is what the target adds, and the longest
    of it its longest stall."""
    streams, cpu = await read_streams(target, load, seconds)
    events = streams.events()
    looked_ns = streams.begin + int(LOOK_S * 1e9)
    late = late_ms([event for event in events if event.read >= looked_ns])
    if not late:
        raise WrongAnswer(f"{target.name} passed no event in {seconds:g} s")
    figures = {
        "events_per_s": len(events) / (streams.end - streams.begin) * 1e9,
        "late_p50_ms": statistics.median(late),
        "late_p99_ms": quantile(late, 0.99),
        "stall_ms": max(late),
    }
    figures |= added_to(results, direct, {name: figures[name] for name in ("late_p50_ms", "late_p99_ms", "stall_ms")})
    if target.pid:
        figures["cpu_us"] = cpu / len(events) * 1e6
        figures["memory_mib"] = memory_bytes(target.pid) / 2**20
    results.add(Key("streams", target.name, load.name), **figures)
