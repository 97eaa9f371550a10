"""How the state of a subscription is named and coloured."""

from collections.abc import Mapping
from typing import Final

from admin_api.portal.texts import marked
from admin_api.portal.visits import Visit
from gateway.domain.subscriptions import Action, Status

# None is grey.
STATES: Final[Mapping[Status, tuple[str, str | None]]] = {
    "active": (marked("active"), "green"),
    "pending": (marked("waits for approval"), "orange"),
    "denied": (marked("denied"), "red"),
    "suspended": (marked("suspended"), "red"),
    "cancelled": (marked("cancelled"), None),
    "expired": (marked("expired"), None),
}

# What can be done with one, on buttons. `expire` is the program's.
MOVES: Final[Mapping[Action, str]] = {
    "approve": marked("Approve"),
    "deny": marked("Deny"),
    "request_review": marked("Ask for another look"),
    "suspend": marked("Suspend"),
    "reactivate": marked("Reactivate"),
    "cancel": marked("Cancel"),
    "renew": marked("Renew"),
}


def text_of(visit: Visit, status: Status) -> str:
    """In the person's language; one of the history that this version does not know is as it is."""
    return visit.messages.gettext(STATES.get(status, (status, None))[0])


def colour_of(status: Status) -> str | None:
    """Of PatternFly's label."""
    return STATES.get(status, (status, None))[1]
