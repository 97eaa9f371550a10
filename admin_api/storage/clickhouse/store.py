"""ClickHouse as what usage questions are answered from, and Postgres wherever it is behind or away."""

import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

import structlog

from admin_api import metrics
from admin_api.storage.clickhouse.entries import COMPLETE, read_state
from admin_api.storage.clickhouse.link import ClickHouseFailed
from admin_api.storage.clickhouse.locks import try_to_share_entries
from admin_api.storage.clickhouse.reader import ClickHouseReader
from admin_api.storage.usage.readers import ROLLUPS, RollupReader, UsageReader, UsageStore

if TYPE_CHECKING:
    from admin_api.storage.clickhouse.link import ClickHouse
    from gateway.storage.postgres import Executor

P = ParamSpec("P")
R = TypeVar("R")
log = structlog.get_logger(__name__)

# After a failure Postgres is asked at once, for so long.
PAUSE_S: Final = 10.0


class ClickHouseStore:
    """Answers from ClickHouse while it has everything that was in the ledger `max_lag_s` ago."""

    def __init__(self, clickhouse: "ClickHouse", *, max_lag_s: float) -> None:
        self.clickhouse = clickhouse
        self._max_lag_s = max_lag_s
        self._failed_at: float | None = None

    async def reader(self, executor: "Executor") -> UsageReader:
        """For questions of the transaction that is open, in which nothing is written to ClickHouse."""
        if self._failed_at is not None and time.monotonic() - self._failed_at < PAUSE_S:
            return RollupReader(executor)
        try:
            complete = (await read_state(self.clickhouse)).get(COMPLETE)
        except ClickHouseFailed as exc:
            self.note_failure(exc)
            return RollupReader(executor)
        is_behind = complete is None or (datetime.now(UTC) - complete).total_seconds() > self._max_lag_s
        # What is being sent may take long, and who sends may wait for another report: nobody waits for it.
        if is_behind or not await try_to_share_entries(executor):
            metrics.USAGE_STORE_FALLBACKS.labels("behind").inc()
            return RollupReader(executor)
        return _OrRollups(executor, self)

    def note_failure(self, error: ClickHouseFailed) -> None:
        """So that the next questions do not wait for it."""
        self._failed_at = time.monotonic()
        metrics.USAGE_STORE_FALLBACKS.labels("failed").inc()
        log.warning("clickhouse_failed", cause=error.cause)


def store_of(clickhouse: "ClickHouse | None", *, max_lag_s: float) -> UsageStore:
    """The rollups, if there is no ClickHouse that answers."""
    return ROLLUPS if clickhouse is None else ClickHouseStore(clickhouse, max_lag_s=max_lag_s)


def _or_rollups(
    ask: Callable[Concatenate[ClickHouseReader, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate["_OrRollups", P], Coroutine[Any, Any, R]]:
    """The same question, of Postgres if ClickHouse fails."""

    async def either(self: "_OrRollups", /, *args: P.args, **kwargs: P.kwargs) -> R:
        if not self.has_failed:
            try:
                return await ask(self, *args, **kwargs)
            except ClickHouseFailed as exc:
                self.has_failed = True
                self.store.note_failure(exc)
        same: Any = getattr(RollupReader(self.executor), ask.__name__)
        answer: R = await same(*args, **kwargs)
        return answer

    return either


class _OrRollups(ClickHouseReader):
    """Reads ClickHouse, and the rollups from its first failure on."""

    def __init__(self, executor: "Executor", store: ClickHouseStore) -> None:
        super().__init__(executor, store.clickhouse)
        self.store = store
        self.has_failed = False

    sum_up = _or_rollups(ClickHouseReader.sum_up)
    sum_by_time = _or_rollups(ClickHouseReader.sum_by_time)
    sum_by = _or_rollups(ClickHouseReader.sum_by)
    count_latencies = _or_rollups(ClickHouseReader.count_latencies)
    sum_groups_by_time = _or_rollups(ClickHouseReader.sum_groups_by_time)
    sum_parts = _or_rollups(ClickHouseReader.sum_parts)
    sum_by_week_hour = _or_rollups(ClickHouseReader.sum_by_week_hour)
