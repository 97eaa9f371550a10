"""How words of the API that people read on pages are named: roles, states, formats, events."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from admin_api.operations.notifications.events import TEST, Event
from admin_api.operations.notifications.pending_requests import EVENT as PENDING
from admin_api.portal.texts import marked
from admin_api.portal.visits import Visit
from admin_api.storage.delivery_reports import Status as DeliveryStatus
from admin_api.storage.users import UserStatus
from admin_api.storage.webhooks import Format
from gateway.domain.roles import Role, TeamRole

ROLES: Final[Mapping[Role, str]] = {
    "user": marked("user"),
    "admin": marked("admin"),
    "admin-readonly": marked("admin who only reads"),
}
TEAM_ROLES: Final[Mapping[TeamRole, str]] = {"owner": marked("owner"), "member": marked("member")}
USER_STATUSES: Final[Mapping[UserStatus, str]] = {"active": marked("active"), "deactivated": marked("suspended")}
DELIVERY_STATUSES: Final[Mapping[DeliveryStatus, str]] = {
    "waiting": marked("waits"),
    "delivered": marked("delivered"),
    "failed": marked("failed"),
    "dropped": marked("out of date"),
}
FORMATS: Final[Mapping[Format, str]] = {
    "standard": marked("JSON (Standard Webhooks)"),
    "slack": marked("Slack"),
    "teams": marked("Microsoft Teams"),
}
EVENTS: Final[Mapping[Event | str, str]] = {
    "limit.threshold_reached": marked("A limit reaches a threshold"),
    "subscription.pending": marked("A subscription waits for approval"),
    "subscription.active": marked("A subscription becomes active"),
    "subscription.denied": marked("A subscription is denied"),
    "subscription.suspended": marked("A subscription is suspended"),
    "subscription.cancelled": marked("A subscription is cancelled"),
    "subscription.expired": marked("A subscription expires"),
    "team.invited": marked("Somebody is invited to a team"),
    "team.join_requested": marked("Somebody asks to join a team"),
    "team.join_decided": marked("A request to join a team is decided"),
    "limit.requested": marked("Somebody asks for more of a limit"),
    "limit.request_decided": marked("A request for more of a limit is decided"),
    "key.ending": marked("A key will end soon"),
    "key.ended": marked("A key has ended"),
    PENDING: marked("Requests wait for admins"),
    TEST: marked("Test message"),
}


def text_of(visit: Visit, words: Mapping[Any, str], word: str) -> str:
    """In the person's language; a word that has no text stands for itself."""
    return visit.messages.gettext(words[word]) if word in words else word


def choices(visit: Visit, words: Mapping[Any, str], first: Iterable[tuple[str, str]] = ()) -> list[tuple[str, str]]:
    """As options of a field: (value, text), after `first`."""
    return [*first, *((word, visit.messages.gettext(text)) for word, text in words.items())]
