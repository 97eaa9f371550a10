"""JSON of logins and sessions of browsers."""

from datetime import datetime
from typing import TYPE_CHECKING, Self

from admin_api.schemas.shapes import View
from admin_api.storage.sessions import Provider

if TYPE_CHECKING:
    from admin_api.storage.sessions import Session


class ProvidersView(View):
    """Identity providers that are set up; the first is the default."""

    providers: list[Provider]


class SessionView(View):
    """A session of a browser. `last_seen_at` is accurate to the minute."""

    id: int
    is_this_one: bool
    provider: Provider
    ip: str | None
    user_agent: str | None
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime

    @classmethod
    def of(cls, session: "Session", current: int | None) -> Self:
        """As seen from the session with the id `current`."""
        names = ("id", "provider", "ip", "user_agent", "created_at", "last_seen_at", "expires_at")
        return cls(**{name: getattr(session, name) for name in names}, is_this_one=session.id == current)


class SessionsView(View):
    """Open sessions, newest first."""

    rows: list[SessionView]


class EndedView(View):
    """How many sessions ended."""

    ended: int


class LogoutView(View):
    """`logout_url` is null if the provider has none."""

    logout_url: str | None
