"""Counts refusals by the hour: added up in memory first, so that a flood of them cannot fill the disk."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import structlog

from gateway.storage.failures import POSTGRES_FAILED

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

log = structlog.get_logger(__name__)

WRITE_S: Final = 5.0
# Beyond this many different ones, further kinds are dropped until Postgres has taken these.
MAX_KINDS: Final = 100_000

ADD_REFUSALS = """
INSERT INTO refusals (hour, account_id, user_id, api_key_id, model_id, limit_id, code, count)
SELECT hour, account_id, user_id, api_key_id, model_id, limit_id, code, count
FROM jsonb_to_recordset($1::jsonb) AS r (hour timestamptz, account_id bigint, user_id bigint, api_key_id bigint,
    model_id bigint, limit_id bigint, code text, count bigint)
ORDER BY account_id, hour, user_id, api_key_id, model_id, limit_id, code
ON CONFLICT (account_id, hour, user_id, api_key_id, model_id, limit_id, code)
DO UPDATE SET count = refusals.count + excluded.count
"""


class Refusal(NamedTuple):
    """What is counted as one."""

    hour: datetime
    account_id: int
    user_id: int
    api_key_id: int
    model_id: int
    limit_id: int
    code: str


class RefusalCounts:
    """`count` is called by refused calls, `run` is a task of the app."""

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self._counts: Counter[Refusal] = Counter()

    def count(
        self, *, account_id: int, user_id: int | None, api_key_id: int, model_id: int, limit_id: int, code: str
    ) -> None:
        """One refused call."""
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        refusal = Refusal(hour, account_id, user_id or 0, api_key_id, model_id, limit_id, code)
        if refusal in self._counts or len(self._counts) < MAX_KINDS:
            self._counts[refusal] += 1

    async def run(self) -> None:
        """Writes each WRITE_S, until cancelled."""
        while True:
            await asyncio.sleep(WRITE_S)
            await self.write()

    async def write(self) -> None:
        """Adds what was counted to Postgres; keeps it when Postgres is away."""
        counts, self._counts = self._counts, Counter()
        if not counts:
            return
        rows = [refusal._asdict() | {"count": count} for refusal, count in counts.items()]
        try:
            await self._pool.execute(ADD_REFUSALS, msgspec.json.encode(rows).decode())
        except asyncio.CancelledError:
            # The app stops, and writes once more.
            self._counts.update(counts)
            raise
        except POSTGRES_FAILED as exc:
            # An unknown outcome may count some twice: refusals are a statistic, the ledger is not touched by it.
            self._counts.update(counts)
            log.warning("refusals_not_written", cause=str(exc))
