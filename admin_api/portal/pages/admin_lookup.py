"""Leads from an id, which a user has sent or a log has, to the call, the refusal or the change that it belongs to."""

from collections.abc import Mapping
from typing import Final

from admin_api.operations.actors import require_reader
from admin_api.operations.usage.lookups import look_up
from admin_api.portal.forms import NONE, refusal_of
from admin_api.portal.rendering import Page, Redirect
from admin_api.portal.texts import marked
from admin_api.portal.visits import Visit
from admin_api.storage.usage.lookups import Match, MatchKind
from gateway.domain.errors import GatewayError

PATHS: Final[Mapping[MatchKind, str]] = {
    "call": "/usage/calls/{}",
    "refusal": "/refusals/{}",
    "change": "/admin/audit?request_id={}",
}
KINDS: Final[Mapping[MatchKind, str]] = {
    "call": marked("Call"),
    "refusal": marked("Refused call"),
    "change": marked("Change"),
}


async def show(visit: Visit) -> Page | Redirect:
    """The form; one match is opened at once, several are listed."""
    require_reader(visit.actor)
    wanted, refused = visit.query("id"), NONE
    found: list[Match] = []
    try:
        found = list(await look_up(visit.pool, visit.actor, wanted)) if wanted else []
    except GatewayError as error:
        refused = refusal_of(visit, error, "id")
    if len(found) == 1:
        return Redirect(path_of(found[0]))
    context = {
        "wanted": wanted or "",
        "rows": [(one, visit.messages.gettext(KINDS[one.kind]), path_of(one)) for one in found],
        "refused": refused,
    }
    return Page("admin_lookup.html", visit.messages.gettext("Look up an id"), context, refused.status)


def path_of(match: Match) -> str:
    """The page that shows it."""
    return PATHS[match.kind].format(match.request_id)
