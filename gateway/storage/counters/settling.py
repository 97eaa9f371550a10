"""Waits until seeds and comparisons of counters are exact although calls go on.

What calls count that end from a moment on is kept (Counters.keep_ended). The rows of those that ended before arrive in
the ledger within two seconds, unless a worker says that its rows wait.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from time import monotonic
from typing import Final

import structlog

from gateway.storage.counters.scripts import Counters
from gateway.storage.counters.worker_count import BEAT_S, LIVES_MS
from gateway.storage.counters.worker_states import USUAL_WAIT_MS, read_states
from gateway.storage.redis.link import RedisUnavailable, ScriptFailed

log = structlog.get_logger(__name__)

SETTLING_S: Final = 2.0
MAX_SETTLING_S: Final = 30.0
# After that, for the calls that seed.
SEED_S: Final = 5.0
KEEP_ENDED_MS: Final = round((SETTLING_S + SEED_S) * 1000)
# Accounts that Redis is asked about at the same time.
AT_ONCE: Final = 256


async def keep_ended_of(counters: Counters, account_ids: Sequence[int], for_ms: int = KEEP_ENDED_MS) -> dict[int, bool]:
    """By account, whether Redis knows it and keeps what its calls count; without accounts that it does not serve now,
    or whose data are damaged."""
    kept: dict[int, bool] = {}

    async def keep(account_id: int) -> None:
        try:
            kept[account_id] = await counters.keep_ended(account_id, for_ms)
        except (RedisUnavailable, ScriptFailed) as exc:
            log.debug("calls_not_kept", account_id=account_id, cause=str(exc))

    for first in range(0, len(account_ids), AT_ONCE):
        await asyncio.gather(*map(keep, account_ids[first : first + AT_ONCE]))
    return kept


async def have_rows_arrived(counters: Counters, seconds: float) -> bool:
    """Whether the rows of calls that ended so long ago are in the ledger, by what all workers said within two seconds.
    Raises RedisUnavailable."""
    oldest_s = max(USUAL_WAIT_MS / 1000, seconds - BEAT_S)
    states = await read_states(counters, LIVES_MS)
    return all(state is not None and state.rows_wait_ms <= oldest_s * 1000 for state in states)


async def settle_down(
    counters: Counters, list_accounts: Callable[[], Awaitable[Collection[int]]], *, keep_ms: int = KEEP_ENDED_MS
) -> list[int] | None:
    """The accounts whose counters can be seeded exactly within the next seconds. None: rows still wait for Postgres.
    Those that `list_accounts` adds, or Redis knows, before rows have arrived are included: they may have been seeded
    without them. Raises RedisUnavailable."""
    began_at = monotonic()
    since: dict[int, float] = {}
    wanted: set[int] | None = None
    while True:
        kept = await keep_ended_of(counters, list(await list_accounts()), keep_ms)
        now = monotonic()
        since = {account_id: since.get(account_id, now) for account_id, is_kept in kept.items() if is_kept}
        settled = [account_id for account_id, at in since.items() if now - at >= SETTLING_S]
        if now - began_at >= SETTLING_S and await have_rows_arrived(counters, now - began_at):
            wanted = set(since) if wanted is None else wanted & since.keys()
            if wanted <= set(settled):
                return settled
        if now - began_at > MAX_SETTLING_S:
            return None
        await asyncio.sleep(SETTLING_S / 4)
