"""What the database sets itself in tables that are only added to, and how to read the rights on a column."""

from typing import Final

from admin_api.storage.table_rights import TABLES

# What the database sets itself, and the app's role may not give.
SET_BY_DATABASE: Final[dict[str, set[str]]] = {
    "audit_logs": {"id", "at"},
    "ledger_corrections": {"id", "made_at", "number"},
    "model_prices": {"id", "effective_at", "created_at"},
    "subscription_history": {"id", "at"},
    "response_owners": set(),
    # Its time is checked against its id, which the gateway gives it when the call begins.
    "usage_logs": set(),
}
ADDED: Final = sorted(name for name, of in TABLES.items() if of == "added")
NOT_TO_CHANGE: Final = sorted(name for name, of in TABLES.items() if of in ("added", "owner"))

COLUMNS: Final = """
SELECT attname AS name, has_column_privilege(attrelid, attname, 'INSERT') AS may_insert,
    has_column_privilege(attrelid, attname, 'UPDATE') AS may_update
FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped
"""
