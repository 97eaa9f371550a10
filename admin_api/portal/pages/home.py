"""The start page: one's limits, what was spent, what waits, what to do first, and a call to copy."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from admin_api.operations import subscriptions
from admin_api.operations.keys import keys
from admin_api.operations.limits import requests
from admin_api.operations.limits.uses import LimitUse, list_own_uses
from admin_api.operations.models import models
from admin_api.operations.notifications import alerts
from admin_api.operations.people import invitations, join_requests
from admin_api.operations.usage.pace import cost_at_this_rate
from admin_api.operations.usage.reports import summarize
from admin_api.operations.usage.scope import UsageFilter
from admin_api.portal.form_values import ids_of
from admin_api.portal.limit_lines import lines_of, read_or_none
from admin_api.portal.limit_texts import amount_of, name_of, share_of, target_of_alert
from admin_api.portal.pages.limits import request_line
from admin_api.portal.rendering import Page, Redirect
from admin_api.portal.snippets import CLIENTS, snippet_of
from admin_api.portal.visits import Visit
from admin_api.storage.alerts import Alert
from admin_api.storage.models import Model

# At a glance; the others are on a page of their own.
GLANCE: Final = 6
MAX_ALERTS: Final = 12
MAX_NEW: Final = 5
NEW_FOR: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Step:
    """Something a new user does; `is_done` ticks it."""

    text: str
    path: str
    is_done: bool


@dataclass(frozen=True, slots=True)
class AlertLine:
    """The highest threshold of a limit that was reached in its window, in a sentence; `lower` are ids of the others."""

    id: int
    lower: tuple[int, ...]
    text: str
    forecast_at: datetime | None


async def show(visit: Visit) -> Page:
    """Of the person, in all their accounts; money is of their personal one."""
    mine = str(visit.user.id)
    uses = await read_or_none(visit, lambda counters: list_own_uses(visit.pool, counters, visit.actor))
    pending = await subscriptions.list_subscriptions(visit.pool, visit.actor, user=mine, status="pending", limit=20)
    asked = await requests.list_own_requests(visit.pool, visit.actor, status="pending", limit=20)
    joining = await join_requests.list_own(visit.pool, visit.actor)
    invited = await invitations.list_own(visit.pool, visit.actor)
    context: dict[str, Any] = {
        "limits": None if uses is None else lines_of(visit, uses[:GLANCE]),
        "more_limits": max(0, len(uses or ()) - GLANCE),
        "budget": _budget(visit, uses),
        "pending": pending.rows,
        "invitations": invited.rows,
        "asked": [request_line(visit, one) for one in asked.rows],
        "joining": joining.rows,
        "alerts": await _alerts(visit),
        "new_models": await _new_models(visit),
    }
    return Page("home.html", visit.messages.gettext("Home"), context | await _spent(visit) | await _first_steps(visit))


async def acknowledge(visit: Visit) -> Redirect:
    """Takes an alert from the page, with those of lower thresholds that it stands for."""
    for alert_id in (visit.request.path_params["id"], *ids_of(visit, "lower")[:MAX_ALERTS]):
        await alerts.acknowledge_alert(visit.pool, visit.actor, alert_id)
    return Redirect("/home")


async def _new_models(visit: Visit) -> list[Model]:
    """That are offered since a short time, the newest first."""
    page = await models.list_models(visit.pool, visit.actor, sort="newest", limit=MAX_NEW)
    since = datetime.now(UTC) - NEW_FOR
    found = [one.model for one in page.rows if one.model.created_at > since]
    return [model for model in found if model.status == "available" and not model.hidden]


async def _spent(visit: Visit) -> dict[str, Any]:
    query = UsageFilter(user=str(visit.user.id), period="this-month")
    summary = await summarize(visit.pool, visit.actor, query, store=visit.usage_store)
    now = datetime.now(UTC)
    pace = cost_at_this_rate(summary.sums.cost_nano_usd, since=summary.since, until=summary.until, now=now)
    return {"sums": summary.sums, "pace": pace}


async def _first_steps(visit: Visit) -> dict[str, Any]:
    _ = visit.messages.gettext
    mine = str(visit.user.id)
    active = await subscriptions.list_subscriptions(visit.pool, visit.actor, user=mine, status="active", limit=1)
    own_keys = await keys.list_keys(visit.pool, visit.actor, user=mine, limit=100)
    steps = [
        Step(_("Subscribe to a model"), "/models", bool(active.rows)),
        Step(_("Create an API key"), "/api-keys", bool(own_keys.rows)),
        Step(_("Make the first call"), "#snippet", any(key.last_used_at for key in own_keys.rows)),
    ]
    codes = []
    if active.rows:
        model = await models.find_model(visit.pool, visit.actor, active.rows[0].model_name)
        snippet = snippet_of(visit, model.model.name, model.model.mode)
        codes = [(client, name, snippet.of(client)) for client, name in CLIENTS.items()]
    return {"steps": steps, "snippets": codes}


def _budget(visit: Visit, uses: Iterable[LimitUse] | None) -> str:
    """What the person may spend in a month in their personal account."""
    for use in uses or ():
        row = use.row
        if (row.level, row.kind, row.window, row.account_kind, row.shadow) == (
            "user",
            "cost",
            "month",
            "personal",
            False,
        ):
            return amount_of(visit, row.kind, row.amount)
    return amount_of(visit, "cost", None)


async def _alerts(visit: Visit) -> list[AlertLine]:
    page = await alerts.list_alerts(visit.pool, visit.actor, acknowledged=False, limit=MAX_ALERTS)
    by_window: dict[object, list[Alert]] = {}
    for one in page.rows:
        if one.cleared_at is None:
            window = (one.account_id, one.user_id, one.level, one.kind, one.window_start, str(one.about))
            by_window.setdefault(window, []).append(one)
    return [_alert_line(visit, reached) for reached in by_window.values()]


def _alert_line(visit: Visit, reached: Sequence[Alert]) -> AlertLine:
    lower = sorted(reached, key=lambda one: one.threshold)
    highest = lower.pop()
    return AlertLine(highest.id, tuple(one.id for one in lower), _alert_text(visit, highest), highest.forecast_at)


def _alert_text(visit: Visit, alert: Alert) -> str:
    return visit.messages.gettext("%(share)s of a limit reached: %(name)s, %(target)s (%(used)s of %(amount)s)") % {
        "share": share_of(visit, alert.threshold * 10),
        "name": name_of(visit, alert.kind, alert.window),
        "target": target_of_alert(visit, alert),
        "used": amount_of(visit, alert.kind, alert.used),
        "amount": amount_of(visit, alert.kind, alert.amount),
    }
