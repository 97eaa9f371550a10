"""How the state of an API key is named and coloured."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from admin_api.portal.texts import marked
from admin_api.portal.visits import Visit
from admin_api.storage.api_keys import APIKey

# As `APIKey.status_at` names it. None is grey.
STATES: Final[Mapping[str, tuple[str, str | None]]] = {
    "active": (marked("active"), "green"),
    "revoked": (marked("revoked"), "red"),
    "expired": (marked("expired"), None),
    "archived": (marked("archived"), None),
}


def state_of(visit: Visit, key: APIKey) -> tuple[str, str | None]:
    """Text in the person's language, and colour."""
    text, colour = STATES[key.status_at(datetime.now(UTC))]
    return visit.messages.gettext(text), colour
