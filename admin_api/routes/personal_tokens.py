"""`/api/v1/users/me/tokens`, and for admins those of other users."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from admin_api.operations.people import personal_tokens
from admin_api.routes.dependencies import (
    ID,
    Admin,
    AppPool,
    AppSettings,
    Body,
    Cursor,
    LoggedIn,
    Moment,
    PageSize,
    Reader,
    UserPath,
)
from admin_api.routes.responses import ERRORS
from admin_api.schemas.personal_tokens import NewPersonalTokenView, PersonalTokenView
from admin_api.schemas.shapes import PageView
from gateway.domain.roles import Role

router = APIRouter(prefix="/api/v1/users", tags=["personal access tokens"], responses=ERRORS)


class NewToken(Body):
    """A token to be created: without `role` with the user's, without `expires_at` for 90 days."""

    name: Annotated[str, Field(max_length=200)] = ""
    role: Annotated[Role | None, Field(description="Not above the user's own")] = None
    expires_at: Annotated[Moment | None, Field(description="366 days from now at most")] = None


@router.get("/me/tokens")
async def list_own_tokens(
    actor: LoggedIn, pool: AppPool, limit: PageSize = 100, cursor: Cursor = None
) -> PageView[PersonalTokenView]:
    """The caller's own, by id, revoked and expired ones too."""
    page = await personal_tokens.list_tokens(pool, actor, limit=limit, cursor=cursor)
    return PageView[PersonalTokenView].model_validate(page)


@router.post("/me/tokens", status_code=201)
async def create_own_token(
    actor: LoggedIn, pool: AppPool, settings: AppSettings, body: NewToken
) -> NewPersonalTokenView:
    """Creates a token and shows it, this once. A token created with a token expires no later than that one."""
    made = await personal_tokens.create_token(
        pool, actor, settings.peppers, name=body.name, role=body.role, expires_at=body.expires_at
    )
    return NewPersonalTokenView.of(made)


@router.delete("/me/tokens/{token_id}")
async def revoke_own_token(actor: LoggedIn, pool: AppPool, token_id: ID) -> PersonalTokenView:
    """Ends a token for good, from the next call on. Doing it again changes nothing."""
    return PersonalTokenView.model_validate(await personal_tokens.revoke_token(pool, actor, token_id))


@router.get("/{user}/tokens")
async def list_user_tokens(
    actor: Reader, pool: AppPool, user: UserPath, limit: PageSize = 100, cursor: Cursor = None
) -> PageView[PersonalTokenView]:
    """Tokens of a user, by id, revoked and expired ones too."""
    page = await personal_tokens.list_tokens(pool, actor, user=user, limit=limit, cursor=cursor)
    return PageView[PersonalTokenView].model_validate(page)


@router.post("/{user}/tokens", status_code=201)
async def create_user_token(
    actor: Admin, pool: AppPool, settings: AppSettings, user: UserPath, body: NewToken
) -> NewPersonalTokenView:
    """Creates a token for a user who cannot log in, such as a machine, and shows it, this once."""
    made = await personal_tokens.create_token(
        pool, actor, settings.peppers, user=user, name=body.name, role=body.role, expires_at=body.expires_at
    )
    return NewPersonalTokenView.of(made)


@router.delete("/{user}/tokens/{token_id}")
async def revoke_user_token(actor: Admin, pool: AppPool, user: UserPath, token_id: ID) -> PersonalTokenView:
    """Ends a user's token for good, from the next call on."""
    return PersonalTokenView.model_validate(await personal_tokens.revoke_token(pool, actor, token_id, user=user))
