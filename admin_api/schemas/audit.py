"""JSON of audit rows, and their CSV and JSON files."""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

from admin_api.operations.audit_rows import AuditEntry
from admin_api.operations.csv_formats import PLAIN, CSVFormat
from admin_api.schemas.csv_cells import header, lines
from admin_api.schemas.shapes import View
from admin_api.schemas.value_texts import in_words
from admin_api.storage.audit_chain import AuditCheck

FileFormat = Literal["csv", "json"]


class AuditView(View):
    """One change: who changed what, from which address; `old` and `new` hold the changed values, never a secret, and
    `changes` says them in words. `target_name` and `account_name` are the names of today. `cause` is the reason that
    was stated, or else the route, command or task that the change was part of."""

    id: int
    at: datetime
    actor: str
    action: str
    target_kind: str
    target_id: str
    target_name: str | None
    account_id: int | None
    account_name: str | None
    cause: str | None
    changes: list[str]
    old: dict[str, Any] | None
    new: dict[str, Any] | None
    request_id: UUID | None
    ip: str | None

    @classmethod
    def of(cls, entry: AuditEntry) -> Self:
        names = {"target_name": entry.target_name, "account_name": entry.account_name}
        return cls(**asdict(entry.row), **names, changes=in_words(entry.row.old, entry.row.new))


class AuditFindingView(View):
    """One fault of the hash chain: the entry's position and the row's id, null where there is none."""

    fault: str
    position: int | None
    audit_id: int | None


class AuditCheckView(View):
    """The result of a check of the hash chain. `head` is POSITION:HASH of its last entry, to be noted elsewhere."""

    intact: bool
    rows: int
    pruned: int
    head: str
    findings: list[AuditFindingView]

    @classmethod
    def of(cls, check: AuditCheck) -> Self:
        return cls(
            intact=not check.findings,
            rows=check.rows,
            pruned=check.pruned,
            head=str(check.head),
            findings=[AuditFindingView.model_validate(finding) for finding in check.findings],
        )


async def as_csv(parts: AsyncIterator[Sequence[AuditEntry]], file_format: CSVFormat = PLAIN) -> AsyncIterator[bytes]:
    """CSV with a header line; no cell is a formula."""
    yield header(list(AuditView.model_fields), file_format)
    async for rows in parts:
        yield lines(([_text(value) for value in _plain(row).values()] for row in rows), file_format)


async def as_json(parts: AsyncIterator[Sequence[AuditEntry]]) -> AsyncIterator[bytes]:
    """One JSON array, with one object per line."""
    between = "[\n"
    async for rows in parts:
        if rows:
            yield (between + ",\n".join(json.dumps(_plain(row), ensure_ascii=False) for row in rows)).encode()
            between = ",\n"
    yield b"[]\n" if between == "[\n" else b"\n]\n"


def _plain(entry: AuditEntry) -> dict[str, Any]:
    return AuditView.of(entry).model_dump(mode="json")


def _text(value: Any) -> Any:
    if isinstance(value, list):
        return "; ".join(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
