"""Finds which of the causes of `gateway/domain/missing_models.py` a call had, from what is stored now."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.domain.missing_models import Cause

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

# Of the call `r`, by its account_id, api_key_id and model_asked. A name that a model has comes before one it had.
JOIN_ASKED: Final = """
LEFT JOIN LATERAL (
    SELECT id, name, former_names, hidden, enabled, listed FROM models
    WHERE name = r.model_asked OR r.model_asked = ANY(former_names) ORDER BY name = r.model_asked DESC, id DESC LIMIT 1
) AS asked ON true
"""
# NULL: by now the key may call it.
CAUSE: Final = """
nullif(CASE
    WHEN asked.id IS NULL THEN 'unknown'
    WHEN asked.name <> r.model_asked THEN 'renamed'
    WHEN NOT asked.listed THEN 'unlisted'
    WHEN NOT asked.enabled THEN 'disabled'
    ELSE coalesce(
        (SELECT CASE
            WHEN s.status <> 'active' THEN s.status
            WHEN s.expires_at <= now() THEN 'expired'
            WHEN NOT EXISTS (
                SELECT FROM api_key_models km WHERE km.api_key_id = r.api_key_id AND km.model_id = asked.id
            ) THEN 'not_on_key'
            ELSE 'none' END
         FROM subscriptions s WHERE s.account_id = r.account_id AND s.model_id = asked.id),
        CASE WHEN asked.hidden THEN 'hidden' ELSE 'not_subscribed' END)
END, 'none')
"""
FIND_CAUSE: Final = f"""
SELECT {CAUSE} AS cause, CASE WHEN asked.name <> r.model_asked THEN asked.name END AS renamed_to
FROM (VALUES ($1::bigint, $2::bigint, $3::text)) AS r (account_id, api_key_id, model_asked) {JOIN_ASKED}
"""


@dataclass(frozen=True, slots=True)
class Missing:
    """Why a key may not call a model of this name; `renamed_to` is the name of today of one that had it."""

    cause: Cause | None
    renamed_to: str | None


async def find_cause(executor: "Executor", *, account_id: int, api_key_id: int, model: str) -> Missing:
    """As of now; cause None: the key may call it."""
    row = await executor.fetchrow(FIND_CAUSE, account_id, api_key_id, model)
    if row is None:
        raise RuntimeError("a statement without a filter gave no row")
    return Missing(row["cause"], row["renamed_to"])
