"""`/api/v1/users`"""

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field

from admin_api.operations import users
from admin_api.routes.requests import ERRORS, Admin, AppPool, Body, Cursor, PageSize
from admin_api.views.accounts import UserView
from admin_api.views.shapes import PageView
from gateway.storage.accounts import Role, UserStatus

router = APIRouter(prefix="/api/v1/users", tags=["users"], responses=ERRORS)
UserPath = Annotated[str, Path(max_length=254, description="E-mail address or id")]


class NewUser(Body):
    """A user to be made, with a personal account in this time zone."""

    email: Annotated[str, Field(max_length=254)]
    name: Annotated[str, Field(max_length=200)] = ""
    role: Role = "user"
    time_zone: Annotated[str, Field(max_length=64, description="IANA name")] = "UTC"


class UserChange(Body):
    """What is left out stays as it is."""

    role: Role | None = None
    status: UserStatus | None = None


@router.get("")
async def list_users(actor: Admin, pool: AppPool, limit: PageSize = 100, cursor: Cursor = None) -> PageView[UserView]:
    """All users, by id."""
    page = await users.list_users(pool, actor, limit=limit, cursor=cursor)
    return PageView[UserView].model_validate(page)


@router.post("", status_code=201)
async def create_user(actor: Admin, pool: AppPool, body: NewUser) -> UserView:
    """Makes a user and the personal account."""
    user = await users.create_user(
        pool, actor, email=body.email, name=body.name, role=body.role, time_zone=body.time_zone
    )
    return UserView.model_validate(user)


@router.get("/{user}")
async def show_user(actor: Admin, pool: AppPool, user: UserPath) -> UserView:
    """One user."""
    return UserView.model_validate(await users.find_user(pool, actor, user))


@router.patch("/{user}")
async def update_user(actor: Admin, pool: AppPool, user: UserPath, body: UserChange) -> UserView:
    """Changes role or status. A deactivated user's keys are refused from the next call on."""
    changed = await users.update_user(pool, actor, user, role=body.role, status=body.status)
    return UserView.model_validate(changed)
