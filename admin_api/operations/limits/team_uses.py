"""All teams with their tightest limit, by what the ledger says was used: for admins who look for who needs more."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from admin_api.operations.actors import Actor, require_reader
from admin_api.operations.limits.shares import share_of
from admin_api.operations.notifications.alerts import in_force
from admin_api.operations.pagination import Page, check_limit, parse_id_cursor
from admin_api.storage import accounts, alerts
from admin_api.storage.accounts import Account
from admin_api.storage.alerts import WindowLimit
from admin_api.storage.usage.account_windows import AccountWindow, sum_account_windows
from gateway.domain.windows import window_ms
from gateway.storage.ledger.sums import LATEST_MS

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

# Beyond, the oldest teams are shown.
MAX_TEAMS: Final = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class TightLimit:
    """A window limit of a team, and what of it was used in the present window; `share` in thousandths."""

    limit: WindowLimit
    used: int
    share: int

    @property
    def left(self) -> int:
        """Below 0 if more was used than the limit allows."""
        return self.limit.amount - self.used


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamUse:
    """A team, its number of members, and the limit that it is nearest to; None: it has no limit of a window."""

    team: Account
    members: int
    tightest: TightLimit | None

    @property
    def rank(self) -> int:
        """The higher, the nearer to a limit; 0 for a team without one."""
        return 0 if self.tightest is None else self.tightest.share + 1


async def list_team_uses(
    pool: "Pool", actor: Actor, *, limit: int = 100, cursor: str | None = None, now: datetime | None = None
) -> Page[TeamUse]:
    """Of the teams that are not archived, the tightest first. For admins and read-only admins.

    Raises GatewayError `forbidden`, `validation_failed`.
    """
    require_reader(actor)
    check_limit(limit)
    after = _parse_cursor(cursor)
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        teams = await accounts.list_teams(connection, after_id=0, limit=MAX_TEAMS)
        tightest = _tightest_of(await read_used(connection, now or datetime.now(UTC)))
        ranked = sorted((_use(team, tightest.get(team.id)) for team in teams), key=lambda use: (-use.rank, use.team.id))
        rest = [use for use in ranked if after is None or (-use.rank, use.team.id) > after]
        shown = rest[:limit]
        members = await accounts.count_members(connection, [use.team.id for use in shown])
    found = [TeamUse(team=use.team, members=members.get(use.team.id, 0), tightest=use.tightest) for use in shown]
    return Page(found, f"{shown[-1].rank}.{shown[-1].team.id}" if len(rest) > limit else None)


async def read_used(executor: "Executor", now: datetime, *, active: bool = False) -> list[tuple[WindowLimit, int]]:
    """The limits in force on all that a team uses, of every team that is not archived, and what of each the ledger has
    for the present window. `active`: only teams that are not suspended. Within the caller's transaction."""
    limits = in_force(await alerts.list_window_limits_of_teams(executor, now, active=active))
    sums = await sum_account_windows(executor, [_window(limit, now) for limit in limits], now)
    return [(limit, used[limit.kind]) for limit, used in zip(limits, sums, strict=True)]


def _tightest_of(used: Iterable[tuple[WindowLimit, int]]) -> dict[int, TightLimit]:
    found: dict[int, TightLimit] = {}
    for limit, amount in used:
        one = TightLimit(limit=limit, used=amount, share=share_of(limit.amount, limit.amount - amount))
        known = found.get(limit.account_id)
        if known is None or one.share > known.share:
            found[limit.account_id] = one
    return found


def _window(limit: WindowLimit, now: datetime) -> AccountWindow:
    start_ms, end_ms = window_ms(limit.window, limit.time_zone, round(now.timestamp() * 1000))
    start, end = (datetime.fromtimestamp(min(ms, LATEST_MS) / 1000, UTC) for ms in (start_ms, end_ms))
    return AccountWindow(limit.account_id, start, end)


def _use(team: Account, tightest: TightLimit | None) -> TeamUse:
    return TeamUse(team=team, members=0, tightest=tightest)


def _parse_cursor(cursor: str | None) -> tuple[int, int] | None:
    if cursor is None:
        return None
    rank, _, team_id = cursor.partition(".")
    return -parse_id_cursor(rank), parse_id_cursor(team_id)
