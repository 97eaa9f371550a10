"""The audit log: who changed what. Rows are only ever added; the database refuses anything else."""

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
    """One change. `old` and `new` hold only what changed, never a secret."""

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


INSERT: Final = """
INSERT INTO audit_logs (actor, action, target_kind, target_id, old, new, request_id, ip)
VALUES ($1, $2, $3, $4, $5::jsonb, $6::jsonb, $7, $8::text::inet)
"""


async def insert(
    executor: "Executor",
    *,
    actor: str,
    action: str,
    target_kind: str,
    target_id: str,
    old: Mapping[str, Any] | None = None,
    new: Mapping[str, Any] | None = None,
    request_id: UUID | None = None,
    ip: str | None = None,
) -> None:
    """Adds a row; call it in the transaction of the change itself. Decimals and times are written as text."""
    await executor.execute(INSERT, actor, action, target_kind, target_id, _to_json(old), _to_json(new), request_id, ip)


async def insert_many(
    executor: "Executor",
    *,
    actor: str,
    action: str,
    target_kind: str,
    changes: Sequence[tuple[str, Mapping[str, Any] | None, Mapping[str, Any] | None]],
    request_id: UUID | None = None,
    ip: str | None = None,
) -> None:
    """As `insert`, a row for each (target id, old, new) of one change."""
    rows = [
        (actor, action, target_kind, target_id, _to_json(old), _to_json(new), request_id, ip)
        for target_id, old, new in changes
    ]
    await executor.executemany(INSERT, rows)


LIST_BY_TARGET: Final = """
SELECT id, at, actor, action, target_kind, target_id, old::text, new::text, request_id, host(ip) AS ip
FROM audit_logs
WHERE ($1::text IS NULL OR target_kind = $1) AND ($2::text IS NULL OR target_id = $2)
  AND ($3::bigint IS NULL OR id < $3)
ORDER BY id DESC LIMIT $4
"""


async def list_by_target(
    executor: "Executor",
    *,
    target_kind: str | None = None,
    target_id: str | None = None,
    before_id: int | None = None,
    limit: int = 100,
) -> list[AuditRow]:
    """Newest first, `limit` rows at most, those before `before_id`."""
    rows = await executor.fetch(LIST_BY_TARGET, target_kind, target_id, before_id, limit)
    return [
        AuditRow(
            id=row["id"],
            at=row["at"],
            actor=row["actor"],
            action=row["action"],
            target_kind=row["target_kind"],
            target_id=row["target_id"],
            old=_from_json(row["old"]),
            new=_from_json(row["new"]),
            request_id=row["request_id"],
            ip=row["ip"],
        )
        for row in rows
    ]


def _to_json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(dict(value), default=str)


def _from_json(text: str | None) -> Mapping[str, Any] | None:
    return None if text is None else json.loads(text)
