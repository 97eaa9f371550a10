"""Limits with their use as whole numbers, the tightest first: for people who look at them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from admin_api.operations.access import get_seen_account, viewer_of
from admin_api.operations.actors import Actor
from admin_api.operations.limits.shares import share_of
from admin_api.operations.limits.states import MAX_STATES, read_states
from admin_api.operations.people.memberships import find_team_access
from admin_api.operations.people.users import own_id
from admin_api.storage import accounts, limit_pages
from admin_api.storage.limits import LimitRow
from gateway.domain.limits import is_money

if TYPE_CHECKING:
    from gateway.storage.counters.scripts import Counters
    from gateway.storage.postgres import Pool

# Of a person's teams and of the limits of one team, how many are looked at on their own pages.
MAX_TEAMS: Final = 20
MAX_OF_TEAM: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitUse:
    """A limit in force. Amounts are counts, or nano-USD for kind cost; `left` may be below 0. `share` is how much of it
    is used or reserved, in thousandths."""

    row: LimitRow
    used: int
    reserved: int
    left: int
    resets_at: datetime | None
    share: int


async def list_own_uses(pool: "Pool", counters: "Counters", actor: Actor) -> list[LimitUse]:
    """What limits the actor: the limits of their personal account, those of their teams, and theirs in them.

    Raises GatewayError `not_found` for logins without a user; RedisUnavailable.
    """
    user_id = own_id(actor)
    async with pool.acquire() as connection:
        own = await get_seen_account(connection, actor, user=str(user_id), team=None)
        rows = await limit_pages.list_limits(connection, after_id=0, limit=MAX_STATES, account_id=own.id)
        teams = await accounts.list_teams(connection, after_id=0, limit=MAX_TEAMS, viewer_id=user_id)
        team_ids = [team.id for team in teams]
        rows += await limit_pages.list_limits_in_teams(connection, team_ids, user_id=user_id, limit=MAX_OF_TEAM)
    return await list_uses(pool, counters, rows)


async def list_member_limits(pool: "Pool", actor: Actor, team: str, user_ids: Sequence[int]) -> list[LimitRow]:
    """What each of these members may use of the team; members who are no owners see their own. Raises GatewayError
    `not_found`."""
    access = await find_team_access(pool, actor, team)
    shown = list(user_ids)
    if viewer_of(actor) is not None and not access.is_owner:
        shown = [user_id for user_id in user_ids if user_id == actor.user_id]
    async with pool.acquire() as connection:
        return await limit_pages.list_limits_of_members(connection, access.team.id, shown)


async def list_uses(pool: "Pool", counters: "Counters", rows: Iterable[LimitRow]) -> list[LimitUse]:
    """Of these limits, which the actor may see, those in force. The tightest first. Raises RedisUnavailable."""
    found = await read_states(pool, counters, list(rows))
    return tightest_first([_use(one.row, one.left) for one in found if one.left is not None])


def tightest_first(uses: Sequence[LimitUse]) -> list[LimitUse]:
    """By share; shadow limits, which refuse nothing, come last."""
    return sorted(uses, key=lambda use: (use.row.shadow, -use.share, use.row.id))


def _use(row: LimitRow, left: dict[str, Any]) -> LimitUse:
    used, reserved, remaining = (
        left[f"{name}_nano_usd" if is_money(row.kind) else name] for name in ("used", "reserved", "remaining")
    )
    resets_at = left["resets_at"]
    return LimitUse(
        row=row,
        used=used,
        reserved=reserved,
        left=remaining,
        resets_at=None if resets_at is None else datetime.fromisoformat(resets_at),
        share=share_of(int(row.amount * row.burst), remaining),
    )
