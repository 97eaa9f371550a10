"""`/api/v1/users/{user}/identities`."""

from fastapi import APIRouter

from admin_api.operations.people import identities
from admin_api.routes.dependencies import ID, Admin, AppPool, Cursor, PageSize, Reader, UserPath
from admin_api.routes.responses import ERRORS
from admin_api.schemas.identities import IdentityView
from admin_api.schemas.shapes import PageView

router = APIRouter(prefix="/api/v1/users", tags=["users"], responses=ERRORS)


@router.get("/{user}/identities")
async def list_identities(
    actor: Reader, pool: AppPool, user: UserPath, limit: PageSize = 100, cursor: Cursor = None
) -> PageView[IdentityView]:
    """The user's identities at identity providers, by id."""
    page = await identities.list_identities(pool, actor, user, limit=limit, cursor=cursor)
    return PageView[IdentityView].model_validate(page)


@router.delete("/{user}/identities/{identity_id}", status_code=204)
async def unlink_identity(actor: Admin, pool: AppPool, user: UserPath, identity_id: ID) -> None:
    """For a person whose account at the provider was recreated: the next login with the user's verified address is
    linked. The user's sessions end, and a role from groups is lost until the next login; keys and tokens stay."""
    await identities.unlink_identity(pool, actor, user, identity_id)
