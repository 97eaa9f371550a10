"""Alerts: raised when the use of a window reaches a threshold of its limit; list and acknowledge.

Use is read from rollups, never from Redis. A run checks only accounts whose use or limits changed; the ledger's batches
record these in `accounts_to_check`, so unused limits cost nothing. Removing accounts from there, the alerts and their
messages are one transaction: if a run crashes, the next one on any replica repeats it.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from admin_api.operations.actors import Actor, note, require_reader
from admin_api.operations.notifications.events import notify
from admin_api.operations.pagination import MAX_ID, Page, check_limit, page, parse_id_cursor
from admin_api.operations.runtime_settings import read_thresholds
from admin_api.storage import alerts as rows
from admin_api.storage.alerts import Alert, Crossing, WindowLimit
from gateway.domain.errors import GatewayError
from gateway.domain.limits import amount_fields
from gateway.domain.windows import window_ms
from gateway.storage import accounts_to_check
from gateway.storage.ledger.sums import WindowSum, sum_windows

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

MAX_ACCOUNTS: Final = 500
# How long after the end of a window its calls may still be written to the ledger.
LATE: Final = timedelta(minutes=2)
# How far back a run looks for expired limits. Longer than the usual downtime of all replicas.
ENDED: Final = timedelta(minutes=10)
FAR: Final = datetime(9999, 1, 1, tzinfo=UTC)
# Start and end of a window.
Window = tuple[datetime, datetime]
# Percent -> when the threshold was added; None if it is one of the first.
Thresholds = Mapping[int, datetime | None]


async def raise_alerts(
    pool: "Pool", thresholds: Thresholds | None = None, *, now: datetime | None = None
) -> int | None:
    """One run, over at most `MAX_ACCOUNTS` accounts; returns the number of alerts. None if another replica is running
    it. `thresholds` are by default those of the settings."""
    async with pool.acquire() as connection, connection.transaction():
        if not await accounts_to_check.try_lock_alerts(connection):
            return None
        at = now or datetime.now(UTC)
        accounts = await accounts_to_check.take_accounts(connection, MAX_ACCOUNTS)
        accounts |= await rows.list_accounts_with_ended_limits(connection, at - ENDED, at)
        if thresholds is None:
            # Read after the accounts, so that a threshold applies to all use that is recorded after it was set.
            thresholds = await read_thresholds(connection)
        return await _check_accounts(connection, accounts, thresholds, at) if accounts else 0


async def has_backlog(pool: "Pool") -> bool:
    """Whether there are accounts for another full run, which should then start at once."""
    async with pool.acquire() as connection:
        return await accounts_to_check.count_accounts_to_check(connection, MAX_ACCOUNTS) >= MAX_ACCOUNTS


async def _check_accounts(executor: "Executor", accounts: set[int], thresholds: Thresholds, at: datetime) -> int:
    limits = in_force(await rows.list_window_limits(executor, accounts, at))
    limit_windows = [(limit, window) for limit in limits for window in _windows(limit, at)]
    sums = await sum_windows(executor, [_query(limit, window) for limit, window in limit_windows])
    open_crossings = await rows.list_open_crossings(executor, accounts, at - LATE)
    # Includes thresholds that were removed: they were reported, and may be added again.
    known = sorted({*thresholds, *(crossing.threshold for crossing in open_crossings)})
    raised, cleared = 0, []
    for (limit, window), used in zip(limit_windows, sums, strict=True):
        crossings = {threshold: _crossing(limit, window, threshold) for threshold in known}
        reached = {t for t in known if limit.amount > 0 and used * 100 >= t * limit.amount}
        is_open = {t for t in known if crossings[t] in open_crossings}
        new = sorted(t for t in reached - is_open if t in thresholds and _applies(thresholds[t], window))
        cleared += [open_crossings[crossings[t]] for t in is_open - reached]
        for threshold in new:
            # Only the highest of several is reported, and none below one that was reported already.
            is_reported = threshold == max({*new, *(is_open & reached)})
            raised += await _raise(executor, limit, window, crossings[threshold], used, at, is_reported=is_reported)
    if cleared:
        await rows.update_cleared(executor, cleared)
    return raised


def _applies(since: datetime | None, window: Window) -> bool:
    """Whether a threshold added at `since` applies to this window: not if the window had ended before."""
    return since is None or since < window[1]


def in_force(limits: Iterable[WindowLimit]) -> list[WindowLimit]:
    """The limits in force, one per counter: a temporary limit replaces the permanent one, and the lower of an admin's
    and an owner's limit applies."""
    placed: dict[tuple[object, ...], WindowLimit] = {}
    for limit in sorted(limits, key=lambda one: one.is_passing):
        placed[limit.account_id, limit.scope, limit.kind, limit.window, limit.set_by] = limit
    counters: dict[tuple[object, ...], WindowLimit] = {}
    for limit in placed.values():
        counter = (limit.account_id, limit.scope, limit.kind, limit.window)
        if counter not in counters or limit.amount < counters[counter].amount:
            counters[counter] = limit
    return list(counters.values())


def forecast(start: datetime, end: datetime, at: datetime, *, used: int, amount: int) -> datetime | None:
    """When `amount` will be reached at the window's average rate so far; None if not before its end."""
    passed = (min(at, end) - start).total_seconds()
    if used <= 0 or passed <= 0 or used >= amount:
        return at if used >= amount else None
    # In whole seconds, within the range of dates.
    left = min(passed * (amount - used) / used, (FAR - at).total_seconds() - 1)
    reached = at + timedelta(seconds=round(left))
    return reached if reached < end else None


def _windows(limit: WindowLimit, at: datetime) -> set[Window]:
    """The present window and the one at LATE before."""
    found = set()
    for moment in (at, at - LATE):
        start, end = window_ms(limit.window, limit.time_zone, round(moment.timestamp() * 1000))
        bounds = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (start, min(end, round(FAR.timestamp() * 1000))))
        found.add(tuple(bounds))
    return found  # type: ignore[return-value]  # two bounds


def _query(limit: WindowLimit, window: Window) -> WindowSum:
    start_ms, end_ms = (round(moment.timestamp() * 1000) for moment in window)
    return WindowSum(limit.account_id, limit.kind, limit.scope, start_ms, end_ms)


def _crossing(limit: WindowLimit, window: Window, threshold: int) -> Crossing:
    return Crossing(
        account_id=limit.account_id,
        scope=limit.scope,
        kind=limit.kind,
        window=limit.window,
        window_start=window[0],
        threshold=threshold,
    )


async def _raise(
    executor: "Executor",
    limit: WindowLimit,
    window: Window,
    crossing: Crossing,
    used: int,
    at: datetime,
    *,
    is_reported: bool,
) -> int:
    start, end = window
    # A lifetime window begins with the account.
    began = limit.account_created_at if limit.window == "lifetime" else start
    forecast_at = forecast(began, end, at, used=used, amount=limit.amount)
    about = {
        "account": limit.account_name,
        "user": limit.user_email,
        "key_id": limit.api_key_id,
        "key": limit.key_name,
        "key_last_four": limit.key_last_four,
        "model": limit.model_name,
        "time_zone": limit.time_zone,
    }
    alert_id = await rows.insert_alert(
        executor,
        crossing,
        user_id=limit.user_id,
        level=limit.level,
        window_end=None if limit.window == "lifetime" else end,
        used=used,
        amount=limit.amount,
        forecast_at=forecast_at,
        about=about,
    )
    if alert_id is None:
        return 0
    if is_reported:
        data = about | {
            "alert_id": alert_id,
            "account_id": limit.account_id,
            "level": limit.level,
            "kind": limit.kind,
            "window": limit.window,
            "window_start": start.isoformat(),
            "window_end": None if limit.window == "lifetime" else end.isoformat(),
            "threshold_percent": crossing.threshold,
            **amount_fields("used", limit.kind, used),
            **amount_fields("limit", limit.kind, limit.amount),
            "forecast_at": forecast_at.isoformat() if forecast_at else None,
        }
        account_id, user_id = limit.account_id, limit.user_id
        await notify(
            executor, "limit.threshold_reached", data, account_id=account_id, user_id=user_id, alert_id=alert_id
        )
    return 1


async def list_alerts(
    pool: "Pool",
    actor: Actor,
    *,
    everybody: bool = False,
    acknowledged: bool | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> Page[Alert]:
    """Newest first: the actor's own alerts, or with `everybody` those of all accounts, for admins."""
    if everybody:
        require_reader(actor)
    check_limit(limit)
    before = parse_id_cursor(cursor, first=MAX_ID)
    if not everybody and actor.user_id is None:
        return Page([], None)
    user_id = None if everybody else actor.user_id
    async with pool.acquire() as connection:
        found = await rows.list_alerts(
            connection, before_id=before, limit=limit + 1, acknowledged=acknowledged, user_id=user_id
        )
    return page(found, limit, lambda row: row.id)


async def acknowledge_alert(pool: "Pool", actor: Actor, alert_id: int) -> Alert:
    """Marks an alert as seen. Repeating it has no effect. Raises GatewayError `not_found`, also for alerts that the
    actor may not see."""
    is_admin = actor.role == "admin"
    if not is_admin and (actor.user_id is None or actor.role != "user"):
        raise GatewayError("forbidden", "This is for admins and for the users the alert concerns.")
    async with pool.acquire() as connection, connection.transaction():
        user_id = None if is_admin else actor.user_id
        if await _find(connection, alert_id, user_id) is None:
            raise GatewayError("not_found", f"There is no alert {alert_id}.")
        if await rows.acknowledge(connection, alert_id, actor.name):
            await note(connection, actor, "alert.acknowledge", "alert", alert_id)
        alert = await _find(connection, alert_id, user_id)
    if alert is None:
        raise RuntimeError("an alert is never deleted")
    return alert


async def _find(executor: "Executor", alert_id: int, user_id: int | None) -> Alert | None:
    before = min(alert_id, MAX_ID - 1) + 1
    found = await rows.list_alerts(executor, before_id=before, limit=1, acknowledged=None, user_id=user_id)
    return found[0] if found and found[0].id == alert_id else None
