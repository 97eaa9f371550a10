"""Alerts of all accounts: windows whose use has reached a threshold of their limit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from admin_api.operations.notifications import alerts
from admin_api.operations.runtime_settings import show_settings
from admin_api.operations.validation import check_word
from admin_api.portal.flashes import Flash
from admin_api.portal.limit_texts import amount_of, name_of, target_of_alert
from admin_api.portal.rendering import Page, Redirect
from admin_api.portal.texts import marked
from admin_api.portal.visits import Visit
from admin_api.portal.word_texts import choices
from admin_api.storage.alerts import Alert

PAGE_ROWS: Final = 50
SEEN: Final[Mapping[str, str]] = {"no": marked("Not seen yet"), "yes": marked("Seen"), "all": marked("All")}


@dataclass(frozen=True, slots=True)
class Row:
    """An alert, in the person's language."""

    alert: Alert
    account: str
    name: str
    target: str
    used: str
    amount: str


async def show_list(visit: Visit) -> Page:
    """Those that nobody has seen yet, or all."""
    seen = check_word("seen", visit.query("seen") or "no", tuple(SEEN))
    settings = await show_settings(visit.pool, visit.actor)
    acknowledged = {"no": False, "yes": True}.get(seen)
    page = await alerts.list_alerts(
        visit.pool,
        visit.actor,
        everybody=True,
        acknowledged=acknowledged,
        limit=PAGE_ROWS,
        cursor=visit.query("cursor"),
    )
    context = {
        "rows": [_row(visit, alert) for alert in page.rows],
        "seen": seen,
        "choices": choices(visit, SEEN),
        "thresholds": ", ".join(visit.formats.percent(one / 100) for one in settings.alert_thresholds),
        **visit.paging(page.next_cursor),
        "may_change": visit.actor.role == "admin",
    }
    return Page("admin_alerts.html", visit.messages.gettext("Alerts"), context)


async def acknowledge(visit: Visit) -> Redirect:
    """As seen, for everybody."""
    await alerts.acknowledge_alert(visit.pool, visit.actor, visit.request.path_params["id"])
    return Redirect("/admin/alerts", Flash("success", visit.messages.gettext("Marked as seen.")))


def _row(visit: Visit, alert: Alert) -> Row:
    return Row(
        alert=alert,
        account=str(alert.about.get("account") or "–"),
        name=name_of(visit, alert.kind, alert.window),
        target=target_of_alert(visit, alert),
        used=amount_of(visit, alert.kind, alert.used),
        amount=amount_of(visit, alert.kind, alert.amount),
    )
