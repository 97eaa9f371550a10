"""What routes that show or change one thing say of its version: the ETag of the answer, and If-Match."""

from typing import Annotated, Any, Final

from fastapi import Depends, Header, Request, Response

from admin_api.operations.preconditions import version_of
from admin_api.web.envelope import ErrorView

HEADER: Final = "if-match"
MAX_CHARACTERS: Final = 1000
# Of routes that show one thing.
TAGGED: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "headers": {
            "ETag": {"description": "Its version, for If-Match", "schema": {"type": "string"}, "required": True}
        }
    }
}
# Of moves, which are POSTs.
MOVED: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "headers": {
            "ETag": {
                "description": "Its version; not if this is an earlier answer, given again for its Idempotency-Key",
                "schema": {"type": "string"},
            }
        }
    }
}
# Of routes that take If-Match.
CHANGED: Final[dict[int | str, dict[str, Any]]] = {
    412: {"model": ErrorView, "description": "It is not what If-Match names any more"},
}


async def as_of(
    request: Request,
    if_match: Annotated[
        str | None,
        Header(max_length=MAX_CHARACTERS, description="ETag of the thing as you read it, or *; none: as it is"),
    ] = None,
) -> str | None:
    """If-Match; of several lines of it, all (RFC 9110, 5.3)."""
    return None if if_match is None else ", ".join(request.headers.getlist(HEADER))


AsOf = Annotated[str | None, Depends(as_of)]


def tag(response: Response, *parts: object) -> None:
    """Gives the answer the ETag of what is shown from these rows."""
    response.headers["etag"] = version_of(*parts)
