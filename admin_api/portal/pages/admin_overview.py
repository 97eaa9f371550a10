"""The first page of an admin: what waits for them, what is used now, and whether everything answers."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from admin_api.operations.limits.shares import PER_MILLE
from admin_api.operations.maintenance.measurements import TeamUse
from admin_api.operations.maintenance.system import SystemState, show_system
from admin_api.portal.limit_texts import colour_of, name_of
from admin_api.portal.rendering import Page
from admin_api.portal.texts import marked
from admin_api.portal.visits import Visit

CHANNELS: Final = {"webhook": marked("Webhooks"), "email": marked("E-mails")}


@dataclass(frozen=True, slots=True)
class Item:
    """Something that waits: how many, what, and the page where it is dealt with."""

    count: int
    text: str
    path: str


async def show(visit: Visit) -> Page:
    """Figures are those of the person's day."""
    app = visit.request.app.state
    state = await show_system(visit.pool, visit.actor, app.litellm, app.counters, time_zone=visit.formats.zone)
    context = {
        "state": state,
        "waiting": [item for item in _items(visit, state) if item.count],
        "teams": [_team(visit, use) for use in state.tightest],
        "channels": [(visit.messages.gettext(CHANNELS.get(one.channel, one.channel)), one) for one in state.deliveries],
    }
    return Page("admin_overview.html", visit.messages.gettext("Overview"), context)


def _items(visit: Visit, state: SystemState) -> list[Item]:
    ngettext, waiting = visit.messages.ngettext, state.waiting
    failed = sum(one.failed for one in state.deliveries)
    return [
        Item(
            waiting.requests,
            ngettext("subscription waits for approval", "subscriptions wait for approval", waiting.requests),
            "/admin/requests",
        ),
        Item(
            waiting.limit_requests,
            ngettext("request for more of a limit", "requests for more of a limit", waiting.limit_requests),
            "/admin/requests/limits",
        ),
        Item(
            waiting.join_requests,
            ngettext("request to join a team", "requests to join a team", waiting.join_requests),
            "/admin/teams",
        ),
        Item(
            waiting.unseen_alerts,
            ngettext("alert that nobody has seen", "alerts that nobody has seen", waiting.unseen_alerts),
            "/admin/alerts",
        ),
        Item(
            waiting.hidden_models,
            ngettext("model that users do not see", "models that users do not see", waiting.hidden_models),
            "/admin/models?state=hidden",
        ),
        Item(
            waiting.unpriced_models,
            ngettext("model without a price", "models without a price", waiting.unpriced_models),
            "/admin/models?state=unpriced",
        ),
        Item(
            failed,
            ngettext("message that was given up", "messages that were given up", failed),
            "/admin/webhooks/deliveries?status=failed",
        ),
    ]


def _team(visit: Visit, use: TeamUse) -> tuple[str, str, str, str, str]:
    """Name, limit, share, its colour, and the page of usage."""
    what = name_of(visit, use.kind, use.window)
    colour = colour_of(int(use.share * PER_MILLE))
    return use.team, what, visit.formats.percent(use.share), colour, f"/admin/usage?team={quote(str(use.account_id))}"
