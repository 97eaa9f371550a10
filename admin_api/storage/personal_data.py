"""Where names and addresses of people stand in the database, and how an anonymised user's go from there.

tests/contract/test_personal_columns.py fails for each column that can hold text and is missing here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

# Conditions on a row: $1 is the id of the user.
NEVER: Final = "$1::bigint IS NULL"
OF_USER: Final = "user_id IS NOT DISTINCT FROM $1::bigint"
OF_ACCOUNT: Final = "account_id IN (SELECT id FROM accounts WHERE owner_user_id = $1::bigint)"
# All rows of the largest table are read, in each of these statements.
TIMEOUT_S: Final = 600.0


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
    "refusals.code": WORD,
    "refused_calls.client_request_id": Erased("refused_calls"),
    "refused_calls.code": WORD,
    "refused_calls.details": Rewritten(OF_USER),
    "refused_calls.endpoint": WORD,
    "refused_calls.message": Rewritten(OF_USER),
    "refused_calls.model_asked": Erased("refused_calls"),
    "refused_calls.param": WORD,
    "schema_migrations.name": Kept("of a file"),
    "schema_migrations.sha256": DIGEST,
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


def rewriting(column: str, rule: Rewritten) -> str:
    """The statement: $1 the user's id, $2 and $3 the patterns, $4 what stands instead, $5 what is likely a name."""
    table, name = column.split(".")
    text, cast = (f"{name}::text", "::jsonb") if column in JSON_COLUMNS else (name, "")
    new = f"without_names({text}, $2, $3, {rule.own}, $4){cast}"
    found = f"({rule.own} OR names_someone({text}, $5, $2)) AND {name} <> {new}"
    return f"UPDATE {table} SET {name} = {new} WHERE {found}"  # noqa: S608  names of COLUMNS


REWRITE: Final = {column: rewriting(column, rule) for column, rule in COLUMNS.items() if isinstance(rule, Rewritten)}

# What is deleted or emptied: $1 is the user's id, $2 who does it.
ERASE: Final = {
    "sessions": "DELETE FROM sessions WHERE user_id = $1",
    "identities": "DELETE FROM identities WHERE user_id = $1",
    "messages": "DELETE FROM deliveries WHERE user_id = $1",
    "refused_calls": "DELETE FROM refused_calls WHERE user_id = $1",
    "invitations": "DELETE FROM team_invitations WHERE user_id = $1 OR invited_by = $1",
    "teams": "DELETE FROM team_members WHERE user_id = $1",
    "tokens": "UPDATE personal_tokens SET name = '', revoked_at = coalesce(revoked_at, now()) WHERE user_id = $1",
    "keys": """
        UPDATE api_keys SET name = '', allowed_ips = '{}', revoked_at = coalesce(revoked_at, now()), updated_at = now()
        WHERE user_id = $1
    """,
    "subscriptions": """
        WITH open AS (
            SELECT s.id, s.status FROM subscriptions s JOIN accounts a ON a.id = s.account_id
            WHERE a.owner_user_id = $1 AND s.status IN ('pending', 'active', 'denied', 'suspended') FOR UPDATE OF s
        ), ended AS (
            UPDATE subscriptions s SET status = 'cancelled', reason = NULL, cancelled_active = false, updated_at = now()
            FROM open WHERE s.id = open.id
        )
        INSERT INTO subscription_history (subscription_id, from_status, to_status, actor)
        SELECT id, status, 'cancelled', $2 FROM open
    """,
    "user": """
        WITH erased AS (
            UPDATE users SET email = anonymised_name(id), name = '', known_as = '{}', locale = NULL, role = 'user',
                assigned_role = 'user', group_role = NULL, status = 'deactivated', status_reason = NULL,
                anonymised_at = now(), updated_at = clock_timestamp()
            WHERE id = $1 RETURNING id, email
        )
        UPDATE accounts a SET name = erased.email FROM erased WHERE a.owner_user_id = erased.id
    """,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Patterns:
    """Regular expressions of Postgres that find the user's names, in text and in JSON (0047 says what is `sure`);
    `names` are those that are sure."""

    sure: str
    every: str
    sure_json: str
    every_json: str
    likes: list[str]
    instead: str
    names: tuple[str, ...]


FIND_PATTERNS: Final = """
SELECT p.sure, p.every, p.sure_json, p.every_json, p.likes, anonymised_name($1) AS instead,
    ARRAY(SELECT n.name FROM names_of_user($1) AS n WHERE n.sure) AS names
FROM name_patterns($1) AS p
"""


async def find_patterns(executor: "Executor", user_id: int) -> Patterns:
    """Of a user who is not anonymised yet."""
    row: Any = await executor.fetchrow(FIND_PATTERNS, user_id)
    return Patterns(**{**row, "names": tuple(row["names"])})


async def rewrite(executor: "Executor", user_id: int, patterns: Patterns) -> int:
    """Replaces the user's names in all columns of the kind; how many values."""
    count = 0
    p = patterns
    for column, statement in REWRITE.items():
        sure, every = (p.sure_json, p.every_json) if column in JSON_COLUMNS else (p.sure, p.every)
        done = await executor.execute(statement, user_id, sure, every, p.instead, p.likes, timeout=TIMEOUT_S)
        count += _count(done)
    return count


async def erase(executor: "Executor", user_id: int, *, by: str) -> dict[str, int]:
    """Deletes and empties what is the user's; how many rows of each."""
    counts = {}
    for what, statement in ERASE.items():
        values = (user_id, by) if "$2" in statement else (user_id,)
        counts[what] = _count(await executor.execute(statement, *values, timeout=TIMEOUT_S))
    return counts


ERASE_ADDED: Final = """
SELECT rows, encode(digest, 'hex') AS digest FROM erase_names_of_user($1)
"""


async def erase_added(executor: "Executor", user_id: int) -> tuple[int, str]:
    """Takes the user's names out of audit rows and the history of subscriptions. Returns the number of audit rows, and
    the digest over what is left of them, for the audit row of the act."""
    row: Any = await executor.fetchrow(ERASE_ADDED, user_id, timeout=TIMEOUT_S)
    return row["rows"], row["digest"]


LAST_ANONYMISED: Final = """
SELECT max(anonymised_at) FROM users
"""


async def last_anonymised(executor: "Executor") -> Any:
    """When a user was last anonymised; None: never."""
    return await executor.fetchval(LAST_ANONYMISED)


def _count(tag: str) -> int:
    """Of `UPDATE 3`."""
    return int(tag.rsplit(" ", 1)[1])
