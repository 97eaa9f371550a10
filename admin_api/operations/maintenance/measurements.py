"""Sets the metrics that are looked up in the database. Each replica looks for itself, so all show the same."""

from collections.abc import Iterable
from datetime import UTC, datetime
from time import time
from typing import TYPE_CHECKING, Final, NamedTuple

from admin_api import metrics
from admin_api.operations.limits.team_uses import read_used
from admin_api.storage import measurements as rows
from admin_api.storage.deliveries import RECEIVERS
from gateway.domain.limits import Kind
from gateway.domain.windows import WindowKind

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

EMAIL: Final = "email"
STARTED_AT: Final = time()


class TeamUse(NamedTuple):
    """What a team has used of one of its limits, as a share of it: 1.0 is all."""

    account_id: int
    team: str
    kind: Kind
    window: WindowKind
    share: float


async def measure(pool: "Pool", *, sends_mail: bool, syncs: bool) -> None:
    """Deliveries that wait, and the last sync. Without a mail server no e-mail is late; without syncs, no sync."""
    now = datetime.now(UTC)
    async with pool.acquire() as connection:
        counted = await rows.count_deliveries(connection, tuple(RECEIVERS))
        synced_at = await rows.last_good_sync(connection)
    for one in counted:
        metrics.DELIVERIES_WAITING.labels(one.channel).set(one.waiting)
        metrics.DELIVERIES_FAILED.labels(one.channel).set(one.failed)
        is_sent = one.oldest_at is not None and (sends_mail or one.channel != EMAIL)
        age_s = (now - one.oldest_at).total_seconds() if is_sent and one.oldest_at else 0.0
        metrics.DELIVERIES_OLDEST.labels(one.channel).set(max(age_s, 0.0))
    if syncs:
        metrics.MODEL_SYNC_TIME.set(synced_at.timestamp() if synced_at else STARTED_AT)


async def measure_teams(pool: "Pool", most: int) -> None:
    """The `most` teams that have used the largest share of one of their limits; the limits of each."""
    shown: dict[tuple[str, str, str, str], float] = {
        (use.team, str(use.account_id), use.kind, use.window): use.share
        for use in _of_highest(await team_use(pool, datetime.now(UTC)), most)
    }
    for labels, share in shown.items():
        metrics.TEAM_USE.labels(*labels).set(share)
    # Removed after the others are set: a scrape never finds none.
    for labels in _shown - shown.keys():
        metrics.TEAM_USE.remove(*labels)
    _shown.clear()
    _shown.update(shown)


_shown: set[tuple[str, str, str, str]] = set()


async def team_use(pool: "Pool", at: datetime) -> list[TeamUse]:
    """Of every limit in force on all that an active team uses, by the ledger."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        found = await read_used(connection, at, active=True)
    return [
        TeamUse(limit.account_id, limit.account_name, limit.kind, limit.window, _share(used, limit.amount))
        for limit, used in found
    ]


def _share(used: int, amount: int) -> float:
    # A limit of 0 is used up from its beginning.
    return used / amount if amount else 1.0


def _of_highest(uses: Iterable[TeamUse], most: int) -> list[TeamUse]:
    uses = list(uses)
    highest: dict[int, float] = {}
    for use in uses:
        highest[use.account_id] = max(use.share, highest.get(use.account_id, 0.0))
    teams = set(sorted(highest, key=lambda account_id: (-highest[account_id], account_id))[:most])
    return [use for use in uses if use.account_id in teams]
