"""Accounts whose counters miss calls that were admitted without Redis. Raising their epochs has them seeded again.

At once when Redis is back, as exactly as the rows that are in the ledger then; and once more after what other gateways
had on their way is there, too: calls that end meanwhile are kept, so nothing is missed."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from time import monotonic
from typing import Final

import structlog

from gateway.storage.counters.epochs import raise_epochs
from gateway.storage.counters.settling import SETTLING_S
from gateway.storage.failures import POSTGRES_FAILED
from gateway.storage.postgres import Pool

log = structlog.get_logger(__name__)

RAISE_S: Final = 1.0
# A row that waits longer than this does so for another reason than the calls before it.
MAX_WAIT_S: Final = 30.0


class UnmeteredAccounts:
    """Of one worker. `rows_wait_s` is for how long its rows have been waiting for Postgres; `keep` is keep_ended_of:
    accounts that Redis does not serve, as a cluster may do of some only, stay; `forget` gets the accounts that are
    served and whose epochs were raised."""

    def __init__(
        self,
        pool: Pool,
        *,
        rows_wait_s: Callable[[], float],
        keep: Callable[[Sequence[int]], Awaitable[dict[int, bool]]],
        forget: Callable[[Collection[int]], None] = lambda _: None,
    ) -> None:
        self._pool = pool
        self._rows_wait_s = rows_wait_s
        self._keep = keep
        self._forget = forget
        # When its last such call was admitted, or its row journaled.
        self._since: dict[int, float] = {}
        # Since when their calls are kept.
        self._kept_since: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._since)

    def add(self, account_id: int) -> None:
        """A call of it was admitted without Redis, or has ended without a lease."""
        self._since[account_id] = monotonic()

    async def run(self) -> None:
        """Raises epochs once the rows of calls that ended after Redis was back are in the ledger, until cancelled."""
        while True:
            await asyncio.sleep(RAISE_S)
            await self.raise_written()

    async def raise_written(self) -> None:
        """Of the accounts that Redis serves; the others wait, and go on with their shares."""
        written = self._written()
        kept = await self._keep(list(written))
        for account_id in self._kept_since.keys() - {one for one, is_kept in kept.items() if is_kept}:
            del self._kept_since[account_id]
        now = monotonic()
        new = [account_id for account_id in kept if account_id not in self._kept_since]
        # Where Redis knows nothing of an account, there is no counter that misses something.
        last = [
            account_id
            for account_id, is_kept in kept.items()
            if not is_kept or now - self._kept_since.get(account_id, now) >= SETTLING_S
        ]
        if not new and not last:
            return
        try:
            await raise_epochs(self._pool, {*new, *last})
        except POSTGRES_FAILED as exc:
            log.warning("epochs_not_raised", cause=str(exc), count=len(self._since))
            return
        self._forget([*new, *last])
        self._kept_since |= {account_id: now for account_id in new if kept[account_id]}
        for account_id in last:
            self._kept_since.pop(account_id, None)
            # Another call of it may have ended meanwhile.
            if self._since.get(account_id) == written[account_id]:
                del self._since[account_id]

    async def raise_now(self, serves: Callable[[int], bool] = lambda _: True) -> None:
        """Before a new connection is used: of all; `run` does it again. Raises what Postgres raises."""
        self._kept_since.clear()
        if self._since:
            # Another one may be added meanwhile.
            accounts = list(self._since)
            await raise_epochs(self._pool, accounts)
            self._forget([account_id for account_id in accounts if serves(account_id)])

    def _written(self) -> dict[int, float]:
        wait_s, now = min(self._rows_wait_s(), MAX_WAIT_S), monotonic()
        return {account_id: at for account_id, at in self._since.items() if not wait_s or now - at > wait_s}
