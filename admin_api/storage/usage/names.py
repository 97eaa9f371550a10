"""Who and what usage is of: the accounts of a user, the models of a provider, and names beside ids."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

# Their own, and every one they ever had a key of; revoked keys stay.
LIST_ACCOUNTS_OF_USER: Final = """
SELECT id FROM accounts WHERE owner_user_id = $1
UNION SELECT account_id FROM api_keys WHERE user_id = $1 ORDER BY id
"""


async def list_accounts_of_user(executor: "Executor", user_id: int) -> list[int]:
    """Ids of the accounts that may have usage of theirs."""
    return [row["id"] for row in await executor.fetch(LIST_ACCOUNTS_OF_USER, user_id)]


LIST_MODELS_OF_PROVIDER: Final = """
SELECT id FROM models WHERE provider = $1 ORDER BY id
"""


async def list_models_of_provider(executor: "Executor", provider: str) -> list[int]:
    """Ids; none for an unknown provider."""
    return [row["id"] for row in await executor.fetch(LIST_MODELS_OF_PROVIDER, provider)]


FIND_MODELS: Final = """
SELECT m.id, m.name FROM models m
WHERE m.name = ANY($1::text[]) AND ($2::bigint[] IS NULL OR NOT m.hidden OR EXISTS (
    SELECT FROM subscriptions s WHERE s.model_id = m.id AND s.account_id = ANY($2)))
"""


async def find_models(
    executor: "Executor", names: Sequence[str], *, account_ids: Sequence[int] | None
) -> dict[str, int]:
    """Ids of those that exist; of hidden ones only those that one of these accounts has a subscription to. None: all
    that exist."""
    accounts = None if account_ids is None else list(account_ids)
    return {row["name"]: row["id"] for row in await executor.fetch(FIND_MODELS, list(names), accounts)}


LIST_PROVIDERS: Final = """
SELECT id::text AS id, provider FROM models
"""


async def list_providers(executor: "Executor") -> dict[str, str | None]:
    """Provider of every model."""
    return {row["id"]: row["provider"] for row in await executor.fetch(LIST_PROVIDERS)}


NAME_MODELS: Final = """
SELECT id::text AS id, name FROM models WHERE id = ANY($1::bigint[])
"""
NAME_ACCOUNTS: Final = """
SELECT id::text AS id, name FROM accounts WHERE id = ANY($1::bigint[])
"""
NAME_USERS: Final = """
SELECT id::text AS id, email AS name FROM users WHERE id = ANY($1::bigint[])
"""
NAME_KEYS: Final = """
SELECT id::text AS id, CASE WHEN kind = 'session' THEN name WHEN name = '' THEN '…' || last_four
    ELSE name || ' …' || last_four END AS name
FROM api_keys WHERE id = ANY($1::bigint[])
"""
_NAMES: Final = {
    "model": NAME_MODELS,
    "account": NAME_ACCOUNTS,
    "team": NAME_ACCOUNTS,
    "user": NAME_USERS,
    "key": NAME_KEYS,
}


async def name_all(executor: "Executor", kind: str, ids: Sequence[str]) -> dict[str, str]:
    """As people know them: name of a model or account, e-mail address of a user, name and end of a key."""
    if kind not in _NAMES or not ids:
        return {}
    return {row["id"]: row["name"] for row in await executor.fetch(_NAMES[kind], [int(one) for one in ids])}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyNames:
    """A key as people know it, and whose it is."""

    account_name: str
    user_email: str | None
    key_name: str
    key_last_four: str


NAME_OWNED_KEYS: Final = """
SELECT k.id, a.name AS account_name, u.email AS user_email, k.name AS key_name, k.last_four AS key_last_four
FROM api_keys k JOIN accounts a ON a.id = k.account_id LEFT JOIN users u ON u.id = k.user_id
WHERE k.id = ANY($1::bigint[])
"""


async def name_owned_keys(executor: "Executor", key_ids: Iterable[int]) -> dict[int, KeyNames]:
    """By id."""
    rows = await executor.fetch(NAME_OWNED_KEYS, sorted(set(key_ids)))
    return {row["id"]: KeyNames(**{name: row[name] for name in KeyNames.__slots__}) for row in rows}
