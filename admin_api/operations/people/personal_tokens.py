"""Personal access tokens, with which programs call the admin API: create, list, revoke, authenticate."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, cast
from uuid import UUID

from admin_api.operations.actors import Actor, note, require_admin, require_reader
from admin_api.operations.lookups import get_user
from admin_api.operations.pagination import MAX_ID, Page, check_limit, page, parse_id_cursor
from admin_api.operations.validation import MAX_NAME, check_future, check_text, check_word, invalid
from admin_api.storage import personal_tokens, users
from admin_api.storage.personal_tokens import PersonalToken
from admin_api.storage.users import User
from gateway.domain.errors import GatewayError
from gateway.domain.keys import PERSONAL_PREFIX, Peppers, is_well_formed, new_key
from gateway.domain.roles import ROLES, Role

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

DEFAULT_DAYS: Final = 90
MAX_DAYS: Final = 366
MAX_ACTIVE: Final = 50


@dataclass(frozen=True, slots=True)
class NewToken:
    """A new token: its row, and its secret, which is shown once and never stored."""

    row: PersonalToken
    secret: str

    def __repr__(self) -> str:
        return f"NewToken(row={self.row!r}, secret='…')"


async def create_token(
    pool: "Pool",
    actor: Actor,
    peppers: Peppers,
    *,
    user: str | None = None,
    name: str = "",
    role: str | None = None,
    expires_at: datetime | None = None,
) -> NewToken:
    """For the actor, or by an admin for `user`. By default `role` is the user's and `expires_at` DEFAULT_DAYS from now.

    A token created with a token expires no later than that one. Raises GatewayError `forbidden` for a role beyond the
    user's or the actor's, `conflict` for a deactivated user and beyond MAX_ACTIVE tokens.
    """
    name = check_text("name", name, maximum=MAX_NAME)
    ends_at = _check_end(actor, expires_at)
    async with pool.acquire() as connection, connection.transaction():
        person = await _find_person(connection, actor, user, changes=True)
        # Locks the user, so that MAX_ACTIVE cannot be exceeded and a deactivated user gets no token.
        person = await users.lock_user(connection, person.id) or person
        known = person.role if role is None else cast("Role", check_word("role", role, ROLES))
        if bounded_role(known, person.role) != known or bounded_role(known, actor.role) != known:
            raise GatewayError("forbidden", f"A token of role {known} exceeds the role {person.role}.")
        if person.status != "active":
            raise GatewayError("conflict", f"'{person.email}' is deactivated.")
        if await personal_tokens.count_active(connection, person.id) >= MAX_ACTIVE:
            raise GatewayError("conflict", f"There are already {MAX_ACTIVE} active tokens. Revoke one first.")
        secret = new_key(PERSONAL_PREFIX)
        token_id = await personal_tokens.insert_token(
            connection,
            user_id=person.id,
            name=name,
            role=known,
            digest=peppers.digest(secret, peppers.newest),
            pepper_version=peppers.newest,
            last_four=secret[-4:],
            expires_at=ends_at,
            created_by=actor.name,
        )
        row = await _get_token(connection, person, token_id)
        new = {"user_id": person.id, "name": name, "role": known, "last_four": row.last_four, "expires_at": ends_at}
        await note(connection, actor, "personal_token.create", "personal_token", token_id, new=new)
    return NewToken(row, secret)


async def list_tokens(
    pool: "Pool", actor: Actor, *, user: str | None = None, limit: int = 100, cursor: str | None = None
) -> Page[PersonalToken]:
    """The actor's tokens, or those of `user`, by id, including revoked and expired ones."""
    check_limit(limit)
    async with pool.acquire() as connection:
        person = await _find_person(connection, actor, user, changes=False)
        after_id = parse_id_cursor(cursor)
        rows = await personal_tokens.list_tokens(connection, user_id=person.id, after_id=after_id, limit=limit + 1)
    return page(rows, limit, lambda row: row.id)


async def revoke_token(pool: "Pool", actor: Actor, token_id: int, *, user: str | None = None) -> PersonalToken:
    """Rejected from the next call on. Revoking again has no effect. Raises GatewayError `not_found`."""
    async with pool.acquire() as connection, connection.transaction():
        person = await _find_person(connection, actor, user, changes=True)
        token = await _get_token(connection, person, token_id)
        if await personal_tokens.update_revoked(connection, token.id):
            token = await _get_token(connection, person, token_id)
            new = {"revoked_at": token.revoked_at}
            action = "personal_token.revoke"
            await note(connection, actor, action, "personal_token", token_id, old={"revoked_at": None}, new=new)
    return token


async def log_in_by_token(
    pool: "Pool", peppers: Peppers, token: str, *, request_id: UUID | None, ip: str | None
) -> Actor:
    """The actor of a token. Raises GatewayError `not_authenticated`, with advice."""
    login = None
    if is_well_formed(token, PERSONAL_PREFIX):
        async with pool.acquire() as connection:
            login = await personal_tokens.find_login(connection, peppers.digests(token))
    if login is None:
        raise rejected_login("Unknown personal access token. Check that it is complete.")
    if login.is_revoked:
        raise rejected_login("This personal access token is revoked. Create a new one.")
    if login.is_expired:
        raise rejected_login("This personal access token is expired. Create a new one.")
    if login.user_status != "active":
        raise rejected_login("The user of this personal access token is deactivated. Ask an admin.")
    role = bounded_role(login.role, login.user_role)
    if role is None:
        raise rejected_login(
            f"This token's role {login.role} exceeds the user's role {login.user_role}. Create a new one."
        )
    if not login.is_noted:
        async with pool.acquire() as connection:
            await personal_tokens.update_last_used(connection, login.token_id)
    return Actor(
        name=login.email,
        role=role,
        user_id=login.user_id,
        request_id=request_id,
        ip=ip,
        until=login.expires_at,
        login=f"token:{login.token_id}",
    )


def bounded_role(role: Role, bound: str) -> Role | None:
    """The role that `role` amounts to within `bound`; None if there is none. admin includes the other two roles; these
    do not include each other, as admin-readonly may change nothing, not even their own settings."""
    if role == bound or bound == "admin":
        return role
    return cast("Role", bound) if role == "admin" else None


def rejected_login(message: str) -> GatewayError:
    """The error for a login that is not valid."""
    return GatewayError("not_authenticated", message, headers={"www-authenticate": "Bearer"})


def _check_end(actor: Actor, expires_at: datetime | None) -> datetime:
    now = datetime.now(UTC)
    requested = check_future("expires_at", expires_at, now) or now + timedelta(days=DEFAULT_DAYS)
    if requested > now + timedelta(days=MAX_DAYS):
        raise invalid("expires_at", f"A token must expire within {MAX_DAYS} days.")
    return min(requested, actor.until or requested)


async def _find_person(executor: "Executor", actor: Actor, user: str | None, *, changes: bool) -> User:
    """The owner of the tokens, if the actor may see or change them."""
    if user is not None:
        (require_admin if changes else require_reader)(actor)
        return await get_user(executor, user)
    if actor.user_id is None:
        raise GatewayError(
            "forbidden", "This login belongs to no user, so it has no personal access tokens. Name a user."
        )
    if changes and actor.role == "admin-readonly":
        raise GatewayError("forbidden", "Read-only admins cannot change anything, not even their own tokens.")
    return await get_user(executor, str(actor.user_id))


async def _get_token(executor: "Executor", person: User, token_id: int) -> PersonalToken:
    in_range = 0 < token_id <= MAX_ID
    token = await personal_tokens.find_token(executor, user_id=person.id, token_id=token_id) if in_range else None
    if token is None:
        raise GatewayError("not_found", f"'{person.email}' has no personal access token {token_id}.")
    return token
