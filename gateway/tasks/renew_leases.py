"""Keeps the leases of living calls valid, and takes again those that Redis lost."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Final
from uuid import UUID

import structlog

from gateway import metrics
from gateway.reservation import Reservation
from gateway.storage.counters.scripts import Counters
from gateway.storage.redis.link import RedisUnavailable, ScriptFailed

log = structlog.get_logger(__name__)

# A third of a lease's 60 s: two renewals may fail.
RENEW_S: Final = 20.0
# Accounts whose leases are renewed at the same time: where Redis lost them, each waits for a seed.
AT_ONCE: Final = 16
# When a call that was admitted without Redis was renewed last.
NEVER: Final = float("-inf")


class LeaseKeeper:
    """Knows this worker's open calls and keeps their leases. `take_again(reservation, is_open)` reserves
    unconditionally while `is_open`: also for calls that were admitted without Redis, as soon as it is back."""

    def __init__(
        self, counters: Counters, take_again: Callable[[Reservation, Callable[[], bool]], Awaitable[None]]
    ) -> None:
        self._counters = counters
        self._take_again = take_again
        # By the request id's number: hashing a UUID takes longer.
        self._open: dict[int, tuple[Reservation, float]] = {}
        self._is_back = asyncio.Event()

    def __len__(self) -> int:
        return len(self._open)

    def count(self, account_id: int, scope: str, *, is_leased: bool | None = None) -> int:
        """The account's open calls that a limit with this scope counts; of those with a lease only, or without."""
        return sum(
            one.record.account_id == account_id
            and scope in one.scopes.split()
            and (is_leased is None or one.is_leased == is_leased)
            for one, _ in self._open.values()
        )

    def add(self, reservation: Reservation) -> None:
        """A call that is under way."""
        self._open[reservation.request_id.int] = (reservation, monotonic() if reservation.is_leased else NEVER)

    def remove(self, request_id: UUID) -> None:
        """It has ended."""
        self._open.pop(request_id.int, None)

    def _is_open(self, reservation: Reservation) -> bool:
        return reservation.request_id.int in self._open

    def redis_is_back(self) -> None:
        """It may be another one, which knows of no lease; and calls that were admitted without it have none."""
        self._is_back.set()

    async def run(self) -> None:
        """Renews in batches, some accounts at a time, until cancelled."""
        has_come_back = False
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(RENEW_S / 4):
                    await self._is_back.wait()
            has_come_back |= self._is_back.is_set()
            self._is_back.clear()
            if await self.renew(0.0 if has_come_back else RENEW_S * 0.75):
                has_come_back = False

    async def renew(self, older_than_s: float) -> bool:
        """Renews what was not for a while; whether Redis took all. An account whose hash is damaged, or whose node of a
        cluster is away, keeps no other back."""
        now = monotonic()
        accounts: dict[int, list[Reservation]] = defaultdict(list)
        for reservation, renewed_at in self._open.values():
            if now - renewed_at >= older_than_s:
                accounts[reservation.record.account_id].append(reservation)
        failed, cause = 0, ""
        places = asyncio.Semaphore(AT_ONCE)

        async def renew_account(account_id: int, reservations: Sequence[Reservation]) -> None:
            nonlocal failed, cause
            async with places:
                try:
                    await self._renew_account(account_id, reservations, now)
                except ScriptFailed as exc:
                    log.error("account_not_renewed", account_id=account_id, cause=str(exc), count=len(reservations))
                except RedisUnavailable as exc:
                    failed, cause = failed + len(reservations), str(exc)

        await asyncio.gather(*(renew_account(*one) for one in accounts.items()))
        if failed:
            log.warning("leases_not_renewed", cause=cause, count=failed)
        return not failed

    async def _renew_account(self, account_id: int, reservations: Sequence[Reservation], now: float) -> None:
        lost = await self._counters.renew(account_id, [r.request_id for r in reservations])
        # The index of accounts may be on another node of a cluster, and that away.
        with suppress(RedisUnavailable):
            await self._counters.announce(account_id)
        for reservation in reservations:
            # It may have ended while we asked.
            if reservation.request_id.int not in self._open:
                continue
            if reservation.request_id in lost:
                if reservation.is_leased:
                    metrics.LEASES_LOST.inc()
                await self._take_again(reservation, partial(self._is_open, reservation))
                # Only now: a call that ends before has its account's counters seeded again.
                reservation.is_leased = True
            if reservation.request_id.int in self._open:
                self._open[reservation.request_id.int] = (reservation, now)
