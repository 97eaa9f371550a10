"""Alerts, and what the pass that raises them reads: limits of the accounts that changed, and their sums."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from admin_api.storage.limits import NAMES_OF_LIMIT
from gateway.domain.limits import Kind, Level, ScopeIds, SetBy
from gateway.domain.windows import WindowKind

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowLimit:
    """A limit in force, with what an alert says of it."""

    account_id: int
    account_name: str
    time_zone: str
    account_created_at: datetime
    level: Level
    api_key_id: int | None
    model_id: int | None
    subscription_id: int | None
    limit_user_id: int | None
    kind: Kind
    window: WindowKind
    amount: int
    set_by: SetBy
    is_passing: bool
    user_id: int | None
    user_email: str | None
    key_name: str | None
    key_last_four: str | None
    model_name: str | None

    @property
    def scope(self) -> str:
        """As counters name it."""
        ids = ScopeIds(
            api_key_id=self.api_key_id,
            model_id=self.model_id,
            subscription_id=self.subscription_id,
            user_id=self.limit_user_id,
        )
        return ids.scope(self.level)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """What makes an alert one: `threshold` percent of this limit in this window."""

    account_id: int
    scope: str
    kind: Kind
    window: WindowKind
    window_start: datetime
    threshold: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A threshold that was reached. `forecast_at`: when the limit will be, at the pace of the window so far."""

    id: int
    account_id: int
    user_id: int | None
    level: Level
    kind: Kind
    window: WindowKind
    window_start: datetime
    window_end: datetime | None
    threshold: int
    used: int
    amount: int
    forecast_at: datetime | None
    about: Mapping[str, Any]
    created_at: datetime
    cleared_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None


LIST_ENDED_LIMITS: Final = """
SELECT DISTINCT account_id FROM limits WHERE expires_at > $1 AND expires_at <= $2
"""


async def list_accounts_with_ended_limits(executor: "Executor", since: datetime, until: datetime) -> set[int]:
    """Accounts whose limit in force changed by time alone."""
    return {row["account_id"] for row in await executor.fetch(LIST_ENDED_LIMITS, since, until)}


WINDOW_LIMITS: Final = f"""
SELECT l.account_id, a.name AS account_name, a.time_zone, a.created_at AS account_created_at, l.level, l.api_key_id,
       l.model_id, l.subscription_id, l.user_id AS limit_user_id, l.kind, l.window_kind AS window, l.amount, l.set_by,
       l.expires_at IS NOT NULL AS is_passing, u.id AS user_id, u.email AS user_email, k.name AS key_name,
       k.last_four AS key_last_four, m.name AS model_name
FROM limits l {NAMES_OF_LIMIT}
"""
LIST_WINDOW_LIMITS: Final = f"""
{WINDOW_LIMITS}
WHERE l.account_id = ANY($1::bigint[]) AND l.window_kind IS NOT NULL AND NOT l.shadow
  AND (l.expires_at IS NULL OR l.expires_at > $2)
"""


async def list_window_limits(executor: "Executor", account_ids: Iterable[int], now: datetime) -> list[WindowLimit]:
    """Of these accounts, those not expired at `now`; shadow limits refuse nothing and raise no alert."""
    rows = await executor.fetch(LIST_WINDOW_LIMITS, list(account_ids), now)
    return [WindowLimit(**row) for row in rows]


# Their targets have no other names than the team's: joined as for other levels, all keys would be read.
LIST_WINDOW_LIMITS_OF_TEAMS: Final = """
SELECT l.account_id, a.name AS account_name, a.time_zone, a.created_at AS account_created_at, l.level,
       NULL::bigint AS api_key_id, NULL::bigint AS model_id, NULL::bigint AS subscription_id,
       NULL::bigint AS limit_user_id, l.kind, l.window_kind AS window, l.amount, l.set_by,
       l.expires_at IS NOT NULL AS is_passing, NULL::bigint AS user_id, NULL AS user_email, NULL AS key_name,
       NULL AS key_last_four, NULL AS model_name
FROM limits l JOIN accounts a ON a.id = l.account_id
WHERE l.level = 'team' AND l.window_kind IS NOT NULL AND NOT l.shadow AND a.archived_at IS NULL
  AND (l.expires_at IS NULL OR l.expires_at > $1) AND (NOT $2 OR a.status = 'active')
"""


async def list_window_limits_of_teams(executor: "Executor", now: datetime, *, active: bool) -> list[WindowLimit]:
    """Of all teams that are not archived, or of those that are active too: limits at level team, not expired at
    `now`."""
    return [WindowLimit(**row) for row in await executor.fetch(LIST_WINDOW_LIMITS_OF_TEAMS, now, active)]


LIST_OPEN_CROSSINGS: Final = """
SELECT id, account_id, scope, kind, window_kind AS window, window_start, threshold FROM alerts
WHERE account_id = ANY($1::bigint[]) AND cleared_at IS NULL AND (window_end IS NULL OR window_end > $2)
"""


async def list_open_crossings(executor: "Executor", account_ids: Iterable[int], since: datetime) -> dict[Crossing, int]:
    """Alerts that are not cleared, of windows that ended after `since`: crossing -> id."""
    rows = await executor.fetch(LIST_OPEN_CROSSINGS, list(account_ids), since)
    return {Crossing(**{name: row[name] for name in Crossing.__slots__}): row["id"] for row in rows}


UPDATE_CLEARED: Final = """
UPDATE alerts SET cleared_at = now() WHERE id = ANY($1::bigint[])
"""


async def update_cleared(executor: "Executor", alert_ids: Sequence[int]) -> None:
    """The use is below the threshold again: reaching it again is another alert."""
    await executor.execute(UPDATE_CLEARED, list(alert_ids))


INSERT_ALERT: Final = """
INSERT INTO alerts (account_id, scope, kind, window_kind, window_start, threshold, user_id, level, window_end, used,
                    amount, forecast_at, about)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13::jsonb)
ON CONFLICT (account_id, scope, kind, window_kind, window_start, threshold) WHERE cleared_at IS NULL DO NOTHING
RETURNING id
"""


async def insert_alert(
    executor: "Executor",
    crossing: Crossing,
    *,
    user_id: int | None,
    level: Level,
    window_end: datetime | None,
    used: int,
    amount: int,
    forecast_at: datetime | None,
    about: Mapping[str, Any],
) -> int | None:
    """Its id; None if there is such an alert that is not cleared."""
    alert_id: int | None = await executor.fetchval(
        INSERT_ALERT,
        *(getattr(crossing, name) for name in Crossing.__slots__),
        user_id,
        level,
        window_end,
        used,
        amount,
        forecast_at,
        json.dumps(dict(about)),
    )
    return alert_id


_ALERT: Final = """
id, account_id, user_id, level, kind, window_kind AS window, window_start, window_end, threshold, used, amount,
forecast_at, about::text, created_at, cleared_at, acknowledged_at, acknowledged_by
"""

LIST_ALERTS: Final = f"""
SELECT {_ALERT}
FROM alerts
WHERE id < $1 AND ($2::boolean IS NULL OR (acknowledged_at IS NOT NULL) = $2)
ORDER BY id DESC LIMIT $3
"""

# Mine: of my own account and of teams I own, and what is about me or my keys elsewhere. A page of each, however many
# there are, and of them the newest page. Ordered by user or account first, so that they are read in the order of an
# index, which ends at a page.
LIST_ALERTS_OF_USER: Final = f"""
SELECT {_ALERT}
FROM alerts
WHERE id < $1 AND ($2::boolean IS NULL OR (acknowledged_at IS NOT NULL) = $2)
  AND id = ANY(ARRAY(
      (SELECT own.id FROM alerts own
       WHERE own.user_id BETWEEN $4 AND $4 AND own.id < $1
         AND ($2::boolean IS NULL OR (own.acknowledged_at IS NOT NULL) = $2)
       ORDER BY own.user_id, own.id DESC LIMIT $3)
      UNION ALL SELECT theirs.id FROM (
          SELECT a.id FROM accounts a WHERE a.owner_user_id = $4
          UNION ALL SELECT m.account_id FROM team_members m WHERE m.user_id = $4 AND m.role = 'owner') AS mine
      CROSS JOIN LATERAL (
          SELECT o.id FROM alerts o
          WHERE o.account_id BETWEEN mine.id AND mine.id AND o.id < $1
            AND ($2::boolean IS NULL OR (o.acknowledged_at IS NOT NULL) = $2)
          ORDER BY o.account_id, o.id DESC LIMIT $3) AS theirs))
ORDER BY id DESC LIMIT $3
"""


async def list_alerts(
    executor: "Executor", *, before_id: int, limit: int, acknowledged: bool | None, user_id: int | None
) -> list[Alert]:
    """Newest first, those before `before_id`; of all accounts if `user_id` is None."""
    if user_id is None:
        rows = await executor.fetch(LIST_ALERTS, before_id, acknowledged, limit)
    else:
        rows = await executor.fetch(LIST_ALERTS_OF_USER, before_id, acknowledged, limit, user_id)
    return [Alert(**(dict(row) | {"about": json.loads(row["about"])})) for row in rows]


ACKNOWLEDGE: Final = """
UPDATE alerts SET acknowledged_at = now(), acknowledged_by = $2 WHERE id = $1 AND acknowledged_at IS NULL
RETURNING id
"""


async def acknowledge(executor: "Executor", alert_id: int, by: str) -> bool:
    """False if it was acknowledged before."""
    return await executor.fetchval(ACKNOWLEDGE, alert_id, by) is not None
