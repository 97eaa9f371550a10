"""What audit rows are about: names of their targets, and the account, user, key and model that a target belongs to.

Rows hold ids; names are looked up when rows are read, so that a name that was changed or erased is so everywhere.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A target: its name, and the ids of what it belongs to."""

    name: str
    account_id: int | None = None
    user_id: int | None = None
    api_key_id: int | None = None
    model_id: int | None = None


FIND_USERS: Final = """
SELECT u.id, u.email AS name, a.id AS account_id, u.id AS user_id
FROM users u JOIN accounts a ON a.owner_user_id = u.id WHERE u.id = ANY($1::bigint[])
"""
FIND_ACCOUNTS: Final = """
SELECT a.id, coalesce(u.email, a.name) AS name, a.id AS account_id, a.owner_user_id AS user_id
FROM accounts a LEFT JOIN users u ON u.id = a.owner_user_id WHERE a.id = ANY($1::bigint[])
"""
FIND_KEYS: Final = """
SELECT id, CASE kind WHEN 'session' THEN name ELSE ltrim(name || ' …' || last_four) END AS name, account_id, user_id
FROM api_keys WHERE id = ANY($1::bigint[])
"""
FIND_MODELS: Final = """
SELECT id, name, id AS model_id FROM models WHERE id = ANY($1::bigint[])
"""
FIND_SUBSCRIPTIONS: Final = """
SELECT s.id, coalesce(u.email, a.name) || ' to ' || m.name AS name, s.account_id, a.owner_user_id AS user_id, s.model_id
FROM subscriptions s JOIN accounts a ON a.id = s.account_id LEFT JOIN users u ON u.id = a.owner_user_id
    JOIN models m ON m.id = s.model_id
WHERE s.id = ANY($1::bigint[])
"""
FIND_LIMITS: Final = """
SELECT l.id, l.kind || coalesce(' per ' || l.window_kind, '') || ' at level ' || l.level AS name, l.account_id,
    coalesce(l.user_id, k.user_id) AS user_id, l.api_key_id, coalesce(l.model_id, s.model_id) AS model_id
FROM limits l LEFT JOIN api_keys k ON k.id = l.api_key_id LEFT JOIN subscriptions s ON s.id = l.subscription_id
WHERE l.id = ANY($1::bigint[])
"""
# The URL of a chat service lets anybody post: only its host is shown, as in the rows of the webhook's changes.
_WEBHOOK_NAME: Final = (
    "CASE w.format WHEN 'standard' THEN w.url ELSE substring(w.url FROM '^[a-z]+://[^/]*') || '/…' END"
)
FIND_WEBHOOKS: Final = f"""
SELECT w.id, {_WEBHOOK_NAME} AS name, w.account_id FROM webhooks w WHERE w.id = ANY($1::bigint[])
"""  # noqa: S608  text from this file
FIND_DELIVERIES: Final = f"""
SELECT d.id, d.event || ' to ' || coalesce(u.email, {_WEBHOOK_NAME}) AS name,
    coalesce(w.account_id, a.id) AS account_id, d.user_id
FROM deliveries d LEFT JOIN users u ON u.id = d.user_id LEFT JOIN accounts a ON a.owner_user_id = d.user_id
    LEFT JOIN webhooks w ON w.id = d.webhook_id
WHERE d.id = ANY($1::bigint[])
"""  # noqa: S608  text from this file
FIND_ALERTS: Final = """
SELECT id, kind || ' per ' || window_kind || ' at ' || threshold || ' %' AS name, account_id, user_id
FROM alerts WHERE id = ANY($1::bigint[])
"""
FIND_SESSIONS: Final = """
SELECT s.id, 'session of ' || u.email AS name, a.id AS account_id, s.user_id
FROM sessions s JOIN users u ON u.id = s.user_id JOIN accounts a ON a.owner_user_id = s.user_id
WHERE s.id = ANY($1::bigint[])
"""
FIND_TOKENS: Final = """
SELECT t.id, ltrim(t.name || ' …' || t.last_four) || ' of ' || u.email AS name, a.id AS account_id, t.user_id
FROM personal_tokens t JOIN users u ON u.id = t.user_id JOIN accounts a ON a.owner_user_id = t.user_id
WHERE t.id = ANY($1::bigint[])
"""
# Kinds of targets with a numeric id, and the statement that finds them. Ids of other kinds are names themselves.
TARGETS: Final = {
    "user": FIND_USERS,
    "team": FIND_ACCOUNTS,
    "account": FIND_ACCOUNTS,
    "key": FIND_KEYS,
    "model": FIND_MODELS,
    "subscription": FIND_SUBSCRIPTIONS,
    "limit": FIND_LIMITS,
    "webhook": FIND_WEBHOOKS,
    "delivery": FIND_DELIVERIES,
    "alert": FIND_ALERTS,
    "session": FIND_SESSIONS,
    "personal_token": FIND_TOKENS,
}


async def find_targets(executor: "Executor", kind: str, ids: Iterable[Any]) -> dict[str, Target]:
    """Those of the kind that are there, by id as text."""
    numbers = sorted({int(one) for one in ids if str(one).isascii() and str(one).isdigit() and len(str(one)) < 19})
    if kind not in TARGETS or not numbers:
        return {}
    found: Sequence[Any] = await executor.fetch(TARGETS[kind], numbers)
    return {str(row["id"]): Target(**{name: row[name] for name in row.keys() if name != "id"}) for row in found}  # noqa: SIM118  a Record
