"""The sums that usage questions and seeds read instead of rows, added to in the transaction that writes the rows.

migrations/0012 has the tables and what each is for; docs/usage.md says which question reads which.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from operator import add
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from gateway.domain.error_classes import error_class_of
from gateway.domain.latencies import bucket_of
from gateway.domain.usage_rows import UsageRow

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

# What every rollup adds up, in the order of `_amounts`.
SUMS: Final = (
    "calls",
    "completed_calls",
    "hung_up_calls",
    "estimated_calls",
    "unpriced_calls",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost_nano_usd",
    "counted_requests",
    "counted_tokens",
    "counted_nano_usd",
    "timed_calls",
    "total_ms",
    "first_byte_calls",
    "first_byte_ms",
)
# An element of `latencies` is code << COUNT_BITS | calls, its code measure * FIRST_BYTE + bucket.
COUNT_BITS: Final = 40
TOTAL: Final = 0
FIRST_BYTE: Final = 256

_encode = msgspec.json.Encoder().encode


class Rollup(NamedTuple):
    """One table: its key, and each part of the key as the finest sums tell it."""

    table: str
    key: tuple[str, ...]
    told: tuple[str, ...]
    has_latencies: bool


_WHO: Final = ("user_id", "api_key_id", "model_id", "ending", "error_class")
_WHAT: Final = ("model_id", "ending", "error_class")
_DAY: Final = "(started_at AT TIME ZONE 'UTC')::date"
_MONTH: Final = "date_trunc('month', started_at AT TIME ZONE 'UTC')::date"
_FINEST: Final = ("account_id", "started_at", *_WHO)

QUARTER_HOURS: Final = Rollup("usage_quarter_hours", _FINEST, _FINEST, True)
DAYS: Final = Rollup("usage_days", ("account_id", "day", *_WHO), ("account_id", _DAY, *_WHO), True)
MODEL_QUARTER_HOURS: Final = Rollup("usage_model_quarter_hours", ("started_at", *_WHAT), ("started_at", *_WHAT), True)
MODEL_DAYS: Final = Rollup("usage_model_days", ("day", *_WHAT), (_DAY, *_WHAT), True)
ACCOUNT_DAYS: Final = Rollup(
    "usage_account_days", ("model", "day", "account_id", "user_id"), ("model", _DAY, "account_id", "user_id"), False
)
ACCOUNT_MONTHS: Final = Rollup(
    "usage_account_months",
    ("model", "month", "account_id", "user_id"),
    ("model", _MONTH, "account_id", "user_id"),
    False,
)
ROLLUPS: Final = (QUARTER_HOURS, DAYS, ACCOUNT_DAYS, ACCOUNT_MONTHS, MODEL_QUARTER_HOURS, MODEL_DAYS)


def _merged(array: str) -> str:
    """SQL that adds up an array's elements of the same code and drops those that are nothing. Counts may be below 0
    on the way: a row replaced by another takes its own away."""
    half, one = f"{1 << COUNT_BITS - 1}", f"{COUNT_BITS}"
    code = f"(e + {half}) >> {one}"
    return (
        "coalesce((SELECT array_agg((c.code << " + one + ") + c.n ORDER BY c.code) FROM ("
        f"SELECT {code} AS code, sum(e - (({code}) << {one}))::bigint AS n FROM unnest({array}) AS e GROUP BY 1"
        ") AS c WHERE c.n <> 0), '{}')"
    )


def add_to(rollup: Rollup, source: str) -> str:
    """SQL that adds what `source` sums up to: rows with the finest key, SUMS and `latencies`."""
    names, key = ", ".join(SUMS), ", ".join(rollup.key)
    told = ", ".join(f"{told} AS {name}" for told, name in zip(rollup.told, rollup.key, strict=True))
    sums = ", ".join(f"sum({name})::bigint AS {name}" for name in SUMS)
    changes = ", ".join(f"{name} = t.{name} + excluded.{name}" for name in SUMS)
    if rollup.has_latencies:
        names += ", latencies"
        joined = "string_agg(nullif(array_to_string(latencies, ','), ''), ',')"
        sums += f", joined_arrays({joined}) AS latencies"
        changes += f", latencies = {_merged('t.latencies || excluded.latencies')}"
    added = names.replace("latencies", _merged("added.latencies"))
    return (
        f"INSERT INTO {rollup.table} AS t ({key}, {names}) SELECT {key}, {added} FROM ("
        f"SELECT {told}, {sums} FROM {source} GROUP BY {', '.join(map(str, range(1, len(rollup.key) + 1)))}) AS added "
        f"ORDER BY {key} ON CONFLICT ({key}) DO UPDATE SET {changes}"
    )


def _recordset(rollup: Rollup) -> str:
    types = {"started_at": "timestamptz", "ending": "text", "error_class": "text"}
    key = ", ".join(f"{name} {types.get(name, 'bigint')}" for name in rollup.key)
    return f"jsonb_to_recordset($1::jsonb) AS r ({key}, {' bigint, '.join(SUMS)} bigint, latencies bigint[])"


EITHER: Final = "finest CROSS JOIN LATERAL (VALUES (finest.model_id), (0)) AS m (model)"

# Every writer takes its locks in this order: a table after the other, and in a table by its key.
ADD_WITHIN_ACCOUNTS: Final = f"""
WITH finest AS MATERIALIZED (SELECT {", ".join((*_FINEST, *SUMS))}, latencies FROM {_recordset(QUARTER_HOURS)}),
quarters AS ({add_to(QUARTER_HOURS, "finest")}),
days AS ({add_to(DAYS, "finest")}),
account_days AS ({add_to(ACCOUNT_DAYS, EITHER)})
{add_to(ACCOUNT_MONTHS, EITHER)}
"""

# Last, for every writer changes these few rows: they are locked no longer than the commit takes.
ADD_TOGETHER: Final = f"""
WITH finest AS MATERIALIZED (
    SELECT {", ".join((*MODEL_QUARTER_HOURS.key, *SUMS))}, latencies FROM {_recordset(MODEL_QUARTER_HOURS)}),
quarters AS ({add_to(MODEL_QUARTER_HOURS, "finest")})
{add_to(MODEL_DAYS, "finest")}
"""


_NOTHING: Final = (0,) * len(SUMS)


class _Sum:
    __slots__ = ("amounts", "latencies")

    def __init__(self) -> None:
        self.amounts: Sequence[int] = _NOTHING
        self.latencies: dict[int, int] = {}

    def add(self, amounts: Sequence[int], latencies: Iterable[tuple[int, int]]) -> None:
        # Most sums of a batch are of one call: those cost nothing here.
        self.amounts = amounts if self.amounts is _NOTHING else list(map(add, self.amounts, amounts))
        for code, number in latencies:
            self.latencies[code] = self.latencies.get(code, 0) + number


def _amounts(row: UsageRow) -> tuple[int, ...]:
    return (
        1,
        row.ending == "completed",
        row.ending == "client_disconnected",
        row.estimated,
        row.cost_nano_usd is None,
        row.prompt_tokens,
        row.completion_tokens,
        row.cached_tokens,
        row.cache_write_tokens,
        row.reasoning_tokens,
        row.cost_nano_usd or 0,
        row.counted_requests,
        row.counted_tokens,
        row.counted_nano_usd,
        row.estimated_why != "reaped",
        row.total_ms,
        row.first_byte_ms is not None,
        row.first_byte_ms or 0,
    )


def _codes(row: UsageRow) -> list[int]:
    """A reaped call's end was seen by nobody: it has no latency."""
    codes = [] if row.estimated_why == "reaped" else [TOTAL + bucket_of(row.total_ms)]
    return codes if row.first_byte_ms is None else [*codes, FIRST_BYTE + bucket_of(row.first_byte_ms)]


def quarter_of(moment: datetime) -> datetime:
    """The start of its quarter of an hour."""
    return moment.replace(minute=moment.minute - moment.minute % 15, second=0, microsecond=0)


async def add_to_rollups(executor: "Executor", added: Iterable[UsageRow], removed: Iterable[UsageRow]) -> None:
    """Adds what `added` sum up to and takes away `removed`, in all rollups; in the transaction of the rows."""
    finest: defaultdict[tuple[Any, ...], _Sum] = defaultdict(_Sum)
    for rows, sign in ((added, 1), (removed, -1)):
        for row in rows:
            key = (row.account_id, quarter_of(row.started_at), row.user_id or 0, row.api_key_id, row.model_id)
            amounts = _amounts(row) if sign == 1 else [-amount for amount in _amounts(row)]
            finest[*key, row.ending, error_class_of(row)].add(amounts, [(code, sign) for code in _codes(row)])
    if not finest:
        return
    together: defaultdict[tuple[Any, ...], _Sum] = defaultdict(_Sum)
    for (_, quarter, _, _, *what), one in finest.items():
        together[quarter, *what].add(one.amounts, one.latencies.items())
    await executor.execute(ADD_WITHIN_ACCOUNTS, _lines(QUARTER_HOURS, finest))
    await executor.execute(ADD_TOGETHER, _lines(MODEL_QUARTER_HOURS, together))


def _lines(rollup: Rollup, sums: dict[tuple[Any, ...], _Sum]) -> str:
    lines = []
    for key, one in sums.items():
        line: dict[str, Any] = dict(zip((*rollup.key, *SUMS), (*key, *map(int, one.amounts)), strict=True))
        line["latencies"] = [(code << COUNT_BITS) + number for code, number in one.latencies.items() if number]
        lines.append(line)
    return _encode(lines).decode()
