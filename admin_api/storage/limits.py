"""The limits table: one row for every limit at every level."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from admin_api.storage.accounts import AccountKind
from gateway.domain.limits import Kind, Level, ReserveMode, SetBy
from gateway.domain.windows import WindowKind
from gateway.storage.counters.epochs import SHARED_EPOCH

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a limit is attached to; which ids are set follows from the level."""

    account_id: int
    level: Level
    api_key_id: int | None = None
    model_id: int | None = None
    subscription_id: int | None = None
    user_id: int | None = None


def _values(target: Target) -> tuple[object, ...]:
    """In the order of the statements' parameters from $1 on."""
    ids = (target.api_key_id, target.model_id, target.subscription_id, target.user_id)
    return (target.account_id, target.level, *ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRow:
    """One limit, with the names people know its target by: the key's, the model's of a key × model or subscription, the
    user's whose it is or whose key it is on. `amount` is a count, for kind cost whole nano-USD."""

    id: int
    account_id: int
    account_name: str
    account_kind: AccountKind
    level: Level
    api_key_id: int | None
    key_name: str | None
    key_last_four: str | None
    model_id: int | None
    model_name: str | None
    subscription_id: int | None
    user_id: int | None
    user_email: str | None
    kind: Kind
    window: WindowKind | None
    amount: int
    burst: Decimal
    reserve: ReserveMode
    shadow: bool
    set_by: SetBy
    expires_at: datetime | None
    reason: str | None
    created_at: datetime
    updated_at: datetime

    @property
    def team(self) -> str | None:
        """The team in which a user's limit holds; None: their personal account, or another level."""
        return self.account_name if self.level == "user" and self.account_kind == "team" else None


# The conflict target repeats the unique index limits_one_of_a_kind word for word.
UPSERT_LIMIT: Final = """
INSERT INTO limits (account_id, level, api_key_id, model_id, subscription_id, user_id, kind, window_kind, amount, burst,
                    reserve, shadow, set_by, expires_at, reason)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
ON CONFLICT (account_id, level, coalesce(api_key_id, 0), coalesce(model_id, 0), coalesce(subscription_id, 0),
             coalesce(user_id, 0), kind, coalesce(window_kind, ''), set_by, shadow, (expires_at IS NULL))
DO UPDATE SET amount = excluded.amount, burst = excluded.burst, reserve = excluded.reserve,
              expires_at = excluded.expires_at, reason = excluded.reason, updated_at = now()
RETURNING id
"""


async def upsert_limit(
    executor: "Executor",
    target: Target,
    *,
    kind: Kind,
    window: WindowKind | None,
    amount: int,
    burst: Decimal = Decimal(1),
    reserve: ReserveMode = "expected",
    shadow: bool = False,
    set_by: SetBy = "admin",
    expires_at: datetime | None = None,
    reason: str | None = None,
) -> int:
    """Makes the limit or changes the one of its kind; its id. A lasting one and one that expires are two."""
    limit_id: int = await executor.fetchval(
        UPSERT_LIMIT,
        *_values(target),
        kind,
        window,
        amount,
        burst,
        reserve,
        shadow,
        set_by,
        expires_at,
        reason,
    )
    return limit_id


async def upsert_limits(
    executor: "Executor",
    targets: Sequence[Target],
    *,
    kind: Kind,
    window: WindowKind | None,
    amount: int,
    burst: Decimal,
    reserve: ReserveMode,
    reason: str | None,
) -> list[int]:
    """As `upsert_limit`, a lasting one by an admin on each target; their ids."""
    about = (kind, window, amount, burst, reserve, False, "admin", None, reason)
    values = [(*_values(target), *about) for target in targets]
    return [row["id"] for row in await executor.fetchmany(UPSERT_LIMIT, values)]


# What people know the target of `l` by: its account, its key, its model, and the user whose it or whose key it is.
NAMES_OF_LIMIT: Final = """
JOIN accounts a ON a.id = l.account_id LEFT JOIN api_keys k ON k.id = l.api_key_id
LEFT JOIN subscriptions s ON s.id = l.subscription_id LEFT JOIN models m ON m.id = coalesce(l.model_id, s.model_id)
LEFT JOIN users u ON u.id = coalesce(l.user_id, k.user_id)
"""
LIMIT_COLUMNS: Final = """
l.id, l.account_id, a.name AS account_name, a.kind AS account_kind, l.level, l.api_key_id, k.name AS key_name,
k.last_four AS key_last_four, l.model_id, m.name AS model_name, l.subscription_id, l.user_id, u.email AS user_email,
l.kind, l.window_kind AS window, l.amount, l.burst, l.reserve, l.shadow, l.set_by, l.expires_at, l.reason, l.created_at,
l.updated_at
"""

FIND_LIMITS_OF_A_KIND: Final = f"""
SELECT {LIMIT_COLUMNS}
FROM limits l {NAMES_OF_LIMIT}
WHERE l.account_id = $1 AND l.level = $2 AND l.api_key_id IS NOT DISTINCT FROM $3
  AND l.model_id IS NOT DISTINCT FROM $4 AND l.subscription_id IS NOT DISTINCT FROM $5
  AND l.user_id IS NOT DISTINCT FROM $6 AND l.kind = $7 AND l.window_kind IS NOT DISTINCT FROM $8
  AND l.set_by = $9 AND l.shadow = $10
"""


async def find_limits_of_a_kind(
    executor: "Executor", target: Target, *, kind: Kind, window: WindowKind | None, set_by: SetBy, shadow: bool
) -> list[LimitRow]:
    """The lasting one, the one that expires, both or none."""
    rows = await executor.fetch(
        FIND_LIMITS_OF_A_KIND,
        *_values(target),
        kind,
        window,
        set_by,
        shadow,
    )
    return [LimitRow(**row) for row in rows]


FIND_LIMIT: Final = f"""
SELECT {LIMIT_COLUMNS}
FROM limits l {NAMES_OF_LIMIT}
WHERE l.id = $1
"""


async def find_limit(executor: "Executor", limit_id: int) -> LimitRow | None:
    """By id."""
    row = await executor.fetchrow(FIND_LIMIT, limit_id)
    return LimitRow(**row) if row else None


FIND_LIMITS: Final = f"""
SELECT {LIMIT_COLUMNS}
FROM limits l {NAMES_OF_LIMIT}
WHERE l.id = ANY($1::bigint[])
"""


async def find_limits(executor: "Executor", limit_ids: list[int]) -> dict[int, LimitRow]:
    """By id, those that are there."""
    return {row["id"]: LimitRow(**row) for row in await executor.fetch(FIND_LIMITS, limit_ids)}


LIST_LIMITS_OF_KEYS: Final = f"""
SELECT {LIMIT_COLUMNS}
FROM limits l {NAMES_OF_LIMIT}
WHERE l.api_key_id = ANY($1::bigint[]) ORDER BY l.id
"""


async def list_limits_of_keys(executor: "Executor", key_ids: list[int]) -> list[LimitRow]:
    """Of all levels that name a key."""
    return [LimitRow(**row) for row in await executor.fetch(LIST_LIMITS_OF_KEYS, key_ids)]


DELETE_LIMIT: Final = """
DELETE FROM limits WHERE id = $1
"""


async def delete_limit(executor: "Executor", limit_id: int) -> None:
    """Nothing if there is none."""
    await executor.execute(DELETE_LIMIT, limit_id)


LIST_EPOCHS: Final = f"""
SELECT a.id AS account_id, a.time_zone, a.epoch + runs.met AS account_epoch,
       array_agg(l.id) AS ids, array_agg(l.epoch + runs.met) AS epochs
FROM limits l JOIN accounts a ON a.id = l.account_id CROSS JOIN ({SHARED_EPOCH}) AS runs
WHERE l.id = ANY($1::bigint[]) GROUP BY a.id, runs.met
"""


@dataclass(frozen=True, slots=True)
class Epochs:
    """From which epoch on the counters of one account's limits are right, by the limits' ids."""

    time_zone: str
    account: int
    limits: dict[int, int]


async def list_epochs(executor: "Executor", limit_ids: list[int]) -> dict[int, Epochs]:
    """By account; without those that have none of these limits."""
    return {
        row["account_id"]: Epochs(
            row["time_zone"], row["account_epoch"], dict(zip(row["ids"], row["epochs"], strict=True))
        )
        for row in await executor.fetch(LIST_EPOCHS, limit_ids)
    }


DELETE_LIMITS: Final = """
DELETE FROM limits WHERE id = ANY($1::bigint[])
"""


async def delete_limits(executor: "Executor", limit_ids: list[int]) -> None:
    """Those that are there."""
    await executor.execute(DELETE_LIMITS, limit_ids)
