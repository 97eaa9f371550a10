"""How far window counters in Redis are from the ledger."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from gateway.domain.limits import KIND_OF_CODE, LIMIT_KINDS, WINDOWED_KINDS, Kind
from gateway.domain.windows import WINDOW_KINDS, WindowKind, window_ms
from gateway.storage.counters.layout import (
    KEPT_PREFIX,
    LEASE_PREFIX,
    Kept,
    read_counter,
    read_kept,
    read_lease,
)
from gateway.storage.counters.scripts import Counters
from gateway.storage.ledger.rows import InLedger, find_counted
from gateway.storage.ledger.sums import WindowSum, sum_windows

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

# The first statement of its transaction, so all that follows sees the ledger as it was before Redis was read.
TIME_ZONE = "SELECT time_zone FROM accounts WHERE id = $1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One window counter, of this epoch, and what it should count: the ledger's sum, without calls that still hold a
    lease, and with calls that are kept (Counters.keep_ended) and whose rows are on their way. Rows on their way of
    calls that are not kept are a difference too."""

    account_id: int
    field: str
    kind: Kind
    counted: int
    ledger: int
    epoch: int

    @property
    def difference(self) -> int:
        """Counted in Redis beyond the ledger; below 0: less than the ledger."""
        return self.counted - self.ledger

    @property
    def share(self) -> float:
        """Of the larger of the two."""
        return abs(self.difference) / max(self.counted, self.ledger, 1)


async def measure_drift(counters: Counters, pool: "Pool", account_id: int, now_ms: int) -> list[Drift]:
    """Every window counter of the account whose window is now. Raises what Redis and Postgres raise."""
    async with pool.acquire() as one, one.transaction(isolation="repeatable_read", readonly=True):
        time_zone = await one.fetchval(TIME_ZONE, account_id)
        if time_zone is None:
            return []
        fields = await counters.read_account(account_id)
        windows = _windows_of(account_id, fields, time_zone, now_ms)
        if not windows:
            return []
        sums = await sum_windows(one, [query for *_, query in windows])
        calls = dict(_calls_of(fields))
        in_ledger = {row.request_id: row for row in await find_counted(one, calls)}
    return [
        Drift(
            account_id=account_id,
            field=field,
            kind=query.kind,
            counted=used,
            ledger=total + sum(_beyond(in_ledger.get(i), call, query) for i, call in calls.items()),
            epoch=epoch,
        )
        for (field, used, epoch, query), total in zip(windows, sums, strict=True)
    ]


def _windows_of(
    account_id: int, fields: dict[str, bytes], time_zone: str, now_ms: int
) -> list[tuple[str, int, int, WindowSum]]:
    """Field, what is used, epoch and what the ledger is asked."""
    windows: list[tuple[str, int, int, WindowSum]] = []
    for field, value in fields.items():
        code, _, rest = field.partition("|")
        scope, _, window = rest.partition("|")
        kind = KIND_OF_CODE.get(code)
        if kind not in WINDOWED_KINDS or window not in WINDOW_KINDS:
            continue
        # A window, as its kind says.
        ends, used, _, epoch = read_counter(field, value)  # type: ignore[misc]
        kind_of_window: WindowKind = window  # type: ignore[assignment]  # looked at just above
        start, end = window_ms(kind_of_window, time_zone, now_ms)
        if ends == end:
            windows.append((field, used, epoch, WindowSum(account_id, kind, scope, start, end)))
    return windows


def _calls_of(fields: dict[str, bytes]) -> Iterable[tuple[UUID, Kept]]:
    """Calls that are kept; and open leases as calls that count nothing yet."""
    for field, value in fields.items():
        if field.startswith(KEPT_PREFIX):
            yield UUID(field.removeprefix(KEPT_PREFIX)), read_kept(value)
        elif field.startswith(LEASE_PREFIX):
            name = field.removeprefix(LEASE_PREFIX)
            lease = read_lease(name.encode(), value)
            if lease.is_open:
                yield UUID(name), Kept(lease.start_ms, 0, 0, 0, lease.scopes)


def _beyond(in_ledger: InLedger | None, call: Kept, query: WindowSum) -> int:
    """What the call counts in this window beyond what the ledger's sum has of it."""
    if not query.start_ms <= call.start_ms < query.end_ms or query.scope not in call.scopes.split():
        return 0
    column = LIMIT_KINDS[query.kind].ledger_column
    counted: int = getattr(call, column) - (getattr(in_ledger, column) if in_ledger else 0)
    return counted
