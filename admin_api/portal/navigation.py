"""The whole navigation as one table, so that no page can disagree with another about where it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from admin_api.operations.actors import Actor
from admin_api.portal.texts import marked

READERS: Final = ("admin", "admin-readonly")


@dataclass(frozen=True, slots=True)
class Entry:
    """A page in the navigation: its path, its text (a message of the catalogue) and its icon."""

    path: str
    text: str
    icon: str


@dataclass(frozen=True, slots=True)
class Section:
    """Entries that stand together; without a title the first ones do. Those of admins are for who only reads, too."""

    title: str | None
    entries: Sequence[Entry]
    is_of_admins: bool = True


NAVIGATION: Final = (
    Section(
        None,
        (
            Entry("/home", marked("Home"), "home"),
            Entry("/models", marked("Models"), "models"),
            Entry("/subscriptions", marked("Subscriptions"), "subscriptions"),
            Entry("/api-keys", marked("API keys"), "keys"),
            Entry("/playground", marked("Playground"), "playground"),
            Entry("/limits", marked("Limits"), "limits"),
            Entry("/teams", marked("Teams"), "teams"),
            Entry("/usage", marked("Usage"), "usage"),
            Entry("/refusals", marked("Refusals"), "help"),
            Entry("/settings", marked("Settings"), "settings"),
        ),
        is_of_admins=False,
    ),
    # What an admin decides, what they watch, and what they set up.
    Section(
        marked("Administration"),
        (
            Entry("/admin", marked("Overview"), "admin"),
            Entry("/admin/requests", marked("Requests"), "requests"),
            Entry("/admin/users", marked("Users"), "teams"),
            Entry("/admin/teams", marked("All teams"), "teams"),
            Entry("/admin/limits", marked("All limits"), "limits"),
            Entry("/admin/models", marked("Models and prices"), "models"),
        ),
    ),
    Section(
        marked("Observation"),
        (
            Entry("/admin/usage", marked("Usage of all"), "usage"),
            Entry("/admin/refusals", marked("Refusals of all"), "help"),
            Entry("/admin/alerts", marked("Alerts"), "alerts"),
            Entry("/admin/audit", marked("Audit log"), "audit"),
            Entry("/admin/lookup", marked("Look up an id"), "search"),
        ),
    ),
    Section(
        marked("Set-up"),
        (
            Entry("/admin/webhooks", marked("Webhooks"), "external"),
            Entry("/admin/settings", marked("Settings of the system"), "settings"),
        ),
    ),
)
PATHS: Final = tuple(entry.path for section in NAVIGATION for entry in section.entries)


def sections_for(actor: Actor) -> list[Section]:
    """Those that this person may open."""
    return [section for section in NAVIGATION if actor.role in READERS or not section.is_of_admins]


def is_current(entry_path: str, path: str) -> bool:
    """Whether the page at this path stands below the entry's, and below no other that is nearer to it."""
    above = [one for one in {*PATHS, entry_path} if path == one or path.startswith(f"{one}/")]
    return bool(above) and entry_path == max(above, key=len)
