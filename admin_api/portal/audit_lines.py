"""Rows of the audit log as pages show them: values before and now, written as the rest of the page is."""

import json
from dataclasses import dataclass
from typing import Any

from admin_api.operations.audit_rows import AuditEntry
from admin_api.portal.limit_texts import amount_of
from admin_api.portal.visits import Visit
from admin_api.schemas.value_texts import NANO_END, Write, in_words, is_amount
from gateway.storage.audit import AuditRow


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One change: the row, the names of what it is about and of whose it is, and a text for each field."""

    row: AuditRow
    name: str
    account: str | None
    changes: list[str]


def line_of(visit: Visit, entry: AuditEntry) -> AuditLine:
    """In the person's language and time zone; names of fields are the API's."""
    row = entry.row
    name = entry.target_name or f"{row.target_kind} {row.target_id}"
    account = entry.account_name if entry.account_name != entry.target_name else None
    return AuditLine(row=row, name=name, account=account, changes=in_words(row.old, row.new, _writer(visit)))


def _writer(visit: Visit) -> Write:
    _, formats = visit.messages.gettext, visit.formats

    def write(field: str, value: Any, kind: Any) -> str:
        if value is None or value in ("", []):
            return _("unlimited") if is_amount(field, kind) else _("none")
        if isinstance(value, bool):
            return _("yes") if value else _("no")
        if type(value) is int and is_amount(field, kind):
            return amount_of(visit, kind, value)
        if type(value) is int and field.endswith(NANO_END):
            return formats.nano_usd(value)
        if isinstance(value, list):
            return ", ".join(write("", one, None) for one in value)
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)
        return formats.times_in(text)

    return write
