"""From a person whom an identity provider has vouched for to a user: found, linked or made, with the role of now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from admin_api.operations.actors import Actor, note
from admin_api.operations.people.users import write_user
from admin_api.operations.validation import MAX_NAME, check_email
from admin_api.storage import accounts, sessions
from admin_api.storage.accounts import User
from admin_api.storage.sessions import Identity
from gateway.domain.errors import GatewayError
from gateway.domain.roles import Role

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

# As in the schema's CHECK.
MAX_SUBJECT: Final = 500
STRENGTH: Final[tuple[Role, ...]] = ("user", "admin-readonly", "admin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who it is, as the provider said at `told_at` (None: it does not say when). `groups` None: it tells none."""

    issuer: str
    subject: str
    email: str | None
    is_email_verified: bool
    name: str
    groups: Sequence[str] | None
    told_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleRules:
    """Group -> role, and the addresses that are admins in any case."""

    group_roles: Mapping[str, Role]
    initial_admins: Sequence[str]

    def group_role(self, person: Person) -> Role | None:
        """The strongest of his groups' roles."""
        roles = [self.group_roles[group] for group in person.groups or () if group in self.group_roles]
        return max(roles, key=STRENGTH.index, default=None)

    def apply(self, user: User, person: Person) -> User:
        """The stronger of what a person assigned and what the groups give now: what a group gave goes with it."""
        group_role = self.group_role(person)
        assigned = user.assigned_role
        if user.email in self.initial_admins:
            assigned = "admin"
        role = max((assigned, group_role or "user"), key=STRENGTH.index)
        return replace(user, role=role, assigned_role=assigned, group_role=group_role)


async def admit_person(
    pool: "Pool", person: Person, rules: RoleRules, *, request_id: UUID | None = None, ip: str | None = None
) -> User:
    """The user this person is, made at the first login. Raises GatewayError `forbidden`, saying what to do.

    By issuer and subject; only the first time by e-mail address, and then only by a verified one: else whoever may
    choose his address at some provider could become anybody.
    """
    async with pool.acquire() as connection, connection.transaction():
        known = await _find_identity(connection, person)
        user_id = known.user_id if known else (await _link(connection, person, request_id, ip)).id
        user = await accounts.lock_user(connection, user_id)
        if user is None:
            raise RuntimeError("a user who was there is not there any more")
        if user.status != "active":
            raise GatewayError("forbidden", f"'{user.email}' is deactivated; ask an admin.")
        # Under the user's lock. What was said before the last word gives back no group that went since.
        issuer, subject = person.issuer, person.subject
        is_last_word = await sessions.update_reported(connection, issuer=issuer, subject=subject, at=person.told_at)
        new = rules.apply(user, person) if is_last_word else user
        if not new.name and person.name:
            new = replace(new, name=_shown_name(person))
        if new != user:
            actor = Actor(name=user.email, role="program", user_id=user.id, request_id=request_id, ip=ip)
            await write_user(connection, actor, user, new)
        return new


async def find_known(pool: "Pool", person: Person, rules: RoleRules) -> User | None:
    """The user this person is; None before the first login, and where what the provider says now is news."""
    async with pool.acquire() as connection:
        known = await _find_identity(connection, person)
        user = None if known is None else await accounts.find_user(connection, user_id=known.user_id)
    if known is None or user is None or user.status != "active":
        return user
    # Without the claim nothing is said of groups, and what the last login said holds.
    is_news = person.groups is not None and (
        _is_later(person.told_at, known.groups_told_at)
        or (person.told_at == known.groups_told_at and rules.apply(user, person) != user)
    )
    return None if is_news else user


def _is_later(told_at: datetime | None, known_at: datetime | None) -> bool:
    return told_at is not None and (known_at is None or told_at > known_at)


async def _find_identity(executor: "Executor", person: Person) -> Identity | None:
    _check_subject(person.subject)
    return await sessions.find_identity(executor, issuer=person.issuer, subject=person.subject)


async def _link(executor: "Executor", person: Person, request_id: UUID | None, ip: str | None) -> User:
    """By the verified address; made if nobody has it. Each is noted by whoever did it: of two first logins at once one
    makes the user, and one links him."""
    if not person.email or not person.is_email_verified:
        raise GatewayError("forbidden", "The identity provider gives no verified e-mail address of you; ask an admin.")
    email = check_email(person.email)
    user = await accounts.find_user(executor, email=email)
    made = None
    if user is None:
        made = await accounts.insert_user(executor, email=email, name=_shown_name(person), role="user", time_zone="UTC")
        user = made or await accounts.find_user(executor, email=email)
    if user is None:
        raise RuntimeError("a user who was there is not there any more")
    actor = Actor(name=user.email, role="program", user_id=user.id, request_id=request_id, ip=ip)
    if made is not None:
        await note(executor, actor, "user.create", "user", user.id, new={"email": email, "issuer": person.issuer})
    issuer, subject = person.issuer, person.subject
    if await sessions.insert_identity(executor, issuer=issuer, subject=subject, user_id=user.id):
        # Only now: an unlinking under way was waited for.
        unlinked_at = await sessions.find_unlinked(executor, user.id)
        if unlinked_at is not None and (person.told_at is None or person.told_at < unlinked_at):
            raise GatewayError(
                "forbidden", f"'{email}' was unlinked after the identity provider said who you are; log in there again."
            )
        await note(executor, actor, "user.link", "user", user.id, new={"issuer": issuer, "subject": subject})
        return user
    known = await sessions.find_identity(executor, issuer=issuer, subject=subject)
    if known is None or known.user_id != user.id:
        raise GatewayError(
            "forbidden",
            f"'{email}' is somebody else at this identity provider; if you were made anew there, ask an admin to "
            "unlink who you were.",
        )
    return user


def _check_subject(subject: str) -> None:
    """OpenID Connect gives a subject 255 characters at most; Postgres takes neither NUL nor lone surrogates."""
    if not 1 <= len(subject) <= MAX_SUBJECT or not subject.isprintable():
        raise GatewayError("forbidden", "The identity provider names you by what is no name; ask its admins.")


def _shown_name(person: Person) -> str:
    return "".join(c for c in person.name if c.isprintable()).strip()[:MAX_NAME]
