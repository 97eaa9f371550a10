"""The hash chain over the audit log, computed again from the rows: any change by the database's owner shows.

migrations/0054_pre_chain_many_audit_rows.sql adds an entry at each commit, by the same formulas:
- facts: SHA-256 of what a row says about ids and times; names: SHA-256 of a salt and what may name people (what the
  migration added is hashed only where a row has it);
- hash: SHA-256 of the previous entry's hash, the entry's numbers and times, and both.
"""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

# A part is read and hashed in two to four milliseconds, in which the program does nothing else: a list that is asked
# for meanwhile waits as long at each of its statements, and a million rows are half a minute.
ENTRIES_A_PART: Final = 100
MAX_FINDINGS: Final = 1000
HOUR_US: Final = 3_600_000_000
# What is wrong with an entry of the chain, or with a row:
# - changed: the row says something else than when it was chained; missing: it was deleted, and not by a prune;
# - names_erased: its names can no longer be checked, although it was not pruned, nor was its user anonymised as the
#   audit row of that says (migrations/0047_pre_anonymise_users.sql);
# - back_dated: its time is not that of the transaction that chained it;
# - broken: the entry does not follow from the one before: entries were changed, deleted, added or put in another order;
# - unchained: the row has no entry; cut_off: the last entries are gone; anchor: the chain is not the one noted before.
Fault = Literal["changed", "missing", "names_erased", "back_dated", "broken", "unchained", "cut_off", "anchor"]


class Anchor(NamedTuple):
    """An entry as it was noted elsewhere: out of the reach of the database's owner."""

    position: int
    hash: bytes

    def __str__(self) -> str:
        return f"{self.position}:{self.hash.hex()}"


class AuditFinding(NamedTuple):
    """`position` is that of the entry, `audit_id` that of the row; None where there is none."""

    fault: Fault
    position: int | None
    audit_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditCheck:
    """`rows` were checked, `pruned` are entries whose rows were pruned. At most MAX_FINDINGS are listed. `head` is the
    last entry, to be noted elsewhere."""

    rows: int
    pruned: int
    findings: tuple[AuditFinding, ...]
    head: Anchor


READ_CHAIN: Final = """
SELECT c.position, c.audit_id, c.facts, c.names, c.salt, c.hash, a.id,
    (extract(epoch FROM c.at) * 1000000)::bigint AS at_us,
    (extract(epoch FROM c.chained_at) * 1000000)::bigint AS chained_us,
    (extract(epoch FROM a.at) * 1000000)::bigint AS row_us,
    a.actor, a.actor_user_id, a.action, a.target_kind, a.target_id, a.old::text AS old, a.new::text AS new,
    a.request_id::text AS request_id, host(a.ip) AS ip, a.account_id, a.about, a.cause,
    e.user_id AS erased_user_id, e.salt AS erased_salt, e.names AS erased_names
FROM audit_chain c LEFT JOIN audit_logs a ON a.id = c.audit_id
LEFT JOIN LATERAL (
    SELECT user_id, salt, names FROM audit_erasures WHERE audit_id = c.audit_id ORDER BY number DESC LIMIT 1
) AS e ON true
WHERE c.position > $1 ORDER BY c.position LIMIT $2
"""

# Users in whose anonymisation no row was added, changed or deleted since: its audit row has the hash over all of them.
FIND_ERASED: Final = """
SELECT e.user_id
FROM (
    SELECT user_id, sha256(string_agg(int8send(audit_id) || names, '' ORDER BY audit_id)) AS digest
    FROM audit_erasures GROUP BY user_id
) AS e
WHERE EXISTS (
    SELECT FROM audit_logs a WHERE a.action = 'user.anonymise' AND a.target_kind = 'user'
    AND a.target_id = e.user_id::text AND a.new ->> 'digest' = encode(e.digest, 'hex'))
"""

READ_HEAD: Final = """
SELECT position, hash FROM audit_chain_head
"""

FIND_UNCHAINED: Final = """
SELECT a.id FROM audit_logs a WHERE NOT EXISTS (SELECT FROM audit_chain c WHERE c.audit_id = a.id)
ORDER BY a.id LIMIT $1
"""

# A prune that was not chained, or was changed, is a finding of its own.
PRUNED_BEFORE: Final = """
SELECT (extract(epoch FROM max((new->>'before')::timestamptz)) * 1000000)::bigint FROM audit_logs
WHERE action = 'audit.prune'
"""


async def check_chain(executor: "Executor", anchor: Anchor | None) -> AuditCheck:
    """Every entry and every row. In one transaction of level repeatable read, so that all is of one state."""
    head = await executor.fetchrow(READ_HEAD)
    pruned_before = await executor.fetchval(PRUNED_BEFORE) or 0
    findings: list[AuditFinding] = []
    rows = pruned = 0
    erased_users = {row["user_id"] for row in await executor.fetch(FIND_ERASED)}
    last = Anchor(0, b"")
    is_anchored = anchor is None or anchor == last
    async for entry in _read_entries(executor):
        is_pruned = entry["id"] is None and entry["at_us"] < pruned_before
        rows, pruned = rows + (entry["id"] is not None), pruned + is_pruned
        faults = [] if is_pruned else _faults_of_row(entry, erased_users)
        if entry["hash"] != _hash_of(entry, last.hash):
            faults.append("broken")
        last = Anchor(entry["position"], entry["hash"])
        is_anchored = is_anchored or anchor == last
        findings += [AuditFinding(fault, last.position, entry["audit_id"]) for fault in faults]
    if head is None or last != Anchor(head["position"], head["hash"]):
        findings.append(AuditFinding("cut_off", last.position, None))
    if not is_anchored and anchor is not None:
        findings.append(AuditFinding("anchor", anchor.position, None))
    unchained = await executor.fetch(FIND_UNCHAINED, MAX_FINDINGS)
    findings += [AuditFinding("unchained", None, row["id"]) for row in unchained]
    return AuditCheck(rows=rows, pruned=pruned, findings=tuple(findings[:MAX_FINDINGS]), head=last)


async def _read_entries(executor: "Executor") -> AsyncIterator[Any]:
    after = -1
    while entries := await executor.fetch(READ_CHAIN, after, ENTRIES_A_PART):
        for entry in entries:
            yield entry
        after = entries[-1]["position"]


def _faults_of_row(entry: Any, erased_users: set[int]) -> list[Fault]:
    """The audit row of an entry that was not pruned."""
    if entry["id"] is None:
        return ["missing"]
    faults: list[Fault] = []
    about: tuple[str, ...] = ("row_us", "action", "target_kind", "target_id", "actor_user_id", "request_id")
    # Rows of before the columns were hashed without them.
    has_more = any(entry[name] is not None for name in ("account_id", "about", "cause"))
    about += ("account_id", "about") if has_more else ()
    facts = sha256(_as_json([entry["id"], *(entry[name] for name in about)])).digest()
    salt, hashed = entry["salt"], entry["names"]
    if salt is None and entry["erased_user_id"] in erased_users:
        salt, hashed = entry["erased_salt"], entry["erased_names"]
    if salt is None:
        faults.append("names_erased")
    names = _as_json([entry[name] for name in ("actor", "old", "new", "ip", *(["cause"] if has_more else []))])
    if facts != entry["facts"] or (salt and sha256(salt + names).digest() != hashed):
        faults.append("changed")
    if not 0 <= entry["chained_us"] - entry["at_us"] <= HOUR_US:
        faults.append("back_dated")
    return faults


def _hash_of(entry: Any, previous: bytes) -> bytes:
    numbers = [entry[name] for name in ("position", "audit_id", "at_us", "chained_us")]
    return sha256(previous + _as_json(numbers) + entry["facts"] + entry["names"]).digest()


def _as_json(values: Sequence[Any]) -> bytes:
    """As Postgres writes a jsonb array."""
    return json.dumps(values, ensure_ascii=False).encode()
