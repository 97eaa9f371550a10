"""How words of the API that people read on pages are named: roles, states, kinds and windows of limits, events."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from admin_api.operations.notifications.events import TEST, Event
from admin_api.portal.texts import marked
from admin_api.portal.visits import Visit
from admin_api.storage.delivery_reports import Status as DeliveryStatus
from admin_api.storage.users import UserStatus
from admin_api.storage.webhooks import Format
from gateway.domain.limits import Kind, Level
from gateway.domain.roles import Role, TeamRole
from gateway.domain.windows import WindowKind

ROLES: Final[Mapping[Role, str]] = {
    "user": marked("user"),
    "admin": marked("admin"),
    "admin-readonly": marked("admin who only reads"),
}
TEAM_ROLES: Final[Mapping[TeamRole, str]] = {"owner": marked("owner"), "member": marked("member")}
USER_STATUSES: Final[Mapping[UserStatus, str]] = {"active": marked("active"), "deactivated": marked("suspended")}
KINDS: Final[Mapping[Kind, str]] = {
    "cost": marked("cost in US dollars"),
    "requests": marked("requests"),
    "tokens": marked("tokens"),
    "rpm": marked("requests a minute"),
    "tpm": marked("tokens a minute"),
    "concurrency": marked("requests at the same time"),
}
WINDOWS: Final[Mapping[WindowKind, str]] = {
    "day": marked("a day"),
    "week": marked("a week"),
    "month": marked("a month"),
    "year": marked("a year"),
    "lifetime": marked("in all"),
}
LEVELS: Final[Mapping[Level, str]] = {
    "user": marked("all that the user uses"),
    "team": marked("all that the team uses"),
    "subscription": marked("a subscription"),
    "key": marked("a key"),
    "key_model": marked("a key and model"),
}
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
    "key.ending": marked("A key will end soon"),
    "key.ended": marked("A key has ended"),
    TEST: marked("Test message"),
}


def text_of(visit: Visit, words: Mapping[Any, str], word: str) -> str:
    """In the person's language; a word that has no text stands for itself."""
    return visit.messages.gettext(words[word]) if word in words else word


def choices(visit: Visit, words: Mapping[Any, str], first: Iterable[tuple[str, str]] = ()) -> list[tuple[str, str]]:
    """As options of a field: (value, text), after `first`."""
    return [*first, *((word, visit.messages.gettext(text)) for word, text in words.items())]
