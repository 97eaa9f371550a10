"""The sums that usage queries and seeds read instead of rows, added to in the transaction that writes the rows.

migrations/0012 and 0025 have the tables and what each is for; docs/usage.md says which query reads which.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from operator import add, attrgetter
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec

from gateway.domain.error_classes import error_class_of
from gateway.domain.latencies import bucket_of
from gateway.domain.usage_rows import UsageRow

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor


class Sum(NamedTuple):
    """What a row adds to one sum, as SQL of its columns and in Python."""

    sql: str
    of: Callable[[UsageRow], int]


# What every rollup adds up, under these names. The view usage_as_sums and the function add_up_usage have the same.
SUMS: Final[dict[str, Sum]] = {
    "calls": Sum("1", lambda row: 1),
    "completed_calls": Sum("(ending = 'completed')::integer", lambda row: row.ending == "completed"),
    "hung_up_calls": Sum("(ending = 'client_disconnected')::integer", lambda row: row.ending == "client_disconnected"),
    "estimated_calls": Sum("estimated::integer", lambda row: row.estimated),
    "unpriced_calls": Sum("(cost_nano_usd IS NULL)::integer", lambda row: row.cost_nano_usd is None),
    "prompt_tokens": Sum("prompt_tokens", attrgetter("prompt_tokens")),
    "completion_tokens": Sum("completion_tokens", attrgetter("completion_tokens")),
    "cached_tokens": Sum("cached_tokens", attrgetter("cached_tokens")),
    "cache_write_tokens": Sum("cache_write_tokens", attrgetter("cache_write_tokens")),
    "reasoning_tokens": Sum("reasoning_tokens", attrgetter("reasoning_tokens")),
    "cost_nano_usd": Sum("coalesce(cost_nano_usd, 0)", lambda row: row.cost_nano_usd or 0),
    "counted_requests": Sum("counted_requests", attrgetter("counted_requests")),
    "counted_tokens": Sum("counted_tokens", attrgetter("counted_tokens")),
    "counted_nano_usd": Sum("counted_nano_usd", attrgetter("counted_nano_usd")),
    "timed_calls": Sum("(estimated_why IS DISTINCT FROM 'reaped')::integer", lambda row: row.estimated_why != "reaped"),
    "total_ms": Sum("total_ms", attrgetter("total_ms")),
    "first_byte_calls": Sum("(first_byte_ms IS NOT NULL)::integer", lambda row: row.first_byte_ms is not None),
    "first_byte_ms": Sum("coalesce(first_byte_ms, 0)", lambda row: row.first_byte_ms or 0),
    "own_cost_nano_usd": Sum("coalesce(own_cost_nano_usd, 0)", lambda row: row.own_cost_nano_usd or 0),
    # Of calls that have one of our own to compare it with.
    "litellm_cost_nano_usd": Sum(
        "CASE WHEN own_cost_nano_usd IS NULL THEN 0 ELSE coalesce(litellm_cost_nano_usd, 0) END",
        lambda row: 0 if row.own_cost_nano_usd is None else row.litellm_cost_nano_usd or 0,
    ),
}
# An element of `latencies` is code << COUNT_BITS | calls, its code measure * FIRST_BYTE + bucket.
COUNT_BITS: Final = 40
TOTAL: Final = 0
FIRST_BYTE: Final = 256

_encode = msgspec.json.Encoder().encode


class Rollup(NamedTuple):
    """One table: its key, and each part of it as SQL of the finest sums. `of` is what it adds up: `every` of them,
    `either` (each under its model, and under 0 for all models together), or either of those of `failed` calls."""

    table: str
    key: tuple[str, ...]
    reported: tuple[str, ...]
    has_latencies: bool
    of: Literal["every", "either", "failed"] = "every"

    def source(self, finest: str) -> str:
        """SQL of what it adds up, for a FROM."""
        if self.of == "every":
            return finest
        models = "(VALUES (finest.model_id), (0)) AS m (model)"
        if self.of == "failed":
            models = f"(SELECT model FROM {models} WHERE finest.error_class <> 'none') AS m"
        return f"{finest} AS finest CROSS JOIN LATERAL {models}"


_WHO: Final = ("user_id", "api_key_id", "model_id", "ending", "error_class")
_WHAT: Final = ("model_id", "ending", "error_class")
_ACCOUNT: Final = ("account_id", "user_id")
_SIX_HOURS: Final = "date_bin('6 hours', started_at, '2000-01-01Z')"
_DAY: Final = "(started_at AT TIME ZONE 'UTC')::date"
_TEN_DAYS: Final = f"usage_ten_days({_DAY})"
_MONTH: Final = "date_trunc('month', started_at AT TIME ZONE 'UTC')::date"
_FINEST: Final = ("account_id", "started_at", *_WHO)

ALL_QUARTER_HOURS: Final = Rollup("usage_all_quarter_hours", ("started_at",), ("started_at",), True)
ALL_DAYS: Final = Rollup("usage_all_days", ("day",), (_DAY,), True)
MODEL_QUARTER_HOURS: Final = Rollup("usage_model_quarter_hours", ("started_at", *_WHAT), ("started_at", *_WHAT), True)
MODEL_DAYS: Final = Rollup("usage_model_days", ("day", *_WHAT), (_DAY, *_WHAT), True)
QUARTER_HOURS: Final = Rollup("usage_quarter_hours", _FINEST, _FINEST, True)
DAYS: Final = Rollup("usage_days", ("account_id", "day", *_WHO), ("account_id", _DAY, *_WHO), True)
ACCOUNT_SIX_HOURS: Final = Rollup("usage_account_six_hours", ("started_at", *_ACCOUNT), (_SIX_HOURS, *_ACCOUNT), False)
ACCOUNT_DAYS: Final = Rollup(
    "usage_account_days", ("model", "day", *_ACCOUNT), ("model", _DAY, *_ACCOUNT), False, "either"
)
ACCOUNT_TEN_DAYS: Final = Rollup("usage_account_ten_days", ("ten_days", *_ACCOUNT), (_TEN_DAYS, *_ACCOUNT), False)
ACCOUNT_MONTHS: Final = Rollup(
    "usage_account_months", ("model", "month", *_ACCOUNT), ("model", _MONTH, *_ACCOUNT), False, "either"
)
FAILED_DAYS: Final = Rollup(
    "usage_failed_days",
    ("model", "error_class", "day", *_ACCOUNT, "ending"),
    ("model", "error_class", _DAY, *_ACCOUNT, "ending"),
    False,
    "failed",
)
FAILED_MONTHS: Final = Rollup(
    "usage_failed_months",
    ("model", "error_class", "month", *_ACCOUNT, "ending"),
    ("model", "error_class", _MONTH, *_ACCOUNT, "ending"),
    False,
    "failed",
)
# Every writer changes the few rows of the first ones. Postgres carries out the parts of a WITH from the last to the
# first: so those are changed last, and locked no longer than the commit takes. Every statement names rollups in this
# order, and changes the rows of each by their key: writers wait for each other, but never in a circle.
TOGETHER: Final = (ALL_QUARTER_HOURS, ALL_DAYS, MODEL_QUARTER_HOURS, MODEL_DAYS)
WITHIN_ACCOUNTS: Final = (
    QUARTER_HOURS,
    DAYS,
    ACCOUNT_SIX_HOURS,
    ACCOUNT_DAYS,
    ACCOUNT_TEN_DAYS,
    ACCOUNT_MONTHS,
    FAILED_DAYS,
    FAILED_MONTHS,
)
ROLLUPS: Final = (*TOGETHER, *WITHIN_ACCOUNTS)


def _merged(array: str) -> str:
    """SQL that adds up an array's elements of the same code and drops those that are nothing. Counts may be below 0
    on the way: a row replaced by another takes its own away."""
    half, one = f"{1 << COUNT_BITS - 1}", f"{COUNT_BITS}"
    code = f"(e + {half}) >> {one}"
    return (
        "coalesce((SELECT array_agg((c.code << " + one + ") + c.n ORDER BY c.code) FROM ("
        f"SELECT {code} AS code, usage_sum(e - (({code}) << {one})) AS n FROM unnest({array}) AS e GROUP BY 1"
        ") AS c WHERE c.n <> 0), '{}')"
    )


def add_to(rollup: Rollup, finest: str) -> str:
    """SQL that adds what `finest` sums up to: rows with the finest key, SUMS and `latencies`."""
    names, key = ", ".join(SUMS), ", ".join(rollup.key)
    reported = ", ".join(f"{reported} AS {name}" for reported, name in zip(rollup.reported, rollup.key, strict=True))
    sums = ", ".join(f"usage_sum({name}) AS {name}" for name in SUMS)
    changes = ", ".join(f"{name} = t.{name} + excluded.{name}" for name in SUMS)
    added = names
    if rollup.has_latencies:
        names += ", latencies"
        joined = "string_agg(nullif(array_to_string(latencies, ','), ''), ',')"
        sums += f", count(*) AS parts, min(latencies) AS one, {joined} AS latencies"
        changes += f", latencies = {_merged('t.latencies || excluded.latencies')}"
        # Most sums of a batch are of one call, whose latencies are as they have to be.
        added += f", CASE WHEN parts = 1 THEN one ELSE {_merged('joined_arrays(added.latencies)')} END"
    return (
        f"INSERT INTO {rollup.table} AS t ({key}, {names}) SELECT {key}, {added} FROM ("
        f"SELECT {reported}, {sums} FROM {rollup.source(finest)} "
        f"GROUP BY {', '.join(map(str, range(1, len(rollup.key) + 1)))}) AS added "
        f"ORDER BY {key} ON CONFLICT ({key}) DO UPDATE SET {changes}"
    )


def _recordset(rollup: Rollup) -> str:
    types = {"started_at": "timestamptz", "ending": "text", "error_class": "text"}
    key = ", ".join(f"{name} {types.get(name, 'bigint')}" for name in rollup.key)
    return f"jsonb_to_recordset($1::jsonb) AS r ({key}, {' bigint, '.join(SUMS)} bigint, latencies bigint[])"


def parts_of(rollups: Sequence[Rollup]) -> str:
    """Parts of a WITH that has `finest`, one for each rollup."""
    return ", ".join(f"{rollup.table}_added AS ({add_to(rollup, 'finest')})" for rollup in rollups)


def _add(finest: Rollup, rollups: Sequence[Rollup]) -> str:
    """A statement that adds the sums it is given, with the key of `finest`, to all of `rollups`."""
    given = f"SELECT {', '.join((*finest.key, *SUMS))}, latencies FROM {_recordset(finest)}"
    *others, last = rollups
    return f"WITH finest AS MATERIALIZED ({given}), {parts_of(others)} {add_to(last, 'finest')}"


ADD_WITHIN_ACCOUNTS: Final = _add(QUARTER_HOURS, WITHIN_ACCOUNTS)
ADD_TOGETHER: Final = _add(MODEL_QUARTER_HOURS, TOGETHER)


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


def _amounts(row: UsageRow) -> list[int]:
    return [int(added.of(row)) for added in SUMS.values()]


def _codes(row: UsageRow) -> list[int]:
    """When a reaped call ended is not known: it has no latency."""
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
        line: dict[str, Any] = dict(zip((*rollup.key, *SUMS), (*key, *one.amounts), strict=True))
        line["latencies"] = [(code << COUNT_BITS) + number for code, number in one.latencies.items() if number]
        lines.append(line)
    return _encode(lines).decode()
