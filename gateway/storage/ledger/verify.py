"""Whether the ledger and its rollups say the same."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from gateway.domain.rollup_ranges import Grain, floor
from gateway.storage.ledger.rollups import COUNT_BITS, ROLLUPS, SUMS, Rollup

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

# Of one statement: adding up a large ledger takes minutes.
TIMEOUT_S: Final = 1800.0
# Differences reported of a rollup, enough to see what is wrong: one that was lost differs in every line.
MAX_REPORTED: Final = 1000
# A number that is another one when any call is in another bucket; it adds up as counts do, so it is a whole one: of
# floating point, a rollup of 35 million calls would differ from its rows by what is rounded.
_BUCKET: Final = f"((e >> {COUNT_BITS}) + 1)"
_LATENCIES: Final = (
    f"coalesce((SELECT sum((e & {(1 << COUNT_BITS) - 1}) * {_BUCKET} * {_BUCKET} * {_BUCKET}) "
    "FROM unnest(latencies) AS e), 0)"
)
_ROWS_SINCE: Final = "request_id >= uuid7_floor($1)"


def _grouped(source: str, table: str, key: str, since: str, latencies: str) -> str:
    sums = ", ".join(f"usage_sum({name}) AS {name}" for name in SUMS)
    # What an estimate had added and its real row took away again leaves nothing but zeros.
    any_left = " OR ".join([*(f"usage_sum({name}) <> 0" for name in SUMS), f"sum({latencies}) <> 0"])
    return (
        f"SELECT '{source}' AS source, {key}, {sums}, sum({latencies}) AS latencies FROM {table} "
        f"WHERE {since} GROUP BY {key} HAVING {any_left}"
    )


def _grain(rollup: Rollup) -> Grain:
    """What it is compared by: whole days where its own grain is shorter."""
    longer: tuple[Grain, ...] = ("month", "ten_days")
    return next((grain for grain in longer if grain in rollup.key), "day")


def _find_differences(rollup: Rollup) -> str:
    """By the rollup's own key, but by whole days or more: what it says of `day`, and what the rows say."""
    own = "0::numeric" if not rollup.has_latencies else _LATENCIES
    grain = _grain(rollup)
    key = ", ".join((grain, *(name for name in rollup.key if name not in ("started_at", grain))))
    table, since = rollup.table, f"{grain} >= ($1 AT TIME ZONE 'UTC')::date"
    if grain not in rollup.key:
        table = f"(SELECT *, (started_at AT TIME ZONE 'UTC')::date AS day FROM {table}) AS parts"
        since = "started_at >= $1"
    names = ", ".join((*SUMS, "latencies"))
    model = next((name for name in ("model", "model_id") if name in rollup.key), "0::bigint")
    return (
        f"WITH compared AS ({_grouped('rows', rollup.source('usage_as_sums'), key, _ROWS_SINCE, own)} UNION ALL "
        f"{_grouped(rollup.table, table, key, since, own)}) "
        f"SELECT {grain} AS day, {'account_id' if 'account_id' in rollup.key else '0::bigint'} AS account_id, "
        f"{model} AS model_id, jsonb_object_agg(source, to_jsonb(compared) - 'source')::text AS sides "
        f"FROM compared GROUP BY {key} HAVING count(*) < 2 OR count(DISTINCT ({names})) > 1 "
        f"ORDER BY {key} LIMIT {MAX_REPORTED}"
    )


_FIND: Final = {rollup: _find_differences(rollup) for rollup in ROLLUPS}

COUNT_ROWS = """
SELECT count(*) AS rows, count(*) FILTER (WHERE estimated_why = 'reaped') AS reaped
FROM usage_logs WHERE request_id >= uuid7_floor($1)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerCheck:
    """`differences` are (day, account, model, what each source says as JSON text), 0 where a rollup has them all
    together; none: the rows and every rollup agree."""

    rows: int
    reaped: int
    differences: tuple[tuple[str, int, int, str], ...]


async def check_ledger(executor: "Executor", since: datetime) -> LedgerCheck:
    """Rows and rollups from `since` (a start of a UTC day) on, from the start of its ten days or month where those are
    summed up. In one transaction of level repeatable read, so that all is of one state."""
    differing = []
    for rollup, find in _FIND.items():
        differing += await executor.fetch(find, floor(since, _grain(rollup)), timeout=TIMEOUT_S)
    counts = await executor.fetchrow(COUNT_ROWS, since, timeout=TIMEOUT_S)
    return LedgerCheck(
        rows=counts["rows"] if counts else 0,
        reaped=counts["reaped"] if counts else 0,
        differences=tuple((str(r["day"]), r["account_id"], r["model_id"], r["sides"]) for r in differing),
    )
