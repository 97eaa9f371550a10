"""What the ledger says was counted in windows: counters are seeded from it, drift and alerts are measured by it."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.domain.limits import LEVELS, LIMIT_KINDS, WINDOWED_KINDS, Kind, Level, ScopeIds, parse_scope

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

# The end of a lifetime is beyond what Postgres and datetime hold.
LATEST_MS: Final = 253_402_300_799_000
_COLUMNS: Final = {kind: LIMIT_KINDS[kind].ledger_column for kind in WINDOWED_KINDS}
_ADDED: Final = f"api_key_id, user_id, model_id, {', '.join(_COLUMNS.values())}"
_SUMS: Final = ", ".join(f"sum({column})::bigint AS {kind}" for kind, column in _COLUMNS.items())
# The rows of the rollups in the windows, and of them the sums of the scopes that are asked for: a large team has
# thousands of scopes, of which the limits of a call name five.
# Quarters of an hour up to the first midnight in UTC and from the last one on, for in every time zone windows begin and
# end on a quarter; whole days between them, or a lifetime would be read by the quarter. Each part is a range of its
# rollup's primary key.
# IN is within IS TRUE, so that Postgres looks each row up in a hash of the ids: it expects a few rows of an account,
# and would compare each with every id.
# A subscription is its model within the account: there is one row of both for ever.
SUM_WINDOWS: Final = f"""
WITH used AS MATERIALIZED (
    SELECT w.n, w.account_id, {_ADDED}
    FROM (
             SELECT n, account_id, start_at, end_at,
                    date_trunc('day', (start_at + interval '24 hours' - interval '1 microsecond') AT TIME ZONE 'UTC')
                        AT TIME ZONE 'UTC' AS midnight,
                    date_trunc('day', end_at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS last
             FROM unnest($1::int[], $2::bigint[], $3::timestamptz[], $4::timestamptz[])
                  AS u (n, account_id, start_at, end_at)
         ) AS w
         CROSS JOIN LATERAL (
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
)
SELECT 'key' AS level, n, api_key_id, NULL::bigint AS model_id, NULL::bigint AS subscription_id,
       NULL::bigint AS user_id, {_SUMS}
FROM used WHERE (api_key_id IN (SELECT unnest($5::bigint[]))) IS TRUE GROUP BY n, api_key_id
UNION ALL
SELECT 'key_model', n, api_key_id, model_id, NULL, NULL, {_SUMS}
FROM used
WHERE ((api_key_id, model_id) IN (SELECT k, m FROM unnest($6::bigint[], $7::bigint[]) AS pairs (k, m))) IS TRUE
GROUP BY n, api_key_id, model_id
UNION ALL
SELECT 'subscription', q.n, NULL, NULL, s.id, NULL, {", ".join(f"q.{kind}" for kind in _COLUMNS)}
FROM (
         SELECT n, account_id, model_id, {_SUMS} FROM used
         WHERE ((account_id, model_id)
                IN (SELECT account_id, model_id FROM subscriptions WHERE id = ANY($8::bigint[]))) IS TRUE
         GROUP BY n, account_id, model_id
     ) AS q
     JOIN subscriptions s ON s.account_id = q.account_id AND s.model_id = q.model_id
UNION ALL
SELECT 'user', n, NULL, NULL, NULL, user_id, {_SUMS}
FROM used WHERE (user_id IN (SELECT unnest($9::bigint[]))) IS TRUE GROUP BY n, user_id
UNION ALL
SELECT 'team', n, NULL, NULL, NULL, NULL, {_SUMS}
FROM used WHERE $10 GROUP BY n
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
    moments = ([_moment(ms) for ms in starts], [_moment(ms) for ms in ends])
    ids = _ids_of(sorted({query.scope for query in queries}))
    for row in await executor.fetch(SUM_WINDOWS, list(range(len(windows))), accounts, *moments, *ids):
        sums = wanted[row["n"]]
        scope = ScopeIds(
            api_key_id=row["api_key_id"],
            model_id=row["model_id"],
            subscription_id=row["subscription_id"],
            user_id=row["user_id"],
        ).scope(row["level"])
        for kind in WINDOWED_KINDS:
            if (scope, kind) in sums:
                sums[scope, kind] = row[kind]
    return [wanted[numbers[query.window]][query.scope, query.kind] for query in queries]


def _ids_of(scopes: Iterable[str]) -> tuple[list[int], list[int], list[int], list[int], list[int], bool]:
    """As the statement takes them from $5 on: keys; the keys and the models of pairs; subscriptions; users; whether all
    of an account is asked for. A scope of no level has no sum."""
    found: dict[Level, list[ScopeIds]] = {level: [] for level in LEVELS}
    for scope in scopes:
        level, ids = parse_scope(scope)
        if level is not None:
            found[level].append(ids)

    def named(level: Level, name: str) -> list[int]:
        return [getattr(ids, name) for ids in found[level]]

    return (
        named("key", "api_key_id"),
        named("key_model", "api_key_id"),
        named("key_model", "model_id"),
        named("subscription", "subscription_id"),
        named("user", "user_id"),
        bool(found["team"]),
    )


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(min(ms, LATEST_MS) / 1000, UTC)
