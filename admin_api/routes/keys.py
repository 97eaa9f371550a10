"""`/api/v1/api-keys`."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from admin_api.operations.keys import changes, keys, live_use
from admin_api.operations.limits.parsing import parse_usd
from admin_api.operations.validation import invalid
from admin_api.routes.dependencies import (
    ID,
    AppPool,
    AppSettings,
    AsOf,
    Body,
    Cursor,
    LoggedIn,
    Moment,
    PageSize,
    TeamQuery,
    UserQuery,
)
from admin_api.routes.responses import CHANGED, ERRORS, TAGGED
from admin_api.schemas.keys import CreatedKeyView, KeyUseView, KeyView, NewKeyView
from admin_api.schemas.shapes import PageView
from admin_api.storage.api_keys import APIKey
from admin_api.web.etags import tag
from gateway.domain.limits import MAX_AMOUNT

router = APIRouter(prefix="/api/v1/api-keys", tags=["keys"], responses=ERRORS)
Amount = Annotated[int | None, Field(ge=0, le=MAX_AMOUNT, description="A limit of the key; null: unlimited")]


class NewKey(Body):
    """A user's key, a team's service key, or, with both, a member's key in the team."""

    models: Annotated[list[Annotated[str, Field(max_length=255)]], Field(min_length=1, max_length=1000)]
    user: Annotated[str | None, Field(max_length=254, description="E-mail address or id")] = None
    team: Annotated[str | None, Field(max_length=254, description="Name or id")] = None
    name: Annotated[str, Field(max_length=200)] = ""
    allowed_ips: Annotated[list[Annotated[str, Field(max_length=64)]], Field(default_factory=list, max_length=100)]
    expires_at: Moment | None = None
    rpm: Amount = None
    tpm: Amount = None
    concurrency: Amount = None
    monthly_cost_nano_usd: Amount = None
    monthly_cost_usd: Annotated[str | None, Field(max_length=64, description="For example 25.00")] = None

    def monthly_cost(self) -> int | None:
        """In nano-USD."""
        if self.monthly_cost_usd is None:
            return self.monthly_cost_nano_usd
        if self.monthly_cost_nano_usd is not None:
            raise invalid("monthly_cost_usd", "Give monthly_cost_usd or monthly_cost_nano_usd, not both.")
        return parse_usd("monthly_cost_usd", self.monthly_cost_usd)


class KeyChange(Body):
    """Fields left out stay unchanged. `expires_at` null: never, if the ceiling allows it. No models: no access."""

    name: Annotated[str | None, Field(max_length=200)] = None
    models: Annotated[list[Annotated[str, Field(max_length=255)]] | None, Field(max_length=1000)] = None
    allowed_ips: Annotated[list[Annotated[str, Field(max_length=64)]] | None, Field(max_length=100)] = None
    expires_at: Moment | None = None


class Rotation(Body):
    """How long the old key stays valid."""

    grace_s: Annotated[int, Field(ge=0, le=changes.MAX_GRACE_S, description="Seconds; 0 ends the old key at once")] = (
        changes.DEFAULT_GRACE_S
    )


@router.get("")
async def list_keys(
    actor: LoggedIn,
    pool: AppPool,
    user: UserQuery = None,
    team: TeamQuery = None,
    archived: Annotated[bool, Query(description="Archived ones too")] = False,
    last_used_before: Annotated[
        Moment | None,
        Query(description="Not used since, or if never, created before: those not revoked, the longest unused first"),
    ] = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
) -> PageView[KeyView]:
    """By id, revoked ones too, without the secrets. Your own and those of teams you own; for admins, all."""
    page = await keys.list_keys(
        pool,
        actor,
        user=user,
        team=team,
        archived=archived,
        last_used_before=last_used_before,
        limit=limit,
        cursor=cursor,
    )
    return PageView[KeyView].model_validate(page)


@router.get("/use-of-today")
async def list_key_uses(
    actor: LoggedIn,
    pool: AppPool,
    user: UserQuery = None,
    team: TeamQuery = None,
    archived: Annotated[bool, Query(description="Archived ones too")] = False,
    time_zone: Annotated[str, Query(max_length=64, description="IANA name, of the day that today is")] = "UTC",
    limit: PageSize = 100,
    cursor: Cursor = None,
) -> PageView[KeyUseView]:
    """The same keys as the list, by id, each with what it is used today; the use of limits is in their state."""
    page = await live_use.list_key_uses(
        pool, actor, user=user, team=team, archived=archived, time_zone=time_zone, limit=limit, cursor=cursor
    )
    return PageView[KeyUseView].of(page, KeyUseView.of_use)


@router.post("", status_code=201)
async def create_key(actor: LoggedIn, pool: AppPool, settings: AppSettings, body: NewKey) -> CreatedKeyView:
    """Creates a key and shows it, this once: your own, unless a team or, by an admin, a user is named."""
    input_ = keys.KeyInput(
        models=body.models,
        user=body.user,
        team=body.team,
        name=body.name,
        allowed_ips=body.allowed_ips,
        expires_at=body.expires_at,
        rpm=body.rpm,
        tpm=body.tpm,
        concurrency=body.concurrency,
        monthly_cost_nano_usd=body.monthly_cost(),
    )
    return CreatedKeyView.of(await keys.create_key(pool, actor, settings.peppers, input_))


@router.get("/{key_id:int}", responses=TAGGED)
async def show_key(actor: LoggedIn, pool: AppPool, response: Response, key_id: ID) -> KeyView:
    """One key, without the secret."""
    return tagged(response, await keys.find_key(pool, actor, key_id))


@router.patch("/{key_id:int}", responses=TAGGED | CHANGED)
async def update_key(
    actor: LoggedIn, pool: AppPool, response: Response, key_id: ID, body: KeyChange, as_of: AsOf
) -> KeyView:
    """Changes the fields that are given. 409 for a key that has ended."""
    change = changes.KeyChange(
        name=body.name,
        models=body.models,
        allowed_ips=body.allowed_ips,
        expires_at=body.expires_at,
        never_expires=body.expires_at is None and "expires_at" in body.model_fields_set,
    )
    return tagged(response, await changes.update_key(pool, actor, key_id, change, as_of=as_of))


@router.post("/{key_id}/rotate", responses=CHANGED)
async def rotate_key(
    actor: LoggedIn, pool: AppPool, settings: AppSettings, key_id: ID, as_of: AsOf, body: Rotation | None = None
) -> NewKeyView:
    """Replaces the key with a new one, shown this once; limits and counters stay. Both are valid for `grace_s`."""
    grace_s = (body or Rotation()).grace_s
    made = await changes.rotate_key(pool, actor, settings.peppers, key_id, grace_s=grace_s, as_of=as_of)
    return NewKeyView.of(made)


@router.post("/{key_id}/archive", responses=CHANGED)
async def archive_key(actor: LoggedIn, pool: AppPool, key_id: ID, as_of: AsOf) -> KeyView:
    """Hides a key that has ended from the lists."""
    return KeyView.model_validate(await changes.archive_key(pool, actor, key_id, as_of=as_of))


@router.post("/{key_id}/unarchive", responses=CHANGED)
async def unarchive_key(actor: LoggedIn, pool: AppPool, key_id: ID, as_of: AsOf) -> KeyView:
    """Shows the key in the lists again; it stays ended."""
    return KeyView.model_validate(await changes.archive_key(pool, actor, key_id, archived=False, as_of=as_of))


@router.delete("/{key_id:int}", responses=TAGGED | CHANGED)
async def revoke_key(actor: LoggedIn, pool: AppPool, response: Response, key_id: ID, as_of: AsOf) -> KeyView:
    """Ends a key for good, within a second. Doing it again changes nothing."""
    return tagged(response, await keys.revoke_key(pool, actor, key_id, as_of=as_of))


def tagged(response: Response, row: APIKey) -> KeyView:
    """The view of a key; sets the ETag of the answer."""
    tag(response, row)
    return KeyView.model_validate(row)
