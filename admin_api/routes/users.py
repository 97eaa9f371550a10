"""`/api/v1/users`."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from admin_api.operations.people import users
from admin_api.routes.dependencies import (
    Admin,
    AppPool,
    AsOf,
    Body,
    Cursor,
    LoggedIn,
    Moment,
    PageSize,
    Reader,
    UserPath,
)
from admin_api.routes.responses import CHANGED, ERRORS, TAGGED
from admin_api.schemas.accounts import UserView
from admin_api.schemas.shapes import PageView
from admin_api.storage.users import Locale, LocaleChoice, User, UserSort, UserStatus
from admin_api.web.etags import tag
from gateway.domain.roles import Role

router = APIRouter(prefix="/api/v1/users", tags=["users"], responses=ERRORS)


class NewUser(Body):
    """A user to be created, with a personal account in this time zone."""

    email: Annotated[str, Field(max_length=254)]
    name: Annotated[str, Field(max_length=200)] = ""
    role: Role = "user"
    time_zone: Annotated[str, Field(max_length=64, description="IANA name")] = "UTC"
    locale: Annotated[Locale | None, Field(description="Language of e-mails and pages; null: the default")] = None


class UserChange(Body):
    """Fields left out stay unchanged."""

    role: Role | None = None
    status: UserStatus | None = None
    reason: Annotated[
        str | None, Field(max_length=1000, description="Of the status: callers with the user's keys read it")
    ] = None
    email: Annotated[str | None, Field(max_length=254, description="Until the identity provider reports another")] = (
        None
    )
    name: Annotated[str | None, Field(max_length=200)] = None
    locale: Annotated[LocaleChoice | None, Field(description="browser: what the browser prefers")] = None
    time_zone: Annotated[
        str | None, Field(max_length=64, description="IANA name; limit windows are computed again")
    ] = None


class SelfChange(Body):
    """What users may change of themselves; fields left out stay unchanged."""

    name: Annotated[str | None, Field(max_length=200)] = None
    locale: Annotated[LocaleChoice | None, Field(description="browser: what the browser prefers")] = None


@router.get("")
async def list_users(
    actor: Reader,
    pool: AppPool,
    search: Annotated[str | None, Query(max_length=200, description="Part of the address or the name")] = None,
    role: Role | None = None,
    status: UserStatus | None = None,
    last_login_before: Annotated[
        Moment | None,
        Query(description="No login since, or if never, created before: the longest ago first"),
    ] = None,
    sort: Annotated[UserSort, Query(description="By when they were created, or by address")] = "created",
    limit: PageSize = 100,
    cursor: Cursor = None,
) -> PageView[UserView]:
    """Users that match, by id unless they are sorted otherwise."""
    page = await users.list_users(
        pool,
        actor,
        search=search,
        role=role,
        status=status,
        last_login_before=last_login_before,
        sort=sort,
        limit=limit,
        cursor=cursor,
    )
    return PageView[UserView].model_validate(page)


@router.post("", status_code=201)
async def create_user(actor: Admin, pool: AppPool, body: NewUser) -> UserView:
    """Creates a user and the personal account."""
    user = await users.create_user(
        pool, actor, email=body.email, name=body.name, role=body.role, time_zone=body.time_zone, locale=body.locale
    )
    return UserView.model_validate(user)


@router.get("/me", responses=TAGGED)
async def show_own_user(actor: LoggedIn, pool: AppPool, response: Response) -> UserView:
    """The user who is logged in; 404 with the admin token, which belongs to no user."""
    return tagged(response, await users.find_self(pool, actor))


@router.patch("/me", responses=TAGGED | CHANGED)
async def update_own_user(
    actor: LoggedIn, pool: AppPool, response: Response, body: SelfChange, as_of: AsOf
) -> UserView:
    """Changes the caller's own name or language."""
    changed = await users.update_self(pool, actor, name=body.name, locale=body.locale, as_of=as_of)
    return tagged(response, changed)


@router.get("/{user}", responses=TAGGED)
async def show_user(actor: Reader, pool: AppPool, response: Response, user: UserPath) -> UserView:
    """One user."""
    return tagged(response, await users.find_user(pool, actor, user))


@router.patch("/{user}", responses=TAGGED | CHANGED)
async def update_user(
    actor: Admin, pool: AppPool, response: Response, user: UserPath, body: UserChange, as_of: AsOf
) -> UserView:
    """Changes the fields that are given. Keys and tokens of a deactivated user are refused from the next call on, until
    the user is active again; their sessions end. The last active admin cannot be deactivated or lose the role. At a
    login, groups of the identity provider can add a stronger role."""
    changed = await users.update_user(
        pool,
        actor,
        user,
        role=body.role,
        status=body.status,
        reason=body.reason,
        email=body.email,
        name=body.name,
        locale=body.locale,
        time_zone=body.time_zone,
        as_of=as_of,
    )
    return tagged(response, changed)


def tagged(response: Response, user: User) -> UserView:
    """The view of a user; sets the ETag of the answer."""
    tag(response, user)
    return UserView.model_validate(user)
