"""Dependencies and parameters of the routes: FastAPI's side of `admin_api/web`."""

from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import Depends, Header, Path, Query, Request
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, model_validator

from admin_api.operations.actors import Actor, require_admin, require_reader
from admin_api.operations.models.sync import LiteLLM
from admin_api.operations.notifications.webhook_urls import WebhookURLRules
from admin_api.operations.pagination import MAX_ID, MAX_ROWS
from admin_api.settings import Settings
from admin_api.storage.clickhouse.link import ClickHouse
from admin_api.storage.usage.readers import UsageStore
from admin_api.web.authenticate import authenticate
from admin_api.web.counters import counters_of
from admin_api.web.etags import if_match
from gateway.domain.errors import GatewayError
from gateway.storage.counters.scripts import Counters

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

MAX_IF_MATCH: Final = 1000
_bearer = HTTPBearer(
    auto_error=False,
    description="A personal access token (lmp-…), a JWT of the identity provider, or LITEMAAS_ADMIN_TOKEN",
)
_cookie = APIKeyCookie(
    name="__Host-litemaas_session",
    auto_error=False,
    description="Set by a login at /api/auth/login. A request that changes something needs the header x-litemaas-csrf "
    "with any value",
)

# More than any body of this API has.
MAX_FIELDS: Final = 200


def bound_fields(value: Any) -> Any:
    """Bounds the work of validation: each unknown field is an error of its own, and a body has room for 100,000, which
    would hold the event loop for seconds. Raises ValueError."""
    if isinstance(value, dict) and len(value) > MAX_FIELDS:
        raise ValueError(f"{MAX_FIELDS} fields at most")
    return value


def _refuse_number(value: object) -> object:
    """Pydantic would take seconds since 1970 too, which the OpenAPI document does not allow."""
    is_digits = isinstance(value, str) and value.strip().lstrip("+-").replace(".", "", 1).isdigit()
    if is_digits or isinstance(value, int | float):
        raise ValueError("a time as 2027-01-31T00:00:00Z")
    return value


# A time with its zone, in a parameter or a body.
Moment = Annotated[AwareDatetime, BeforeValidator(_refuse_number)]


class Body(BaseModel):
    """A request's body: an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    _bound_fields = model_validator(mode="before")(bound_fields)


async def log_in(
    request: Request,
    _bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    _cookie: Annotated[str | None, Depends(_cookie)],
) -> Actor:
    """The caller; the two schemes are only declared, so that the OpenAPI document names them."""
    return await authenticate(request)


async def allow_admin(actor: Annotated[Actor, Depends(log_in)]) -> Actor:
    """For routes that change what belongs to anyone. Raises GatewayError `forbidden`."""
    require_admin(actor)
    return actor


async def allow_reader(actor: Annotated[Actor, Depends(log_in)]) -> Actor:
    """For routes that show what belongs to anyone. Raises GatewayError `forbidden`."""
    require_reader(actor)
    return actor


def pool_of(request: Request) -> "Pool":
    """The app's pool."""
    pool: Pool = request.app.state.pool
    return pool


def usage_store_of(request: Request) -> UsageStore:
    """What usage questions are answered from."""
    store: UsageStore = request.app.state.usage_store
    return store


def clickhouse_of(request: Request) -> ClickHouse:
    """Raises GatewayError `not_found` if there is none."""
    clickhouse: ClickHouse | None = request.app.state.clickhouse
    if clickhouse is None:
        raise GatewayError("not_found", "There is no ClickHouse: LITEMAAS_CLICKHOUSE_URL is not set.")
    return clickhouse


def litellm_of(request: Request) -> LiteLLM:
    """LiteLLM's addresses, and which of them answered."""
    litellm: LiteLLM = request.app.state.litellm
    return litellm


def settings_of(request: Request) -> Settings:
    """The app's settings."""
    settings: Settings = request.app.state.settings
    return settings


def webhook_rules_of(request: Request) -> WebhookURLRules:
    """Which addresses webhooks may have."""
    rules: WebhookURLRules = request.app.state.webhook_rules
    return rules


async def as_of(
    request: Request,
    _if_match: Annotated[
        str | None,
        Header(
            alias="if-match",
            max_length=MAX_IF_MATCH,
            description="ETag of the version you read, or *; without it, whatever version is there is changed",
        ),
    ] = None,
) -> str | None:
    """If-Match, for `operations.preconditions.check_version`."""
    return if_match(request)


# These say who may call the route; the operation decides which rows they may read or change.
LoggedIn = Annotated[Actor, Depends(log_in)]
Reader = Annotated[Actor, Depends(allow_reader)]
Admin = Annotated[Actor, Depends(allow_admin)]
AppPool = Annotated[Any, Depends(pool_of)]
AppUsageStore = Annotated[UsageStore, Depends(usage_store_of)]
AppClickHouse = Annotated[ClickHouse, Depends(clickhouse_of)]
AppCounters = Annotated[Counters, Depends(counters_of)]
AppLiteLLM = Annotated[LiteLLM, Depends(litellm_of)]
AppSettings = Annotated[Settings, Depends(settings_of)]
AppWebhookRules = Annotated[WebhookURLRules, Depends(webhook_rules_of)]
AsOf = Annotated[str | None, Depends(as_of)]
ID = Annotated[int, Path(ge=1, le=MAX_ID)]
UserPath = Annotated[str, Path(max_length=254, description="E-mail address or id")]
PageSize = Annotated[int, Query(ge=1, le=MAX_ROWS, description="Maximum rows of a page")]
Cursor = Annotated[str | None, Query(max_length=64, description="next_cursor of the previous page")]
UserQuery = Annotated[str | None, Query(max_length=254, description="E-mail address or id of a user")]
TeamQuery = Annotated[str | None, Query(max_length=254, description="Name or id of a team")]
ModelQuery = Annotated[str | None, Query(max_length=255, description="Name of a model")]
