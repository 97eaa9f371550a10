"""The cookies that browsers keep for us: their names and attributes."""

from typing import TYPE_CHECKING, Literal

from starlette.requests import Request
from starlette.responses import Response

if TYPE_CHECKING:
    from admin_api.settings import Settings

# session: who is logged in; login: a login under way; csrf: the token of forms before the login; flash: a message for
# the next page; theme: of this browser.
Cookie = Literal["session", "login", "csrf", "flash", "theme"]


def cookie_name(settings: "Settings", cookie: Cookie) -> str:
    """With `__Host-` no other host of the domain can set it (RFC 6265bis, section 4.1.3.2); browsers take it by HTTPS
    only."""
    return f"__Host-litemaas_{cookie}" if settings.is_secure else f"litemaas_{cookie}"


def read_cookie(request: Request, cookie: Cookie) -> str:
    """Its value; empty without one."""
    return request.cookies.get(cookie_name(request.app.state.settings, cookie), "")


def set_cookie(answer: Response, settings: "Settings", cookie: Cookie, value: str, *, max_age: int) -> None:
    """For so many seconds; 0 removes it. No script reads it. Lax, not Strict: people come from the identity provider,
    and by links in e-mails."""
    name = cookie_name(settings, cookie)
    answer.set_cookie(name, value, max_age=max_age, path="/", secure=settings.is_secure, httponly=True, samesite="lax")
