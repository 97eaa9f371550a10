"""What whole accounts used in windows, for rankings of all teams.

`sum_windows` of gateway/storage/ledger/sums.py has sums of every scope, and so reads each key and model of an account.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from admin_api.storage.usage.queries import PREPARE, fetch
from admin_api.storage.usage.range_selects import Query, select_ranges
from admin_api.storage.usage.rollup_tables import EACH, Selection
from gateway.domain.limits import LIMIT_KINDS, WINDOWED_KINDS, Kind
from gateway.domain.rollup_ranges import Range, ceiling, cut

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

_COUNTED: Final = {kind: LIMIT_KINDS[kind].ledger_column for kind in WINDOWED_KINDS}
_SUMS: Final = ", ".join(f"usage_sum({column}) AS {column}" for column in _COUNTED.values())


class AccountWindow(NamedTuple):
    """All calls of an account in [start, end), both in UTC on a quarter of an hour."""

    account_id: int
    start: datetime
    end: datetime


async def sum_account_windows(
    executor: "Executor", windows: Sequence[AccountWindow], now: datetime
) -> list[dict[Kind, int]]:
    """The sums of each window, in order, in one statement within the caller's transaction. What several windows have in
    common is read once: all months of a time zone have one beginning."""
    if not windows:
        return []
    spans = dict.fromkeys((start, end) for _, start, end in windows)
    parts = {(start, end): _cut(start, end, now) for start, end in spans}
    ranges = list(dict.fromkeys(one._replace(sign=1) for some in parts.values() for one in some))
    numbers = {one: number for number, one in enumerate(ranges)}
    accounts = sorted({window.account_id for window in windows})
    await executor.execute(PREPARE)
    rows = await fetch(executor, ask_account_windows(accounts, ranges))
    found = {(row["bucket"], row["grp"]): row for row in rows}
    sums = []
    for account_id, start, end in windows:
        total = dict.fromkeys(_COUNTED, 0)
        for one in parts[start, end]:
            row = found.get((numbers[one._replace(sign=1)], account_id))
            if row is not None:
                for kind, column in _COUNTED.items():
                    total[kind] += one.sign * row[column]
        sums.append(total)
    return sums


def ask_account_windows(account_ids: Sequence[int], ranges: Sequence[Range]) -> Query:
    """Sums by account, and by the number of the range as `bucket`."""
    numbered = [one._replace(bucket=number) for number, one in enumerate(ranges)]
    selection = Selection(start=ranges[0].start, end=ranges[0].end, account_ids=account_ids)
    found = select_ranges(
        selection, EACH, numbered, "account", lambda _: {column: f"r.{column}" for column in _COUNTED.values()}
    )
    sql = f"SELECT bucket, grp, {_SUMS} FROM ({found.sql}) AS found GROUP BY bucket, grp"
    return Query(sql, found.arguments)


def _cut(start: datetime, end: datetime, now: datetime) -> list[Range]:
    """No call begins after now, so that a month that has not ended is one range, and a lifetime ends."""
    is_open = end >= now
    return cut(start, ceiling(now, "quarter") if is_open else end, list(EACH), is_open=is_open)
