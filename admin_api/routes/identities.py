"""`/api/v1/users/{user}/identities`, `…/sessions`, `…/invitations` and `…/anonymise`."""

from fastapi import APIRouter

from admin_api.operations.people import anonymise, identities, invitations, sessions
from admin_api.routes.dependencies import ID, Admin, AppPool, AppSettings, AsOf, Cursor, PageSize, Reader, UserPath
from admin_api.routes.responses import CHANGED, ERRORS
from admin_api.schemas.accounts import AnonymisedView
from admin_api.schemas.identities import IdentityView
from admin_api.schemas.invitations import TeamInvitationView
from admin_api.schemas.sessions import EndedView, SessionsView, SessionView
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


@router.get("/{user}/sessions")
async def list_user_sessions(actor: Reader, pool: AppPool, settings: AppSettings, user: UserPath) -> SessionsView:
    """The user's open sessions in browsers, newest first, at most 100."""
    found = await sessions.list_sessions_of(pool, actor, user, idle_s=settings.session_idle_s)
    return SessionsView(rows=[SessionView.of(row, actor.session_id) for row in found.rows])


@router.delete("/{user}/sessions")
async def end_user_sessions(actor: Admin, pool: AppPool, user: UserPath) -> EndedView:
    """Ends all sessions of the user, from their next request on at every replica. They may log in again: to prevent
    that, deactivate the user. Personal access tokens and keys stay valid."""
    return EndedView(ended=await sessions.end_sessions_of(pool, actor, user))


@router.delete("/{user}/sessions/{session_id}")
async def end_user_session(actor: Admin, pool: AppPool, user: UserPath, session_id: ID) -> EndedView:
    """Ends one session of the user; 404 if it is another user's or has ended."""
    return EndedView(ended=await sessions.end_sessions_of(pool, actor, user, session_id=session_id))


@router.get("/{user}/invitations")
async def list_user_invitations(
    actor: Reader, pool: AppPool, user: UserPath, limit: PageSize = 100, cursor: Cursor = None
) -> PageView[TeamInvitationView]:
    """The open invitations of the user to teams, by id."""
    page = await invitations.list_of_user(pool, actor, user, limit=limit, cursor=cursor)
    return PageView[TeamInvitationView].model_validate(page)


@router.post("/{user}/anonymise", responses=CHANGED)
async def anonymise_user(
    actor: Admin, pool: AppPool, settings: AppSettings, user: UserPath, as_of: AsOf
) -> AnonymisedView:
    """Replaces a user's names and addresses everywhere by `anonymised-<id>@users.invalid`, for good: also in audit
    rows, whose hash chain holds. Their keys and tokens are revoked, their sessions end, they leave their teams. What
    they used stays in the sums. 409 for an anonymised user, the last active admin, and oneself."""
    done = await anonymise.anonymise_user(pool, actor, settings.encryption_keys, user, as_of=as_of)
    return AnonymisedView.model_validate(done)
