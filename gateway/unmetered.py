"""Accounts whose counters miss calls that were admitted without Redis. Raising their epochs has them seeded again."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from time import monotonic
from typing import Final

import structlog

from gateway.storage.counters.epochs import raise_epochs
from gateway.storage.failures import POSTGRES_FAILED
from gateway.storage.postgres import Pool

log = structlog.get_logger(__name__)

RAISE_S: Final = 1.0
# A row that waits longer than this does so for another reason than the calls before it.
MAX_WAIT_S: Final = 30.0


class UnmeteredAccounts:
    """Of one worker. `rows_wait_s` is for how long its rows have been waiting for Postgres; `answers` says whether
    Redis serves an account, which a cluster may do of some only; `forget` gets the accounts that are served and whose
    epochs were raised."""

    def __init__(
        self,
        pool: Pool,
        *,
        rows_wait_s: Callable[[], float],
        answers: Callable[[int], Awaitable[bool]],
        forget: Callable[[Collection[int]], None] = lambda _: None,
    ) -> None:
        self._pool = pool
        self._rows_wait_s = rows_wait_s
        self._answers = answers
        self._forget = forget
        # When its last such call was admitted, or its row journaled.
        self._since: dict[int, float] = {}

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
        served = await asyncio.gather(*map(self._answers, written))
        found = {
            account_id: at for (account_id, at), is_served in zip(written.items(), served, strict=True) if is_served
        }
        if found:
            try:
                await self._raise(found, found, found)
            except POSTGRES_FAILED as exc:
                log.warning("epochs_not_raised", cause=str(exc), count=len(self._since))

    async def raise_now(self, serves: Callable[[int], bool] = lambda _: True) -> None:
        """Before a new connection is used: of all. Those whose rows may still be waiting stay, for `run`, and those
        that the connection does not serve. Raises what Postgres raises."""
        if self._since:
            served = {account_id for account_id in self._since if serves(account_id)}
            written = {account_id: at for account_id, at in self._written().items() if account_id in served}
            await self._raise(dict(self._since), served, written)

    def _written(self) -> dict[int, float]:
        wait_s, now = min(self._rows_wait_s(), MAX_WAIT_S), monotonic()
        return {account_id: at for account_id, at in self._since.items() if not wait_s or now - at > wait_s}

    async def _raise(self, accounts: Collection[int], served: Collection[int], written: dict[int, float]) -> None:
        await raise_epochs(self._pool, accounts)
        self._forget(served)
        for account_id, at in written.items():
            # Another call of it may have ended meanwhile.
            if self._since.get(account_id) == at:
                del self._since[account_id]
