"""Where names and addresses of people stand in the database, and how an anonymised user's go from there.

tests/contract/test_personal_columns.py fails for each column that can hold text and is missing here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

# Conditions on a row: $1 is the id of the user.
NEVER: Final = "$1::bigint IS NULL"
OF_USER: Final = "user_id IS NOT DISTINCT FROM $1::bigint"
OF_ACCOUNT: Final = "account_id IN (SELECT id FROM accounts WHERE owner_user_id = $1::bigint)"


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The user's addresses, and names that are no other user's, are replaced in all rows; each of their names in rows
    that also have an address of theirs, or are their `own` by this condition."""

    own: str = NEVER


@dataclass(frozen=True, slots=True)
class Erased:
    """Goes with its row, or is emptied, by this statement of ERASE, or by the database function that is named."""

    by: str


@dataclass(frozen=True, slots=True)
class Kept:
    """Holds no name or address of a person, for this reason."""

    why: str


WORD: Final = Kept("one of a list of words")
DIGEST: Final = Kept("a digest of random bytes, or of what names nobody")
MODEL: Final = Kept("the name of a model or of what it can do")
SECRET: Final = Kept("encrypted, or the end of a secret that was made at random")
OF_CLOSED_DAYS: Final = Kept("the seals of closed days cover it; it holds an id: docs/privacy.md")
COLUMNS: Final[Mapping[str, Rewritten | Erased | Kept]] = {
    "accounts.kind": WORD,
    "accounts.name": Rewritten(),
    "accounts.status": WORD,
    "accounts.status_reason": Rewritten("owner_user_id IS NOT DISTINCT FROM $1::bigint"),
    "accounts.time_zone": Kept("an IANA name"),
    "alerts.about": Rewritten(f"{OF_USER} OR {OF_ACCOUNT}"),
    "alerts.acknowledged_by": Rewritten(),
    "alerts.kind": WORD,
    "alerts.level": WORD,
    "alerts.scope": Kept("made of ids"),
    "alerts.window_kind": WORD,
    "api_keys.allowed_ips": Erased("keys"),
    "api_keys.created_by": Rewritten(OF_USER),
    "api_keys.digest": DIGEST,
    "api_keys.kind": WORD,
    "api_keys.last_four": SECRET,
    "api_keys.name": Erased("keys"),
    "api_keys.previous_digest": DIGEST,
    "api_keys.previous_last_four": SECRET,
    "audit_chain.facts": DIGEST,
    "audit_chain.hash": DIGEST,
    "audit_chain.names": Kept("a digest that cannot be compared with a guess once its salt is gone"),
    "audit_chain.salt": Erased("erase_names_of_user"),
    "audit_chain_head.hash": DIGEST,
    "audit_erasures.names": Kept("a digest of what is left of the names"),
    "audit_erasures.salt": Erased("erase_names_of_user"),
    "audit_logs.about": Kept("ids of what a row is about"),
    "audit_logs.action": WORD,
    "audit_logs.actor": Erased("erase_names_of_user"),
    "audit_logs.cause": Erased("erase_names_of_user"),
    "audit_logs.ip": Erased("erase_names_of_user"),
    "audit_logs.new": Erased("erase_names_of_user"),
    "audit_logs.old": Erased("erase_names_of_user"),
    "audit_logs.target_id": Kept("an id, or the name of a setting, a provider key or a login's way"),
    "audit_logs.target_kind": WORD,
    "deliveries.channel": WORD,
    "deliveries.event": WORD,
    "deliveries.last_answer": Rewritten(),
    "deliveries.last_error": Rewritten(),
    "deliveries.payload": Rewritten(),
    "idempotency_keys.answer": Erased("answers that name the user, once decrypted"),
    "idempotency_keys.caller": Kept("the id of a login, or a digest; deleted after a day"),
    "idempotency_keys.key": Kept("chosen by a program at random; deleted after a day"),
    "idempotency_keys.request_hash": DIGEST,
    "identities.issuer": Erased("identities"),
    "identities.reported_email": Erased("identities"),
    "identities.reported_name": Erased("identities"),
    "identities.subject": Erased("identities"),
    "ledger_corrections.client_request_id": OF_CLOSED_DAYS,
    "ledger_corrections.ending": WORD,
    "ledger_corrections.endpoint": WORD,
    "ledger_corrections.error_code": WORD,
    "ledger_corrections.estimated_why": WORD,
    "ledger_corrections.made_by": OF_CLOSED_DAYS,
    "ledger_corrections.model_asked": MODEL,
    "ledger_corrections.model_served": MODEL,
    "ledger_corrections.note": OF_CLOSED_DAYS,
    "ledger_corrections.reason": WORD,
    "limit_requests.answer": Erased("limit_requests"),
    "limit_requests.decided_by": Rewritten(),
    "limit_requests.reason": Erased("limit_requests"),
    "limit_requests.status": WORD,
    "limits.kind": WORD,
    "limits.level": WORD,
    "limits.reason": Rewritten(f"{OF_USER} OR {OF_ACCOUNT}"),
    "limits.reserve": WORD,
    "limits.set_by": WORD,
    "limits.window_kind": WORD,
    "model_prices.charge": WORD,
    "model_prices.source": WORD,
    "model_prices.tiers": Kept("prices"),
    "model_prices.unusable": Kept("names of LiteLLM's fields"),
    "model_syncs.actor": Rewritten(),
    "model_syncs.problem": Rewritten(),
    "model_syncs.report": MODEL,
    "models.capabilities": MODEL,
    "models.description": Rewritten(),
    "models.former_names": MODEL,
    "models.mode": MODEL,
    "models.name": MODEL,
    "models.provider": MODEL,
    "personal_tokens.created_by": Rewritten(OF_USER),
    "personal_tokens.digest": DIGEST,
    "personal_tokens.last_four": SECRET,
    "personal_tokens.name": Erased("tokens"),
    "personal_tokens.role": WORD,
    "provider_keys.created_by": Rewritten(),
    "provider_keys.last_four": SECRET,
    "provider_keys.name": Kept("the name of an environment variable"),
    "provider_keys.provider": MODEL,
    "provider_keys.sealed": SECRET,
    "provider_keys.updated_by": Rewritten(),
    "redis_runs.run_id": DIGEST,
    "refusal_hours.code": WORD,
    "refusals.code": WORD,
    "refused_calls.client_request_id": Erased("refused_calls"),
    "refused_calls.code": WORD,
    "refused_calls.details": Rewritten(OF_USER),
    "refused_calls.endpoint": WORD,
    "refused_calls.message": Rewritten(OF_USER),
    "refused_calls.missing_cause": WORD,
    "refused_calls.model_asked": Erased("refused_calls"),
    "refused_calls.param": WORD,
    "schema_migrations.name": Kept("of a file"),
    "schema_migrations.sha256": DIGEST,
    "session_keys.digest": DIGEST,
    "sessions.digest": Erased("sessions"),
    "sessions.ip": Erased("sessions"),
    "sessions.provider": Erased("sessions"),
    "sessions.user_agent": Erased("sessions"),
    "settings.name": WORD,
    "settings.value": Rewritten(),
    "subscription_history.actor": Erased("erase_names_of_user"),
    "subscription_history.from_status": WORD,
    "subscription_history.reason": Erased("erase_names_of_user"),
    "subscription_history.to_status": WORD,
    "subscriptions.reason": Rewritten(OF_ACCOUNT),
    "subscriptions.status": WORD,
    "team_invitations.role": WORD,
    "team_join_requests.reason": Erased("join_requests"),
    "team_members.role": WORD,
    "usage_days.ending": WORD,
    "usage_days.error_class": WORD,
    "usage_failed_days.ending": WORD,
    "usage_failed_days.error_class": WORD,
    "usage_failed_months.ending": WORD,
    "usage_failed_months.error_class": WORD,
    "usage_logs.client_request_id": OF_CLOSED_DAYS,
    "usage_logs.ending": WORD,
    "usage_logs.endpoint": WORD,
    "usage_logs.error_code": WORD,
    "usage_logs.estimated_why": WORD,
    "usage_logs.model_asked": MODEL,
    "usage_logs.model_served": MODEL,
    "usage_model_days.ending": WORD,
    "usage_model_days.error_class": WORD,
    "usage_model_quarter_hours.ending": WORD,
    "usage_model_quarter_hours.error_class": WORD,
    "usage_quarter_hours.ending": WORD,
    "usage_quarter_hours.error_class": WORD,
    "usage_seal_head.hash": DIGEST,
    "usage_seals.columns": WORD,
    "usage_seals.correction_columns": WORD,
    "usage_seals.correction_digest": DIGEST,
    "usage_seals.digest": DIGEST,
    "usage_seals.hash": DIGEST,
    "users.assigned_role": WORD,
    "users.email": Erased("user"),
    "users.group_role": WORD,
    "users.known_as": Erased("user"),
    "users.locale": Erased("user"),
    "users.muted_emails": WORD,
    "users.name": Erased("user"),
    "users.role": WORD,
    "users.status": WORD,
    "users.status_reason": Erased("user"),
    "webhooks.created_by": Rewritten(),
    "webhooks.events": WORD,
    "webhooks.format": WORD,
    "webhooks.secret": SECRET,
    "webhooks.url": Kept("where a program listens; an admin enters it, and changes it by hand: docs/privacy.md"),
}
# Columns of JSON: the names are searched as JSON writes them.
JSON_COLUMNS: Final = frozenset({"alerts.about", "deliveries.payload", "refused_calls.details", "settings.value"})
