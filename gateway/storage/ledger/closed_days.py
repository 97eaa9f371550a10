"""Seals: hashes over the days of the ledger that are closed, each chained to the one before.

migrations/0037_pre_seal_days_of_the_ledger.sql makes them, with the same formulas. A day is closed eight days after its
end, for leases live seven; what comes later is a correction (corrections.py) and belongs to the day it was made.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

# Hashing a day of a large ledger takes minutes.
TIMEOUT_S: Final = 1800.0
ACTOR: Final = "gateway:seals"
NAME: Final = re.compile("[a-z_][a-z0-9_]*")

CLOSE_DAY: Final = "SELECT close_usage_day()"
HASH_DAY: Final = "SELECT seal_usage_day($1, $2)"
CLOSED_UNTIL: Final = """
SELECT (max(day) + 1)::timestamp AT TIME ZONE 'UTC' FROM usage_seals WHERE hash IS NOT NULL
"""

# What is wrong with a sealed day:
# - changed: its rows or corrections are not those that were sealed: changed, deleted or added;
# - rollup: its rows are as sealed, or dropped by retention, and its rollup says something else;
# - broken: the seal does not follow from the one before, so seals were changed, deleted, added or put in another order;
# - cut_off: the last seals are gone; outside: there are rows from before the first seal;
# - audit: the audit log holds another hash of it; anchor: the chain is not the one noted before.
Fault = Literal["changed", "rollup", "broken", "cut_off", "outside", "audit", "anchor"]


class Anchor(NamedTuple):
    """A seal as it was noted elsewhere: out of the reach of the database's owner."""

    day: date
    hash: bytes

    def __str__(self) -> str:
        return f"{self.day}:{self.hash.hex()}"


class ClosedDayFinding(NamedTuple):
    """`day` is None where no seal is left."""

    fault: Fault
    day: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedDaysCheck:
    """`closed` have seals, of `days` the rows too; those of `dropped` are not in the ledger any more. `head` is the
    last seal, to be noted elsewhere; None: nothing is sealed yet."""

    closed: int
    days: int
    dropped: int
    findings: tuple[ClosedDayFinding, ...]
    head: Anchor | None


async def close_due_days(pool: "Pool") -> list[date]:
    """Closes and seals the days that are due; those it sealed. Any number of workers may call it. Raises what Postgres
    raises where rows are being written for long: tried again later, what is done stays done."""
    closed: list[date] = []
    while (day := await pool.fetchval(CLOSE_DAY)) is not None and await pool.fetchval(
        HASH_DAY, day, ACTOR, timeout=TIMEOUT_S
    ):
        closed.append(day)
    return closed


async def closed_until(pool: "Pool") -> datetime | None:
    """The end of the last sealed day."""
    moment: datetime | None = await pool.fetchval(CLOSED_UNTIL)
    return moment


_SUMS: Final = ("counted_requests", "counted_tokens", "counted_nano_usd", "cost_nano_usd")
LIST_CLOSED_DAYS: Final = """
SELECT s.day, s.rows, s.columns, s.digest, s.corrections, s.correction_columns, s.correction_digest, s.counted_requests,
    s.counted_tokens, s.counted_nano_usd, s.cost_nano_usd, s.hash, s.day::timestamp AT TIME ZONE 'UTC' AS first,
    (extract(epoch FROM s.sealed_at) * 1000000)::bigint AS sealed_us,
    date_trunc('month', s.day)::date IN (SELECT month FROM usage_months_dropped) AS is_dropped,
    (coalesce(d.counted_requests, 0), coalesce(d.counted_tokens, 0), coalesce(d.counted_nano_usd, 0),
        coalesce(d.cost_nano_usd, 0)) IS NOT DISTINCT FROM
        (s.counted_requests, s.counted_tokens, s.counted_nano_usd, s.cost_nano_usd) AS has_sums,
    NOT EXISTS (SELECT FROM audit_logs a WHERE a.action = 'ledger.seal_day' AND a.target_kind = 'ledger'
        AND a.target_id = s.day::text AND a.new->>'hash' IS DISTINCT FROM encode(s.hash, 'hex')) AS is_audited
FROM usage_seals s LEFT JOIN usage_all_days d ON d.day = s.day
WHERE s.hash IS NOT NULL ORDER BY s.day
"""

READ_HEAD: Final = """
SELECT day, hash FROM usage_seal_head
"""

ANY_OUTSIDE: Final = """
SELECT EXISTS (SELECT FROM usage_logs WHERE request_id < uuid7_floor($1::date::timestamp AT TIME ZONE 'UTC'))
"""


async def check_closed_days(executor: "Executor", since: date, anchor: Anchor | None) -> ClosedDaysCheck:
    """Every seal, and the rows of the days from `since` on. In one transaction of level repeatable read, so that all is
    of one state."""
    # Rows are hashed as text.
    await executor.execute("SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO, YMD'")
    closed_days = await executor.fetch(LIST_CLOSED_DAYS)
    head = await executor.fetchrow(READ_HEAD)
    findings: list[ClosedDayFinding] = []
    days = 0
    last: Anchor | None = None
    is_anchored = anchor is None
    for closed in closed_days:
        faults: list[Fault] = []
        follows = last is None or closed["day"] == last.day + timedelta(days=1)
        if not follows or closed["hash"] != _hash_of(closed, last.hash if last else b""):
            faults.append("broken")
        if not closed["is_audited"]:
            faults.append("audit")
        if not closed["is_dropped"] and closed["day"] >= since:
            days += 1
            if not await _is_as_closed(executor, closed):
                faults.append("changed")
        if not closed["has_sums"]:
            faults.append("rollup")
        last = Anchor(closed["day"], closed["hash"])
        is_anchored = is_anchored or last == anchor
        findings += [ClosedDayFinding(fault, last.day) for fault in faults]
    if head is not None and head["day"] is not None and last != Anchor(head["day"], head["hash"]):
        findings.append(ClosedDayFinding("cut_off", last.day if last else None))
    if closed_days and await executor.fetchval(ANY_OUTSIDE, closed_days[0]["day"]):
        findings.append(ClosedDayFinding("outside", closed_days[0]["day"]))
    if not is_anchored and anchor is not None:
        findings.append(ClosedDayFinding("anchor", anchor.day))
    dropped = sum(closed["is_dropped"] for closed in closed_days)
    return ClosedDaysCheck(closed=len(closed_days), days=days, dropped=dropped, findings=tuple(findings), head=last)


async def _is_as_closed(executor: "Executor", closed: Any) -> bool:
    """Whether the rows and the corrections of a day are those that were sealed."""
    corrected = (closed["corrections"], closed["correction_digest"])
    first = closed["first"]
    for source, key, moment, columns, expected in (
        ("usage_logs", "request_id", "started_at", closed["columns"], (closed["rows"], closed["digest"])),
        ("ledger_corrections", "id", "made_at", closed["correction_columns"], corrected),
    ):
        # They become part of a statement, and are as they stand in the database.
        if not all(NAME.fullmatch(name) for name in columns):
            return False
        query = _digest_query(source, key, moment, columns)
        found = await executor.fetchrow(query, first, first + timedelta(days=1), timeout=TIMEOUT_S)
        if found is None or (found["rows"], found["digest"]) != expected:
            return False
    return True


def _digest_query(source: str, key: str, moment: str, columns: Sequence[str]) -> str:
    """As the function digest_ledger in the migration."""
    row = ", ".join(f'"{name}"' for name in columns)
    return f"""
        SELECT coalesce(sum(q.rows), 0)::bigint AS rows,
            sha256(coalesce(string_agg(q.digest, '' ORDER BY q.quarter), '')) AS digest
        FROM (SELECT date_bin('15 minutes', {moment}, '2000-01-01Z') AS quarter, count(*) AS rows,
            sha256(string_agg(sha256(convert_to(ROW ({row})::text, 'UTF8')), '' ORDER BY {key})) AS digest
            FROM {source} WHERE {key} >= uuid7_floor($1) AND {key} < uuid7_floor($2) GROUP BY 1) AS q
        """


def _hash_of(closed: Any, previous: bytes) -> bytes:
    names: Sequence[str] = ("rows", "columns", "corrections", "correction_columns", *_SUMS, "sealed_us")
    numbers = [str(closed["day"]), *(closed[name] for name in names)]
    # As Postgres writes a jsonb array.
    text = json.dumps(numbers, ensure_ascii=False).encode()
    return sha256(previous + text + closed["digest"] + closed["correction_digest"]).digest()
