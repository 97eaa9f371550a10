"""`/api/v1/api-keys`"""

from typing import Annotated

from fastapi import APIRouter
from pydantic import AwareDatetime, Field

from admin_api.operations import keys
from admin_api.routes.requests import (
    ERRORS,
    ID,
    MOST_AMOUNT,
    Admin,
    AppPool,
    AppSettings,
    Body,
    Cursor,
    PageSize,
    TeamQuery,
    UserQuery,
)
from admin_api.views.keys import KeyView, NewKeyView
from admin_api.views.shapes import PageView

router = APIRouter(prefix="/api/v1/api-keys", tags=["keys"], responses=ERRORS)
Amount = Annotated[int | None, Field(ge=0, le=MOST_AMOUNT, description="A limit of the key; null: unlimited")]


class NewKey(Body):
    """A user's key, a team's service key, or, with both, a member's key in the team."""

    models: Annotated[list[Annotated[str, Field(max_length=255)]], Field(min_length=1, max_length=1000)]
    user: Annotated[str | None, Field(max_length=254, description="E-mail address or id")] = None
    team: Annotated[str | None, Field(max_length=254, description="Name or id")] = None
    name: Annotated[str, Field(max_length=200)] = ""
    allowed_ips: Annotated[list[Annotated[str, Field(max_length=64)]], Field(default_factory=list, max_length=100)]
    expires_at: AwareDatetime | None = None
    rpm: Amount = None
    tpm: Amount = None
    concurrency: Amount = None


@router.get("")
async def list_keys(
    actor: Admin,
    pool: AppPool,
    user: UserQuery = None,
    team: TeamQuery = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
) -> PageView[KeyView]:
    """By id, revoked ones too; never the keys themselves."""
    page = await keys.list_keys(pool, actor, user=user, team=team, limit=limit, cursor=cursor)
    return PageView[KeyView].model_validate(page)


@router.post("", status_code=201)
async def create_key(actor: Admin, pool: AppPool, settings: AppSettings, body: NewKey) -> NewKeyView:
    """Makes a key and shows it, this once. Each model needs an active subscription."""
    wish = keys.KeyWish(
        models=body.models,
        user=body.user,
        team=body.team,
        name=body.name,
        allowed_ips=body.allowed_ips,
        expires_at=body.expires_at,
        rpm=body.rpm,
        tpm=body.tpm,
        concurrency=body.concurrency,
    )
    return NewKeyView.of(await keys.create_key(pool, actor, settings.peppers, wish))


@router.get("/{key_id}")
async def show_key(actor: Admin, pool: AppPool, key_id: ID) -> KeyView:
    """One key, without the key itself."""
    return KeyView.model_validate(await keys.find_key(pool, actor, key_id))


@router.delete("/{key_id}")
async def revoke_key(actor: Admin, pool: AppPool, key_id: ID) -> KeyView:
    """Ends a key for good, within a second. Doing it again changes nothing."""
    return KeyView.model_validate(await keys.revoke_key(pool, actor, key_id))
