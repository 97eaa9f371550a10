"""From a person whom an identity provider has vouched for to a user: found, linked or made, with the role of now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from uuid import UUID

from admin_api.operations.actors import Actor, note
from admin_api.operations.checks import MOST_NAME, check_email
from admin_api.operations.users import write_user
from gateway.domain.errors import GatewayError
from gateway.storage import accounts, sessions
from gateway.storage.accounts import Role, User

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

# As in the schema's CHECK.
MOST_SUBJECT: Final = 500
STRENGTH: Final[tuple[Role, ...]] = ("user", "admin-readonly", "admin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who it is, as the provider says. `groups` None: it does not tell any."""

    issuer: str
    subject: str
    email: str | None
    is_email_verified: bool
    name: str
    groups: Sequence[str] | None


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
        user = await _find_known(connection, person)
        if user is None:
            user = await _link(connection, person, request_id, ip)
        user = await accounts.lock_user(connection, user.id) or user
        if user.status != "active":
            raise GatewayError("forbidden", f"'{user.email}' is deactivated; ask an admin.")
        new = rules.apply(user, person)
        if not new.name and person.name:
            new = replace(new, name=_shown_name(person))
        if new != user:
            actor = Actor(name=user.email, role="program", user_id=user.id, request_id=request_id, ip=ip)
            await write_user(connection, actor, user, new)
        return new


def has_role_changed(user: User, person: Person, rules: RoleRules) -> bool:
    """Whether what the provider says now would make something else of him."""
    return rules.apply(user, person) != user


async def find_known(pool: "Pool", person: Person) -> User | None:
    """The user this person is; None before the first login."""
    async with pool.acquire() as connection:
        return await _find_known(connection, person)


async def _find_known(executor: "Executor", person: Person) -> User | None:
    _check_subject(person.subject)
    user_id = await sessions.find_identity(executor, issuer=person.issuer, subject=person.subject)
    return None if user_id is None else await accounts.find_user(executor, user_id=user_id)


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
        await note(executor, actor, "user.link", "user", user.id, new={"issuer": issuer, "subject": subject})
    elif await sessions.find_identity(executor, issuer=issuer, subject=subject) != user.id:
        raise GatewayError("forbidden", f"'{email}' is somebody else at this identity provider; ask an admin.")
    return user


def _check_subject(subject: str) -> None:
    """OpenID Connect gives a subject 255 characters at most; Postgres takes neither NUL nor lone surrogates."""
    if not 1 <= len(subject) <= MOST_SUBJECT or not subject.isprintable():
        raise GatewayError("forbidden", "The identity provider names you by what is no name; ask its admins.")


def _shown_name(person: Person) -> str:
    return "".join(c for c in person.name if c.isprintable()).strip()[:MOST_NAME]
