"""Renames of models. The row that is renamed keeps its id, and so its usage, counters, prices and limits."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

_MAX_NAME: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """How many of each the new name had already, which were moved to the renamed model."""

    subscriptions: int = 0
    keys: int = 0
    limits: int = 0


# Of accounts that have one of both, the kept one stays; it becomes active only if it was not suspended.
MOVE_SUBSCRIPTIONS: Final = """
UPDATE subscriptions s SET model_id = $1, updated_at = now()
WHERE model_id = $2 AND NOT EXISTS (SELECT FROM subscriptions o WHERE o.model_id = $1 AND o.account_id = s.account_id)
"""
ADOPT_APPROVALS: Final = """
WITH adopted AS (
    UPDATE subscriptions o
    SET status = 'active', reason = NULL, cancelled_active = false, expires_at = s.expires_at, updated_at = now()
    FROM subscriptions s, subscriptions before
    WHERE before.id = o.id AND o.model_id = $1 AND s.model_id = $2 AND s.account_id = o.account_id
      AND s.status = 'active' AND (s.expires_at IS NULL OR s.expires_at > now())
      AND o.status IN ('pending', 'denied', 'cancelled', 'expired')
    RETURNING o.id, before.status AS was
), noted AS (
    INSERT INTO subscription_history (subscription_id, from_status, to_status, actor, reason)
    SELECT id, was, 'active', $3, 'approved under the new name' FROM adopted
)
SELECT count(*) FROM adopted
"""
MOVE_KEYS: Final = """
WITH moved AS (DELETE FROM api_key_models WHERE model_id = $2 RETURNING api_key_id)
INSERT INTO api_key_models (api_key_id, model_id) SELECT api_key_id, $1 FROM moved ON CONFLICT DO NOTHING
"""
# Of two of a kind the lower one holds.
LOWER_LIMITS: Final = """
UPDATE limits o SET amount = least(o.amount, n.amount), updated_at = now() FROM limits n
WHERE o.model_id = $1 AND n.model_id = $2 AND n.api_key_id = o.api_key_id AND n.kind = o.kind
  AND n.window_kind IS NOT DISTINCT FROM o.window_kind AND n.set_by = o.set_by AND n.shadow = o.shadow
  AND (n.expires_at IS NULL) = (o.expires_at IS NULL)
"""
DROP_DOUBLE_LIMITS: Final = """
DELETE FROM limits n USING limits o
WHERE o.model_id = $1 AND n.model_id = $2 AND n.api_key_id = o.api_key_id AND n.kind = o.kind
  AND n.window_kind IS NOT DISTINCT FROM o.window_kind AND n.set_by = o.set_by AND n.shadow = o.shadow
  AND (n.expires_at IS NULL) = (o.expires_at IS NULL)
"""
MOVE_LIMITS: Final = """
UPDATE limits SET model_id = $1, updated_at = now() WHERE model_id = $2
"""
TAKE_INFO: Final = """
UPDATE models o SET provider = n.provider, mode = n.mode, max_input_tokens = n.max_input_tokens,
    max_output_tokens = n.max_output_tokens, capabilities = n.capabilities, deployments = n.deployments,
    listed = n.listed
FROM models n WHERE o.id = $1 AND n.id = $2
"""
# Its usage before the rename stays under this name.
RETIRE: Final = """
UPDATE models SET name = $2, listed = false, enabled = false, hidden = true, updated_at = now() WHERE id = $1
"""
RENAME: Final = """
UPDATE models SET name = $2, former_names = array_append(array_remove(former_names, $2), name), updated_at = now()
WHERE id = $1
"""


async def absorb(executor: "Executor", kept_id: int, other_id: int, other_name: str, *, actor: str) -> Moved:
    """Gives `kept` what `other` has; `other` is left without a name that anybody calls."""
    subscriptions = _count(await executor.execute(MOVE_SUBSCRIPTIONS, kept_id, other_id))
    subscriptions += await executor.fetchval(ADOPT_APPROVALS, kept_id, other_id, actor)
    keys = _count(await executor.execute(MOVE_KEYS, kept_id, other_id))
    await executor.execute(LOWER_LIMITS, kept_id, other_id)
    await executor.execute(DROP_DOUBLE_LIMITS, kept_id, other_id)
    limits = _count(await executor.execute(MOVE_LIMITS, kept_id, other_id))
    await executor.execute(TAKE_INFO, kept_id, other_id)
    await executor.execute(RETIRE, other_id, f"{other_name[:_MAX_NAME]} (merged {other_id})")
    return Moved(subscriptions=subscriptions, keys=keys, limits=limits)


async def rename(executor: "Executor", model_id: int, name: str) -> None:
    """The name must be free."""
    await executor.execute(RENAME, model_id, name)


COUNT_HOLDINGS: Final = """
SELECT (SELECT count(*) FROM subscriptions WHERE model_id = $1) AS subscriptions,
       (SELECT count(*) FROM api_key_models WHERE model_id = $1) AS keys,
       (SELECT count(*) FROM limits l LEFT JOIN subscriptions s ON s.id = l.subscription_id
        WHERE l.model_id = $1 OR s.model_id = $1) AS limits,
       (SELECT count(*) FROM model_prices WHERE model_id = $1) AS versions
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """How many of each go by the model's name."""

    subscriptions: int
    keys: int
    limits: int
    versions: int


async def count_holdings(executor: "Executor", model_id: int) -> Holdings:
    """Of one model."""
    row = await executor.fetchrow(COUNT_HOLDINGS, model_id)
    if row is None:
        raise GatewayError("internal_error", "An aggregate always has a row.")
    return Holdings(**{field.name: row[field.name] for field in fields(Holdings)})


def _count(status: str) -> int:
    return int(status.rsplit(" ", 1)[-1])
