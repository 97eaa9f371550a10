"""What workers say in Redis of themselves, every other second, so that each knows of all others."""

from typing import Final, NamedTuple

from gateway.storage.counters.scripts import Counters

WORKERS: Final = "lm2-workers"
STATES: Final = "lm2-worker-states"
# For how long a row waits in a worker that reaches Postgres.
USUAL_WAIT_MS: Final = 500


class WorkerState(NamedTuple):
    """How many calls a worker forwards, and for how long the oldest of its rows has been waiting for Postgres."""

    calls: int
    rows_wait_ms: int


async def say_state(counters: Counters, name: str, state: WorkerState, lives_ms: int) -> int:
    """Of one worker. How many said something within `lives_ms`, by Redis's clock. Raises RedisUnavailable."""
    now_ms, command = await counters.now_ms(), counters.command
    await command("ZADD", WORKERS, now_ms, name)
    if gone := await command("ZRANGE", WORKERS, "-inf", now_ms - lives_ms, "BYSCORE"):
        await command("ZREMRANGEBYSCORE", WORKERS, "-inf", now_ms - lives_ms)
        await command("HDEL", STATES, *gone)
    await command("HSET", STATES, name, "{} {}".format(*state))
    return int(await command("ZCARD", WORKERS))


async def end_state(counters: Counters, name: str, state: WorkerState) -> None:
    """Of a worker that ends; rows that it leaves in its journal are said for as long as it counts. Raises
    RedisUnavailable."""
    leaves_rows = state.rows_wait_ms > USUAL_WAIT_MS
    await counters.command("HSET", STATES, name, "{} {}".format(*state) if leaves_rows else "")


async def read_states(counters: Counters, lives_ms: int) -> list[WorkerState | None]:
    """Of each worker that named itself within `lives_ms` and has not ended; None: one of a version that says nothing.
    Raises RedisUnavailable."""
    names = await counters.command("ZRANGE", WORKERS, await counters.now_ms() - lives_ms, "+inf", "BYSCORE")
    said = await counters.command("HMGET", STATES, *names) if names else []
    return [None if state is None else WorkerState(*map(int, state.split())) for state in said if state != b""]
