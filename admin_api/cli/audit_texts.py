"""Audit rows as text: names, with ids only where commands take nothing else."""

from collections.abc import Mapping
from datetime import tzinfo
from typing import TYPE_CHECKING, Any, Final

from admin_api.cli.cells import printable, time_text, times_as_text, wrap
from admin_api.cli.tables import INDENT, line_width
from admin_api.operations.audit_rows import MENTIONS
from admin_api.schemas.value_texts import in_words

if TYPE_CHECKING:
    from admin_api.operations.audit_rows import AuditEntry

# Kinds of targets that commands take by name, or by the end that a key's name has.
NAMED: Final = ("user", "team", "account", "model", "key", "provider_key")
# Fields that the name of such a target has, and values that most of them have.
IN_NAME: Final = {"limit": ("kind", "window", "level")}
USUAL: Final = {"burst": "1.000", "reserve": "expected", "set_by": "admin", "shadow": False}


def entry_text(entry: "AuditEntry", zone: tzinfo) -> str:
    """When, who and what in the first line; then the values, the account and the cause, indented."""
    row = entry.row
    at = time_text(row.at, zone, seconds=True)
    lines = [f"{at}  {row.actor}  {row.action}  {row.target_kind} {_target_of(entry)}"]
    if entry.account_name and entry.account_name != entry.target_name:
        lines.append(f"{INDENT}account: {entry.account_name}")
    lines += [INDENT + times_as_text(change, zone) for change in _changes_of(entry)]
    if row.cause:
        lines.append(f"{INDENT}cause: {row.cause}")
    return "\n".join(part for line in lines for part in _wrapped(line))


def _target_of(entry: "AuditEntry") -> str:
    row, name = entry.row, entry.target_name
    if not name:
        return row.target_id
    return name if row.target_kind in NAMED else f"{row.target_id} ({name})"


def _changes_of(entry: "AuditEntry") -> list[str]:
    """The changed values with names. Of what was made or deleted, those that are neither empty, nor as usual, nor in
    the first line."""
    old, new = (_named(entry, values) for values in (entry.row.old, entry.row.new))
    if old is not None and new is not None:
        return in_words(old, new)
    unsaid: tuple[Any, ...] = (None, "", [], entry.row.cause)
    old, new = (
        side and {field: value for field, value in side.items() if value not in (*unsaid, USUAL.get(field))}
        for side in (old, new)
    )
    in_name = IN_NAME.get(entry.row.target_kind, ())
    return [text for text in in_words(old, new) if text.partition(": ")[0] not in in_name]


def _named(entry: "AuditEntry", values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if values is None:
        return None
    named = {}
    for field, value in values.items():
        kind = MENTIONS.get(field)
        if field == "account_id" and value == entry.row.account_id:
            # The line of the account says it.
            continue
        if kind is None or value is None:
            named[field] = value
        elif isinstance(value, list):
            named[field] = [entry.mentioned.get((kind, str(one)), one) for one in value]
        else:
            name = entry.mentioned.get((kind, str(value)))
            named[field if name is None else field.removesuffix("_id")] = value if name is None else name
    return named


def _wrapped(line: str) -> list[str]:
    """With a deeper indentation from the second line on."""
    indent = line[: len(line) - len(line.lstrip(" "))]
    first, *rest = wrap(printable(line.strip(" ")), line_width() - 2 * len(INDENT))
    return [indent + first.rstrip(), *(2 * INDENT + one.rstrip() for one in rest)]
