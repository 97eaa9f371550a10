"""Every table with what the app's role may do to it."""

from typing import Final, Literal

# `added`: the app's role adds rows and changes none. `owner`: only functions of the owner add rows. `sums`: made of
# added rows, `ledger verify` compares them. `state`: may change; where that matters, the change has an audit row.
Class = Literal["added", "owner", "sums", "state"]

# A new table must be given a class, and a new column of an added one must be granted.
TABLES: Final[dict[str, Class]] = {
    "accounts": "state",
    "accounts_to_check": "state",
    "alerts": "state",
    "api_key_models": "state",
    "api_key_uses": "state",
    "api_keys": "state",
    "audit_chain": "owner",
    "audit_chain_head": "owner",
    "audit_erasures": "owner",
    "audit_logs": "added",
    "deliveries": "state",
    "idempotency_keys": "state",
    "identities": "state",
    "ledger_corrections": "added",
    "limit_requests": "state",
    "limits": "state",
    "model_prices": "added",
    "model_syncs": "state",
    "models": "state",
    "personal_tokens": "state",
    "provider_keys": "state",
    "redis_runs": "state",
    "refusals": "sums",
    "refused_calls": "state",
    "response_owners": "added",
    "schema_migrations": "owner",
    "session_keys": "state",
    "sessions": "state",
    "settings": "state",
    "subscription_history": "added",
    "subscriptions": "state",
    "team_invitations": "state",
    "team_join_requests": "state",
    "team_members": "state",
    "usage_account_days": "sums",
    "usage_account_months": "sums",
    "usage_account_six_hours": "sums",
    "usage_account_ten_days": "sums",
    "usage_all_days": "sums",
    "usage_all_quarter_hours": "sums",
    "usage_days": "sums",
    "usage_failed_days": "sums",
    "usage_failed_months": "sums",
    "usage_logs": "added",
    "usage_model_days": "sums",
    "usage_model_quarter_hours": "sums",
    "usage_seal_head": "owner",
    "usage_seals": "owner",
    "usage_months_dropped": "owner",
    "usage_quarter_hours": "sums",
    "users": "state",
    "webhooks": "state",
}
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
