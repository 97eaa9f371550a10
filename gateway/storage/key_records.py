"""Reads all a gateway needs to know of a key in one statement, so that it is one state of the database."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gateway.domain.grants import Grant, KeyRecord, Withheld
from gateway.domain.limits import LEVELS, Kind, Level, Limit, ReserveMode, ScopeIds, SetBy
from gateway.domain.model_status import ModelStatus, model_status
from gateway.domain.prices import PRICE_COLUMNS, PRICE_UNITS, price_of
from gateway.domain.subscriptions import Status
from gateway.domain.windows import WindowKind
from gateway.storage.counters.epochs import SHARED_EPOCH

if TYPE_CHECKING:
    import asyncpg

    from gateway.storage.postgres import Executor, Pool

# As text, to be read as Decimal.
_PRICE: Final = ", ".join(f"'{name}', p.{name}{'::text' if name in PRICE_UNITS else ''}" for name in PRICE_COLUMNS)
# An epoch is the account's or the limit's own plus SHARED_EPOCH: both only grow, so that each change of one of them is
# a larger sum.
_RECORD: Final = f"""
SELECT k.id AS key_id, k.account_id, k.user_id, a.time_zone, a.epoch + runs.met AS epoch,
       a.status = 'active' AS is_account_active, a.status_reason AS account_reason,
       a.archived_at IS NOT NULL AS is_team_archived,
       k.user_id IS NULL OR u.status = 'active' AS is_user_active, u.status_reason AS user_reason,
       k.user_id IS NOT NULL AND a.kind = 'team' AND NOT EXISTS (
           SELECT FROM team_members t WHERE t.account_id = k.account_id AND t.user_id = k.user_id) AS has_left_team,
       k.revoked_at IS NOT NULL AS is_revoked, k.archived_at IS NOT NULL AS is_archived,
       k.expires_at AS expires_at, k.allowed_ips::text[] AS allowed_ips,
       (SELECT coalesce(jsonb_agg(jsonb_build_object(
            'model_id', m.id, 'model_name', m.name, 'former_names', m.former_names,
            'owned_by', coalesce(m.provider, 'litellm'), 'mode', m.mode,
            'reasons', 'reasoning' = ANY(m.capabilities),
            'max_output_tokens', m.max_output_tokens, 'subscription_id', s.id, 'expires_at', s.expires_at,
            'enabled', m.enabled, 'listed', m.listed, 'status', s.status, 'reason', s.reason,
            'price', (SELECT jsonb_build_object({_PRICE})
                FROM model_prices p WHERE p.model_id = m.id AND p.effective_at <= now()
                ORDER BY p.effective_at DESC, p.id DESC LIMIT 1))), '[]')
        FROM (SELECT own.model_id FROM api_key_models own WHERE own.api_key_id = k.id
              UNION ALL SELECT every.model_id FROM subscriptions every
              WHERE k.kind = 'session' AND every.account_id = k.account_id) AS km
        JOIN models m ON m.id = km.model_id
        JOIN subscriptions s ON s.account_id = k.account_id AND s.model_id = m.id)::text AS grants,
       (SELECT coalesce(jsonb_agg(jsonb_build_object(
            'id', l.id, 'level', l.level, 'model_id', l.model_id, 'subscription_id', l.subscription_id,
            'kind', l.kind, 'window', l.window_kind, 'amount', l.amount, 'burst', l.burst::text,
            'reserve', l.reserve, 'shadow', l.shadow, 'set_by', l.set_by, 'expires_at', l.expires_at,
            'epoch', l.epoch + runs.met)
            ORDER BY l.id), '[]')
        FROM limits l WHERE l.account_id = k.account_id AND (l.expires_at IS NULL OR l.expires_at > now())
        AND (l.api_key_id = k.id OR l.user_id = k.user_id OR l.level IN ('subscription', 'team')))::text AS limits
FROM api_keys k JOIN accounts a ON a.id = k.account_id LEFT JOIN users u ON u.id = k.user_id
CROSS JOIN ({SHARED_EPOCH}) AS runs
"""
# The key of a session ends with its own digest, and one that was rotated away with its grace, or with the key if that
# is earlier (least() passes over NULL).
_OF_SESSION: Final = "FROM session_keys o WHERE o.digest = ANY($1::bytea[])"
_EXPIRES_AT: Final = f"""
CASE WHEN k.kind = 'session' THEN (SELECT o.expires_at {_OF_SESSION} AND o.api_key_id = k.id LIMIT 1)
     WHEN k.digest = ANY($1::bytea[]) THEN k.expires_at ELSE least(k.expires_at, k.previous_ends_at) END
"""
FIND_KEY_RECORD = (
    _RECORD.replace("k.expires_at AS expires_at", f"{_EXPIRES_AT} AS expires_at")
    + f"""
WHERE k.digest = ANY($1::bytea[]) OR k.previous_digest = ANY($1::bytea[])
    OR k.id = ANY(ARRAY(SELECT o.api_key_id {_OF_SESSION}))
"""
)
GET_KEY_RECORD = _RECORD + "WHERE k.id = $1"


class _GrantRow(msgspec.Struct):
    model_id: int
    model_name: str
    former_names: list[str]
    owned_by: str
    mode: str | None
    reasons: bool
    max_output_tokens: int | None
    subscription_id: int
    expires_at: datetime | None
    enabled: bool
    listed: bool
    status: Status
    reason: str | None
    price: dict[str, Any] | None


class _LimitRow(msgspec.Struct):
    id: int
    level: Level
    model_id: int | None
    subscription_id: int | None
    kind: Kind
    window: WindowKind | None
    amount: int
    burst: Decimal
    reserve: ReserveMode
    shadow: bool
    set_by: SetBy
    expires_at: datetime | None
    epoch: int


_decode_grants = msgspec.json.Decoder(list[_GrantRow]).decode
_decode_limits = msgspec.json.Decoder(list[_LimitRow]).decode


async def find_key_record(pool: "Pool", digests: Sequence[bytes]) -> KeyRecord | None:
    """The key with one of these digests, or that had one before it was rotated; also when it is revoked or expired:
    the caller judges."""
    row = await pool.fetchrow(FIND_KEY_RECORD, list(digests))
    return None if row is None else _record(row)


async def find_key_record_by_id(executor: "Executor | Pool", key_id: int) -> KeyRecord | None:
    """The same, for who does not have the key itself."""
    row = await executor.fetchrow(GET_KEY_RECORD, key_id)
    return None if row is None else _record(row)


def _record(row: "asyncpg.Record") -> KeyRecord:
    limits = _decode_limits(row["limits"])
    grants: dict[str, Grant] = {}
    withheld: dict[str, Withheld] = {}
    renamed: dict[str, str] = {}
    for grant in _decode_grants(row["grants"]):
        renamed |= dict.fromkeys(grant.former_names, grant.model_name)
        status = model_status(enabled=grant.enabled, listed=grant.listed)
        if status == "available" and grant.status == "active":
            grants[grant.model_name] = _grant(grant, limits, row["key_id"], row["user_id"])
        else:
            withheld[grant.model_name] = _withheld(grant, status)
    return KeyRecord(
        key_id=row["key_id"],
        account_id=row["account_id"],
        user_id=row["user_id"],
        time_zone=row["time_zone"],
        epoch=row["epoch"],
        is_account_active=row["is_account_active"],
        is_team_archived=row["is_team_archived"],
        is_user_active=row["is_user_active"],
        is_revoked=row["is_revoked"],
        is_archived=row["is_archived"],
        has_left_team=row["has_left_team"],
        account_reason=row["account_reason"],
        user_reason=row["user_reason"],
        expires_at=row["expires_at"],
        allowed_ips=tuple(ip_network(ip) for ip in row["allowed_ips"]),
        grants=grants,
        withheld=withheld,
        renamed=renamed,
    )


def _withheld(row: _GrantRow, status: ModelStatus) -> Withheld:
    if status != "available":
        return Withheld(model_id=row.model_id, model_name=row.model_name, status=status)
    return Withheld(model_id=row.model_id, model_name=row.model_name, status=row.status, reason=row.reason)


def _grant(row: _GrantRow, limits: Sequence[_LimitRow], key_id: int, user_id: int | None) -> Grant:
    ids = ScopeIds(api_key_id=key_id, model_id=row.model_id, subscription_id=row.subscription_id, user_id=user_id)
    scopes = ids.scopes()
    own = [
        _limit(limit, scopes[limit.level])
        for limit in limits
        if limit.subscription_id in (None, row.subscription_id) and limit.model_id in (None, row.model_id)
    ]
    own.sort(key=lambda limit: (LEVELS.index(limit.level), limit.id))
    return Grant(
        model_id=row.model_id,
        model_name=row.model_name,
        owned_by=row.owned_by,
        mode=row.mode,
        reasons=row.reasons,
        max_output_tokens=row.max_output_tokens,
        subscription_id=row.subscription_id,
        subscription_expires_at=row.expires_at,
        price=None if row.price is None else price_of(row.price),
        limits=tuple(own),
        scopes=" ".join(scopes.values()),
    )


def _limit(row: _LimitRow, scope: str) -> Limit:
    return Limit(
        id=row.id,
        level=row.level,
        scope=scope,
        kind=row.kind,
        window=row.window,
        amount=row.amount,
        burst=row.burst,
        reserve=row.reserve,
        shadow=row.shadow,
        set_by=row.set_by,
        expires_at=row.expires_at,
        epoch=row.epoch,
    )
