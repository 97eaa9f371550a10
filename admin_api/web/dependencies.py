"""What every route takes: who asks, the pool, the page, and what it may answer."""

from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, model_validator

from admin_api.operations.actors import Actor, require_admin, require_reader
from admin_api.operations.models.sync import LiteLLM
from admin_api.operations.pagination import MAX_ID, MAX_ROWS
from admin_api.settings import Settings
from admin_api.web.authenticate import authenticate
from admin_api.web.envelope import ErrorView
from gateway.domain.errors import GatewayError
from gateway.storage.counters.scripts import Counters

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": ErrorView, "description": "No valid JSON, or a login that can not go on"},
    401: {"model": ErrorView, "description": "No login, or a wrong one"},
    403: {"model": ErrorView, "description": "Not for this caller"},
    404: {"model": ErrorView, "description": "There is no such thing"},
    409: {"model": ErrorView, "description": "Its state does not allow it; the message says what would"},
    413: {"model": ErrorView, "description": "The body is too large"},
    422: {"model": ErrorView, "description": "Wrong fields, named in details.fields"},
    429: {"model": ErrorView, "description": "Too many calls a minute; Retry-After tells when the next may come"},
    500: {"model": ErrorView, "description": "A mistake of ours"},
    503: {"model": ErrorView, "description": "The database or LiteLLM does not answer"},
}

# More than any body of ours has.
MAX_FIELDS: Final = 200


def bound_fields(value: Any) -> Any:
    """Each field that nobody knows is an error of its own, and a body has room for a hundred thousand: seconds in which
    nobody else is answered."""
    if isinstance(value, dict) and len(value) > MAX_FIELDS:
        raise ValueError(f"{MAX_FIELDS} fields at most")
    return value


class Body(BaseModel):
    """A request's body: a field nobody knows is an error, not silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    _bound_fields = model_validator(mode="before")(bound_fields)


async def allow_admin(actor: Annotated[Actor, Depends(authenticate)]) -> Actor:
    """For routes that change everybody's things. Raises GatewayError `forbidden`."""
    require_admin(actor)
    return actor


async def allow_reader(actor: Annotated[Actor, Depends(authenticate)]) -> Actor:
    """For routes that look at everybody's things. Raises GatewayError `forbidden`."""
    require_reader(actor)
    return actor


def pool_of(request: Request) -> "Pool":
    """The app's pool."""
    pool: Pool = request.app.state.pool
    return pool


def counters_of(request: Request) -> Counters:
    """The counters; raises GatewayError `limits_unavailable` where there is no Redis."""
    counters: Counters | None = request.app.state.counters
    if counters is None or not counters.is_connected:
        raise GatewayError("limits_unavailable", "Redis does not answer, so limits can not be looked at. Try again.")
    return counters


def litellm_of(request: Request) -> LiteLLM:
    """Where LiteLLM is, with what is known of its addresses."""
    litellm: LiteLLM = request.app.state.litellm
    return litellm


def settings_of(request: Request) -> Settings:
    """The app's settings."""
    settings: Settings = request.app.state.settings
    return settings


# Who may come in at all; what he may do to which row is judged by the operation.
LoggedIn = Annotated[Actor, Depends(authenticate)]
Reader = Annotated[Actor, Depends(allow_reader)]
Admin = Annotated[Actor, Depends(allow_admin)]
AppPool = Annotated[Any, Depends(pool_of)]
AppCounters = Annotated[Counters, Depends(counters_of)]
AppLiteLLM = Annotated[LiteLLM, Depends(litellm_of)]
AppSettings = Annotated[Settings, Depends(settings_of)]
ID = Annotated[int, Path(ge=1, le=MAX_ID)]
PageSize = Annotated[int, Query(ge=1, le=MAX_ROWS, description="Most rows in one page")]
Cursor = Annotated[str | None, Query(max_length=64, description="next_cursor of the page before")]
UserQuery = Annotated[str | None, Query(max_length=254, description="E-mail address or id of a user")]
TeamQuery = Annotated[str | None, Query(max_length=254, description="Name or id of a team")]
ModelQuery = Annotated[str | None, Query(max_length=255, description="Name of a model")]
