"""How far window counters in Redis are from the ledger."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.domain.limits import KIND_OF_CODE, WINDOWED_KINDS, Kind
from gateway.domain.windows import WINDOW_KINDS, WindowKind, window_ms
from gateway.storage.counters.layout import read_counter
from gateway.storage.counters.scripts import Counters
from gateway.storage.ledger.sums import WindowSum, sum_windows

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

TIME_ZONE = "SELECT time_zone FROM accounts WHERE id = $1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One window counter, of this epoch, and the ledger's sum of it. Rows on their way to Postgres are a difference
    too."""

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
    time_zone = await pool.fetchval(TIME_ZONE, account_id)
    if time_zone is None:
        return []
    windows: list[tuple[str, int, int, WindowSum]] = []
    for field, value in (await counters.read_account(account_id)).items():
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
    sums = await sum_windows(pool, [query for *_, query in windows])
    return [
        Drift(account_id=account_id, field=field, kind=query.kind, counted=used, ledger=total, epoch=epoch)
        for (field, used, epoch, query), total in zip(windows, sums, strict=True)
    ]
