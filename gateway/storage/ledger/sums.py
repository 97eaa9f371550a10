"""What the ledger says was counted in windows: counters are seeded from it, drift and alerts are measured by it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.domain.limits import LIMIT_KINDS, WINDOWED_KINDS, Kind, ScopeIds

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

# The end of a lifetime is beyond what Postgres and datetime hold.
LATEST_MS: Final = 253_402_300_799_000
_COLUMNS: Final = {kind: LIMIT_KINDS[kind].ledger_column for kind in WINDOWED_KINDS}
_ADDED: Final = f"api_key_id, user_id, model_id, {', '.join(_COLUMNS.values())}"
_SUMS: Final = ", ".join(f"sum({column})::bigint AS {kind}" for kind, column in _COLUMNS.items())
# The sums of windows, each by key, user, model and subscription: all that a scope is made of. Quarters of an hour up to
# the first midnight in UTC and from the last one on, for in every time zone windows begin and end on a quarter; whole
# days between them, or a lifetime would be read by the quarter. Each part is a range of its rollup's primary key.
# The model names the subscription: there is one row per account and model for ever.
SUM_WINDOWS: Final = f"""
SELECT w.n, q.api_key_id, q.user_id, q.model_id, s.id AS subscription_id, {", ".join(f"q.{kind}" for kind in _COLUMNS)}
FROM (
         SELECT n, account_id, start_at, end_at,
                date_trunc('day', (start_at + interval '24 hours' - interval '1 microsecond') AT TIME ZONE 'UTC')
                    AT TIME ZONE 'UTC' AS midnight,
                date_trunc('day', end_at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS last
         FROM unnest($1::int[], $2::bigint[], $3::timestamptz[], $4::timestamptz[])
              AS u (n, account_id, start_at, end_at)
     ) AS w
     CROSS JOIN LATERAL (
         SELECT api_key_id, user_id, model_id, {_SUMS}
         FROM (
             SELECT {_ADDED} FROM usage_quarter_hours
             WHERE account_id = w.account_id AND started_at >= w.start_at AND started_at < w.end_at
               AND started_at < w.midnight
             UNION ALL
             SELECT {_ADDED} FROM usage_days
             WHERE account_id = w.account_id AND day >= (w.midnight AT TIME ZONE 'UTC')::date
               AND day < (w.last AT TIME ZONE 'UTC')::date
             UNION ALL
             SELECT {_ADDED} FROM usage_quarter_hours
             WHERE account_id = w.account_id AND started_at >= greatest(w.midnight, w.last) AND started_at < w.end_at
         ) AS r
         GROUP BY api_key_id, user_id, model_id) AS q
     LEFT JOIN subscriptions s ON s.account_id = w.account_id AND s.model_id = q.model_id
"""


class WindowSum(NamedTuple):
    """One query: what `scope` of the account used of `kind` in [start, end)."""

    account_id: int
    kind: Kind
    scope: str
    start_ms: int
    end_ms: int

    @property
    def window(self) -> tuple[int, int, int]:
        """What is read for it."""
        return self.account_id, self.start_ms, self.end_ms


async def sum_windows(executor: "Executor | Pool", queries: Sequence[WindowSum]) -> list[int]:
    """The sum of each query, in order, in one statement. A window that several queries name is read once."""
    if not queries:
        return []
    windows = sorted({query.window for query in queries})
    wanted: list[dict[tuple[str, Kind], int]] = [{} for _ in windows]
    numbers = {window: n for n, window in enumerate(windows)}
    for query in queries:
        wanted[numbers[query.window]][query.scope, query.kind] = 0
    accounts, starts, ends = zip(*windows, strict=True)
    for row in await executor.fetch(
        SUM_WINDOWS, list(range(len(windows))), accounts, [_moment(ms) for ms in starts], [_moment(ms) for ms in ends]
    ):
        sums = wanted[row["n"]]
        # Rollups have user 0 where a key has no user: no user has that id, so no limit has that scope.
        ids = ScopeIds(
            api_key_id=row["api_key_id"],
            model_id=row["model_id"],
            subscription_id=row["subscription_id"],
            user_id=row["user_id"],
        )
        for scope in ids.scopes().values():
            for kind in WINDOWED_KINDS:
                if (scope, kind) in sums:
                    sums[scope, kind] += row[kind]
    return [wanted[numbers[query.window]][query.scope, query.kind] for query in queries]


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(min(ms, LATEST_MS) / 1000, UTC)
