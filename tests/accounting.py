"""Whether the model server, the ledger and Redis have counted the same calls of an account, once each."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp
import redis.asyncio
from gateways import RedisState

from gateway.storage.counters.drift import Drift, measure_drift
from gateway.storage.counters.scripts import SCRIPTS, Counters
from gateway.storage.ledger.verify import LedgerCheck, check_ledger
from gateway.storage.postgres import Pool
from gateway.storage.redis.urls import connect

Row = Mapping[str, Any]
UpstreamCall = Mapping[str, Any]
# Endings of calls that never reached the model.
NOT_FORWARDED: Final = ("unreachable", "refused_upstream")


@dataclass(frozen=True, slots=True)
class Differences:
    """`missing`: ids that the model server or callers know of and the ledger does not; `doubles`: calls of the model
    server beyond one an id; `others`: ids of rows that nobody else knows of; `tokens_off`: of completed calls, against
    the model server."""

    missing: frozenset[str]
    doubles: int
    others: frozenset[str]
    tokens_off: int


class ModelRecord:
    """The model server's calls whose mark begins with `prefix` and a dot, even of a server that was killed in
    between."""

    def __init__(self, http: aiohttp.ClientSession, url: str, prefix: str) -> None:
        self._http = http
        self._url = url
        self._prefix = prefix + "."
        self.calls: dict[tuple[float, int], UpstreamCall] = {}

    async def read(self) -> None:
        """Adds the current calls; nothing while the server is down."""
        since = 0
        try:
            while True:
                params = {"since": since, "limit": 1000}
                async with self._http.get(f"{self._url}/_calls", params=params) as answer:
                    found = await answer.json()
                for call in found:
                    since = call["ordinal"]
                    if str(call["mark"]).startswith(self._prefix):
                        self.calls[call["started_at"], call["ordinal"]] = call
                if len(found) < 1000:
                    return
        except aiohttp.ClientError:
            return


async def read_rows(pool: Pool, account_id: int) -> dict[str, Row]:
    """The account's rows in the ledger, by request id."""
    found = await pool.fetch("SELECT * FROM usage_logs WHERE account_id = $1", account_id)
    return {str(row["request_id"]): row for row in found}


def compare_calls(
    rows: Mapping[str, Row],
    calls: Iterable[UpstreamCall],
    answered: set[str],
    is_explained: Callable[[Row], bool],
) -> Differences:
    """`answered`: ids of the calls that their callers saw answered. `is_explained`: why the model server does not know
    of this row is known."""
    made = list(calls)
    by_id = {call["call_id"]: call for call in made}
    real = {i: row for i, row in rows.items() if row["estimated_why"] != "reaped"}
    completed = [(row, by_id[i]) for i, row in real.items() if row["ending"] == "completed" and i in by_id]
    return Differences(
        missing=frozenset((by_id.keys() | answered) - rows.keys()),
        doubles=len(made) - len(by_id),
        others=frozenset(
            i for i, row in real.items() if i not in by_id and i not in answered and not is_explained(row)
        ),
        tokens_off=sum(
            abs(row["prompt_tokens"] - call["prompt_tokens"])
            + abs(row["completion_tokens"] - call["completion_tokens"])
            for row, call in completed
            if call["ending"] == "complete"
        ),
    )


def may_be_unknown(row: Row, *, has_litellm_died: bool = False) -> bool:
    """Whether the model server need not know of the row. A LiteLLM that dies has accepted calls that it did not
    forward: they cost nothing."""
    if row["ending"] in NOT_FORWARDED:
        return True
    return has_litellm_died and row["ending"] == "upstream_error" and row["counted_tokens"] == 0


async def wait_until_still(
    pool: Pool, redis_url: str, account_id: int, answered: set[str], *, leases_s: float = 100.0
) -> None:
    """Until no lease of the account is open and no row is on its way; raises TimeoutError for leases. Rows that do not
    come are missing in the counts."""
    async with redis.asyncio.from_url(redis_url) as client:
        redis_state = RedisState(client)

        async def is_closed() -> bool:
            return not await redis_state.open_leases(account_id)

        await wait_for(is_closed, "all leases to be closed", leases_s)
    last = -1

    async def is_still() -> bool:
        nonlocal last
        ids = (await read_rows(pool, account_id)).keys()
        before, last = last, len(ids)
        await asyncio.sleep(0.4)
        return answered <= ids and before == last

    try:
        await wait_for(is_still, "rows to arrive", 15)
    except TimeoutError:
        return


async def compare_rollups(pool: Pool) -> LedgerCheck:
    """Today's rows and rollups, of all accounts."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
        return await check_ledger(connection, datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0))


async def read_drift(pool: Pool, redis_url: str, account_id: int) -> list[Drift]:
    """How far the account's counters in Redis are from the ledger."""
    scripts = connect(redis_url, SCRIPTS, timeout_s=5)
    await scripts.open()
    try:
        counters = Counters(scripts)
        return await measure_drift(counters, pool, account_id, await counters.now_ms())
    finally:
        await scripts.close()


async def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = 60.0) -> None:
    """Until the awaited condition is true."""
    deadline = time.monotonic() + timeout_s
    while not await condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_s:.0f} s for {what}")
        await asyncio.sleep(0.1)
