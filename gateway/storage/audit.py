"""The audit log: who changed what. Rows are only ever added; the database refuses anything else, and chains them by
hashes (admin_api/storage/audit_chain.py)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One change. `old` and `new` hold only what changed, never a secret. `account_id` is the account it concerns;
    `cause` is the reason that was stated, or else the command or route it was part of. Rows of 0.2.0 have neither."""

    id: int
    at: datetime
    actor: str
    action: str
    target_kind: str
    target_id: str
    old: Mapping[str, Any] | None
    new: Mapping[str, Any] | None
    request_id: UUID | None
    ip: str | None
    account_id: int | None
    cause: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAuditRow:
    """A row to write. `about` lists all it concerns, as `kind:id`: the target, whose it is, and whom or what its values
    name."""

    actor: str
    action: str
    target_kind: str
    target_id: str
    old: Mapping[str, Any] | None = None
    new: Mapping[str, Any] | None = None
    request_id: UUID | None = None
    ip: str | None = None
    actor_user_id: int | None = None
    account_id: int | None = None
    about: Sequence[str]
    cause: str


INSERT: Final = """
INSERT INTO audit_logs (actor, action, target_kind, target_id, old, new, request_id, ip, actor_user_id, account_id,
    about, cause)
VALUES ($1, $2, $3, $4, $5::jsonb, $6::jsonb, $7, $8::text::inet, $9, $10, $11, $12)
"""


async def insert(executor: "Executor", rows: Sequence[NewAuditRow]) -> None:
    """Adds rows; call it in the transaction of the change itself. Decimals and times are written as text."""
    values = [
        (
            row.actor,
            row.action,
            row.target_kind,
            row.target_id,
            _to_json(row.old),
            _to_json(row.new),
            row.request_id,
            row.ip,
            row.actor_user_id,
            row.account_id,
            list(row.about),
            row.cause,
        )
        for row in rows
    ]
    await executor.executemany(INSERT, values)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """What to show; all that is set must hold. `since` is included, `until` not. `about` is `kind:id`."""

    about: str | None = None
    actor: str | None = None
    action: str | None = None
    target_kind: str | None = None
    target_id: str | None = None
    request_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None


LIST_AUDIT: Final = """
SELECT id, at, actor, action, target_kind, target_id, old::text, new::text, request_id, host(ip) AS ip, account_id,
    cause
FROM audit_logs
WHERE ($1::bigint IS NULL OR (at, id) < (SELECT c.at, c.id FROM audit_logs c WHERE c.id = $1))
  AND ($3::text IS NULL OR about @> ARRAY[$3]
       OR (target_kind = split_part($3, ':', 1) AND target_id = substr($3, strpos($3, ':') + 1)))
  AND ($4::text IS NULL OR actor = $4) AND ($5::text IS NULL OR action = $5)
  AND ($6::text IS NULL OR target_kind = $6) AND ($7::text IS NULL OR target_id = $7)
  AND ($8::uuid IS NULL OR request_id = $8) AND ($9::timestamptz IS NULL OR at >= $9)
  AND ($10::timestamptz IS NULL OR at < $10)
ORDER BY at DESC, id DESC LIMIT $2
"""


async def list_audit(executor: "Executor", *, before_id: int | None, limit: int, only: AuditFilter) -> list[AuditRow]:
    """Newest first, `limit` rows at most, those before the row `before_id`; none if that row is not there any more, for
    older ones went with it."""
    values = (getattr(only, name) for name in AuditFilter.__slots__)
    rows = await executor.fetch(LIST_AUDIT, before_id, limit, *values)
    return [AuditRow(**(dict(row) | {"old": _from_json(row["old"]), "new": _from_json(row["new"])})) for row in rows]


PRUNE: Final = """
SELECT prune_audit_logs($1, $2)
"""


async def prune(executor: "Executor", before: datetime, by: str) -> int:
    """As the database's owner only. Deletes what is older than `before`; how many rows."""
    pruned: int = await executor.fetchval(PRUNE, before, by)
    return pruned


def _to_json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(dict(value), default=str)


def _from_json(text: str | None) -> Mapping[str, Any] | None:
    return None if text is None else json.loads(text)
