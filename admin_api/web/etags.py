"""Versions of what is shown or changed: the ETag of an answer, and If-Match of a request."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from admin_api.operations.preconditions import version_of

HEADER: Final = "if-match"


def if_match(request: Request) -> str | None:
    """The header's value; None without one. Several lines are one list (RFC 9110, 5.3)."""
    values = request.headers.getlist(HEADER)
    return ", ".join(values) if values else None


def tag(response: Response, *parts: object) -> None:
    """Gives the answer the ETag of what is shown from these rows."""
    response.headers["etag"] = version_of(*parts)
