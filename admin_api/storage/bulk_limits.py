"""Everything that one limit could be set on at once, with the limit of that kind it has now."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from gateway.domain.limits import Kind, Level, ReserveMode
from gateway.domain.windows import WindowKind

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkTarget:
    """One target and, if it has them, its permanent limit set by an admin and the one that replaces it until
    `boost_expires_at`; `label` is what people know it by."""

    account_id: int
    api_key_id: int | None
    subscription_id: int | None
    user_id: int | None
    label: str
    limit_id: int | None
    amount: int | None
    burst: Decimal | None
    reserve: ReserveMode | None
    reason: str | None
    boost_id: int | None
    boost_amount: int | None
    boost_expires_at: datetime | None


# All filters that are given must fit. Ended keys and subscriptions are no targets.
LIST_TARGETS: Final = """
WITH targets AS (
    SELECT a.id AS account_id, NULL::bigint AS api_key_id, NULL::bigint AS subscription_id, u.id AS user_id,
           u.email AS label
    FROM users u JOIN accounts a ON a.owner_user_id = u.id
    WHERE $1 = 'user' AND $5::bigint IS NULL AND u.status = 'active' AND ($4::bigint[] IS NULL OR u.id = ANY($4))
    UNION ALL
    SELECT t.account_id, NULL, NULL, u.id, u.email || ' in team ' || a.name
    FROM team_members t JOIN users u ON u.id = t.user_id JOIN accounts a ON a.id = t.account_id
    WHERE $1 = 'user' AND t.account_id = $5 AND u.status = 'active' AND ($4::bigint[] IS NULL OR u.id = ANY($4))
    UNION ALL
    SELECT a.id, NULL, NULL, NULL, a.name FROM accounts a
    WHERE $1 = 'team' AND a.kind = 'team' AND ($5::bigint IS NULL OR a.id = $5)
    UNION ALL
    SELECT s.account_id, NULL, s.id, NULL, a.name || ' ' || m.name
    FROM subscriptions s JOIN accounts a ON a.id = s.account_id JOIN models m ON m.id = s.model_id
    WHERE $1 = 'subscription' AND s.status IN ('active', 'pending', 'suspended')
      AND ($5::bigint IS NULL OR s.account_id = $5) AND ($4::bigint[] IS NULL OR a.owner_user_id = ANY($4))
      AND ($6::bigint IS NULL OR s.model_id = $6)
    UNION ALL
    SELECT k.account_id, k.id, NULL, NULL, a.name || ' ' || k.name
    FROM api_keys k JOIN accounts a ON a.id = k.account_id
    WHERE $1 = 'key' AND k.revoked_at IS NULL AND k.archived_at IS NULL
      AND (k.expires_at IS NULL OR k.expires_at > now())
      AND ($5::bigint IS NULL OR k.account_id = $5) AND ($4::bigint[] IS NULL OR k.user_id = ANY($4))
      AND ($6::bigint IS NULL OR EXISTS (SELECT FROM api_key_models km WHERE km.api_key_id = k.id AND km.model_id = $6))
)
SELECT t.account_id, t.api_key_id, t.subscription_id, t.user_id, t.label, l.id AS limit_id, l.amount, l.burst,
       l.reserve, l.reason, b.id AS boost_id, b.amount AS boost_amount, b.expires_at AS boost_expires_at
FROM targets t LEFT JOIN limits l ON l.account_id = t.account_id AND l.level = $1 AND l.kind = $2
    AND coalesce(l.window_kind, '') = coalesce($3::text, '') AND coalesce(l.api_key_id, 0) = coalesce(t.api_key_id, 0)
    AND coalesce(l.subscription_id, 0) = coalesce(t.subscription_id, 0)
    AND coalesce(l.user_id, 0) = coalesce(t.user_id, 0) AND l.set_by = 'admin' AND NOT l.shadow
    AND l.expires_at IS NULL
LEFT JOIN limits b ON b.account_id = t.account_id AND b.level = $1 AND b.kind = $2
    AND coalesce(b.window_kind, '') = coalesce($3::text, '') AND coalesce(b.api_key_id, 0) = coalesce(t.api_key_id, 0)
    AND coalesce(b.subscription_id, 0) = coalesce(t.subscription_id, 0)
    AND coalesce(b.user_id, 0) = coalesce(t.user_id, 0) AND b.set_by = 'admin' AND NOT b.shadow
    AND b.expires_at > now()
ORDER BY t.account_id, t.api_key_id, t.subscription_id, t.user_id LIMIT $7
"""


async def list_targets(
    executor: "Executor",
    *,
    level: Level,
    kind: Kind,
    window: WindowKind | None,
    user_ids: Sequence[int] | None,
    team_id: int | None,
    model_id: int | None,
    limit: int,
) -> list[BulkTarget]:
    """Always in the same order, so that two results can be compared."""
    users = None if user_ids is None else list(user_ids)
    rows = await executor.fetch(LIST_TARGETS, level, kind, window, users, team_id, model_id, limit)
    return [BulkTarget(**row) for row in rows]
