"""Reaps: closes the leases of gateways that died, each with an estimated row in the ledger first."""

import asyncio
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

import msgspec
import structlog

from gateway import metrics
from gateway.domain.usage_rows import UsageRow
from gateway.storage.counters.scripts import Counters
from gateway.storage.ledger.reaped_rows import estimated_row
from gateway.storage.ledger.writer import LedgerUnavailable, LedgerWriter
from gateway.storage.redis.link import RedisUnavailable, ScriptFailed

log = structlog.get_logger(__name__)

REAP_S: Final = 10.0
# What an account's hash raises that is damaged, or holds what this version does not understand.
NOT_OURS: Final = (ScriptFailed, struct.error, ValueError)


class Reaper:
    """Looks after the accounts that have leases; of all gateways one at a time makes the round."""

    def __init__(self, counters: Counters, ledger: LedgerWriter) -> None:
        self._counters = counters
        self._ledger = ledger
        self._due: set[int] = set()
        self._requested = asyncio.Event()

    def sweep_due(self, account_id: int) -> None:
        """A reserve saw that leases of this account have expired: do not wait for the round."""
        self._due.add(account_id)
        self._requested.set()

    async def run(self) -> None:
        """A round each REAP_S, and single accounts when requested, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(REAP_S):
                    await self._requested.wait()
                accounts = list(self._due)
                is_round = False
            except TimeoutError:
                accounts, is_round = [], True
            self._requested.clear()
            self._due.clear()
            try:
                if is_round and await self._counters.claim_round("reap", round(REAP_S * 900)):
                    accounts = await self._counters.accounts_with_leases()
                await self.reap_accounts(accounts)
                if is_round:
                    await self._counters.forget_idle_accounts()
            except (RedisUnavailable, ScriptFailed) as exc:
                log.warning("leases_not_reaped", cause=str(exc))

    async def reap_accounts(self, account_ids: Iterable[int]) -> None:
        """One whose hash is damaged, or whose node of a cluster is away, keeps no other back, and is looked at again.
        Raises RedisUnavailable."""
        away: RedisUnavailable | None = None
        for account_id in account_ids:
            try:
                await self.reap_account(account_id)
            except RedisUnavailable as exc:
                if not self._counters.is_connected:
                    raise
                away = exc
            except NOT_OURS as exc:
                log.error("account_not_reaped", account_id=account_id, cause=str(exc))
                with suppress(RedisUnavailable):
                    await self._counters.announce(account_id)
        if away is not None:
            raise away

    async def close_begun(self, rows: Sequence[UsageRow]) -> None:
        """Closes the leases of calls whose gateway is known to be gone, and whose estimated rows are written."""
        for row in rows:
            try:
                if await self._counters.reap(row.account_id, row.request_id, is_orphan=True):
                    metrics.REAPED.inc()
            except (RedisUnavailable, *NOT_OURS) as exc:
                # It runs out by itself, and is reaped then.
                log.warning("begun_lease_not_closed", account_id=row.account_id, cause=str(exc))

    async def reap_account(self, account_id: int) -> int:
        """How many leases were closed. Raises RedisUnavailable; what was not closed is claimed again after a minute."""
        reaped = 0
        open_leases, claimed = await self._counters.sweep(account_id)
        for lease in claimed:
            try:
                row = estimated_row(account_id, lease)
            except msgspec.MsgspecError as exc:
                log.error(
                    "lease_not_understood", account_id=account_id, request_id=str(lease.request_id), cause=str(exc)
                )
                continue
            try:
                await self._ledger.append_safely([row])
            except LedgerUnavailable:
                break
            if await self._counters.reap(account_id, lease.request_id):
                reaped += 1
                metrics.REAPED.inc()
                log.info("lease_reaped", account_id=account_id, request_id=str(lease.request_id))
        if open_leases > reaped:
            await self._counters.announce(account_id)
        return reaped
