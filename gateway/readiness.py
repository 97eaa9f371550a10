"""Whether a worker serves calls, and with all its parts: `ready`, `degraded` (calls are served while a part is away) or
`not ready` (they would be refused, or the worker is about to stop)."""

import asyncio
from dataclasses import dataclass, field
from time import monotonic
from typing import Final, Literal

import structlog

from gateway import metrics
from gateway.storage.changes import Changes
from gateway.storage.failures import POSTGRES_FAILED, cure
from gateway.storage.ledger.writer import LedgerWriter
from gateway.storage.postgres import Pool
from gateway.storage.redis.link import Scripts
from gateway.upstream.pool import UpstreamPool
from gateway.web.shutdown import Shutdown

log = structlog.get_logger(__name__)

Status = Literal["ready", "degraded", "not ready"]
LOOK_S: Final = 1.0
# Longer than another worker's look at a slow server; shorter than a load balancer waits.
ANSWER_S: Final = 1.0

HAS_TABLES: Final = """
SELECT to_regclass('usage_logs') IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Report:
    """`parts` are those that are there, by name."""

    status: Status
    parts: dict[str, bool]


@dataclass(slots=True, kw_only=True)
class Readiness:
    """Of one worker. While Postgres is away, the keys that are known work for `keys_grace_s`."""

    pool: Pool
    changes: Changes
    scripts: Scripts
    ledger: LedgerWriter
    upstream: UpstreamPool
    keys_grace_s: float
    needs_redis: bool
    shutdown: Shutdown
    _was_there: bool = field(default=False, init=False)

    async def run(self) -> None:
        """Says what is missing, and sets the metrics, until cancelled."""
        while True:
            report = await self.look()
            metrics.NOT_READY.set(report.status == "not ready")
            metrics.DEGRADED.set(report.status == "degraded")
            await asyncio.sleep(LOOK_S)

    async def look(self) -> Report:
        """What is there now."""
        is_postgres_there = await self._has_postgres()
        journal = self.ledger.journal
        parts = {
            "postgres": is_postgres_there,
            "redis": self.scripts.is_connected,
            "ledger": self.ledger.is_accepting,
            "journal": journal.is_writable and journal.begun.is_open,
            "litellm": any(not server.breaker.is_open for server in self.upstream.servers),
        }
        return Report(self._judge(parts), parts)

    def _judge(self, parts: dict[str, bool]) -> Status:
        knows_keys = self._was_there and monotonic() - self.changes.last_contact < self.keys_grace_s
        serves = (parts["postgres"] or knows_keys) and (parts["redis"] or not self.needs_redis) and parts["ledger"]
        if self.shutdown.is_stopping or not serves:
            return "not ready"
        return "ready" if all(parts.values()) else "degraded"

    async def _has_postgres(self) -> bool:
        try:
            async with asyncio.timeout(ANSWER_S):
                has_tables = bool(await self.pool.fetchval(HAS_TABLES))
        except POSTGRES_FAILED as exc:
            log.warning("postgres_does_not_answer", cause=str(exc) or type(exc).__name__, cure=cure(exc))
            return False
        if not has_tables:
            log.warning("database_has_no_tables", cure="run 'litemaas migrate' with LITEMAAS_OWNER_DATABASE_URL")
        self._was_there = self._was_there or has_tables
        return has_tables
