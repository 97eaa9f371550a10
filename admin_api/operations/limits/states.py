"""The limits of an account with the remaining amounts. Reads Redis; reserves nothing."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from admin_api.operations.access import get_one_account
from admin_api.operations.actors import Actor
from admin_api.operations.limits.limits import list_limits
from admin_api.operations.pagination import Page
from admin_api.operations.validation import invalid
from admin_api.storage import limits as limit_rows
from admin_api.storage.limits import Epochs, LimitRow
from gateway.domain.grants import Grant, KeyRecord
from gateway.domain.ids import RequestIds
from gateway.domain.limit_json import limit_json
from gateway.domain.limits import Limit, ScopeIds
from gateway.storage.counters.seeding import Seeder
from gateway.storage.counters.state import LimitState

if TYPE_CHECKING:
    from gateway.storage.counters.scripts import Counters
    from gateway.storage.postgres import Pool

MAX_STATES: Final = 200


@dataclass(frozen=True, slots=True)
class LimitWithState:
    """A limit. `left` is None if it is expired, or replaced by a temporary limit."""

    row: LimitRow
    left: dict[str, Any] | None


async def list_limit_states(
    pool: "Pool",
    counters: "Counters",
    actor: Actor,
    *,
    user: str | None = None,
    team: str | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> Page[LimitWithState]:
    """By id, of one account: the user's personal one, the team's, or the actor's own. One Redis request per page.

    Raises GatewayError `not_found`, `validation_failed`; RedisUnavailable.
    """
    if limit > MAX_STATES:
        raise invalid("limit", f"limit must be at most {MAX_STATES} here.")
    async with pool.acquire() as connection:
        account = await get_one_account(connection, actor, user=user, team=team)
    named = {"team": str(account.id)} if account.kind == "team" else {"user": str(account.owner_user_id)}
    found = await list_limits(pool, actor, limit=limit, cursor=cursor, **named)
    return Page(await read_states(pool, counters, found.rows), found.next_cursor)


async def read_states(pool: "Pool", counters: "Counters", rows: Sequence[LimitRow]) -> list[LimitWithState]:
    """Of these limits, which the actor may see: one statement, and a Redis request an account, all at the same time.
    Raises RedisUnavailable."""
    if not rows:
        return []
    async with pool.acquire() as connection:
        accounts = await limit_rows.list_epochs(connection, [row.id for row in rows])
    offset_ms = await counters.now_ms() - int(time.time() * 1000)
    found = await asyncio.gather(
        *(_look(pool, counters, account_id, rows, epochs, offset_ms) for account_id, epochs in accounts.items())
    )
    left = dict(chain.from_iterable(one.items() for one in found))
    return [LimitWithState(row, left.get(row.id)) for row in rows]


async def _look(
    pool: "Pool", counters: "Counters", account_id: int, rows: Sequence[LimitRow], epochs: Epochs, offset_ms: int
) -> dict[int, dict[str, Any]]:
    """Those of one account by limit id, read as if one call had to pass them all."""
    limits = tuple(_limit(row, epochs.limits[row.id]) for row in rows if row.id in epochs.limits)
    grant = Grant(
        model_id=0,
        model_name="",
        owned_by="",
        max_output_tokens=None,
        subscription_id=0,
        subscription_expires_at=None,
        price=None,
        limits=limits,
        scopes="",
    )
    record = KeyRecord(
        key_id=0,
        account_id=account_id,
        user_id=None,
        time_zone=epochs.time_zone,
        epoch=epochs.account,
        is_account_active=True,
        is_user_active=True,
        is_revoked=False,
        expires_at=None,
        allowed_ips=(),
        grants={},
    )
    ids = RequestIds()
    ids.offset_ms = offset_ms
    taken, now_ms = await LimitState(counters, Seeder(counters, pool)).look(record, grant, ids.new())
    return {one.limit.id: limit_json(one, now_ms) for one in taken}


def _limit(row: LimitRow, epoch: int) -> Limit:
    ids = ScopeIds(**{name: getattr(row, name) for name in ScopeIds.__slots__})
    return Limit(
        id=row.id,
        level=row.level,
        scope=ids.scope(row.level),
        kind=row.kind,
        window=row.window,
        amount=row.amount,
        burst=row.burst,
        reserve=row.reserve,
        shadow=row.shadow,
        set_by=row.set_by,
        expires_at=row.expires_at,
        epoch=epoch,
    )
