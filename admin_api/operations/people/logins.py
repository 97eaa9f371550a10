"""Logins: finds, links or creates the user of a person whom an identity provider authenticated, and sets their role."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal
from uuid import UUID

import structlog

from admin_api.operations.actors import Actor, note
from admin_api.operations.lookups import find_by_address
from admin_api.operations.people.new_users import apply_defaults
from admin_api.operations.people.profiles import follow_profile
from admin_api.operations.people.refused_logins import Door, LoginRefused
from admin_api.operations.people.users import write_user
from admin_api.operations.validation import MAX_NAME, check_email
from admin_api.storage import sessions
from admin_api.storage import users as user_rows
from admin_api.storage.personal_data import last_anonymised
from admin_api.storage.sessions import Identity, Profile
from admin_api.storage.users import User
from gateway.domain.email_addresses import is_literal
from gateway.domain.errors import GatewayError
from gateway.domain.roles import Role

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

log = structlog.get_logger(__name__)

# Why the groups are unknown: they are named elsewhere, the claim is missing, or it has another form.
UnknownGroups = Literal["elsewhere", "missing", "unreadable"]
# As in the CHECK constraint of the database.
MAX_SUBJECT: Final = 500
# What an admin can do about it.
SETTING_OF: Final[Mapping[UnknownGroups, str]] = {
    "elsewhere": "LITEMAAS_OIDC_GROUPS_CLAIM",
    "missing": "LITEMAAS_OIDC_MISSING_GROUPS",
    "unreadable": "LITEMAAS_OIDC_GROUPS_CLAIM",
}
JWT_LOGIN_AGE: Final = timedelta(hours=1)
STRENGTH: Final[tuple[Role, ...]] = ("user", "admin-readonly", "admin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """What the provider said at `issued_at` (None: unknown) about a person. `groups` is None if it did not say, and
    `unknown_groups` why. `…_claim` name the claims that were read; `address_claims` those that hold an address."""

    issuer: str
    subject: str
    email: str | None
    is_email_verified: bool
    name: str
    groups: Sequence[str] | None
    issued_at: datetime | None
    unknown_groups: UnknownGroups | None = None
    email_claim: str = "email"
    verified_claim: str = "email_verified"
    groups_claim: str = "groups"
    address_claims: Sequence[str] = ()
    door: Door = "oidc"

    @property
    def about(self) -> dict[str, str]:
        """For the audit log."""
        return {"issuer": self.issuer, "subject": self.subject} | ({"email": self.email} if self.email else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleRules:
    """Roles by group, and the e-mail addresses that are always admins."""

    group_roles: Mapping[str, Role]
    initial_admins: Sequence[str]

    def group_role(self, person: Person) -> Role | None:
        """The strongest role of the person's groups."""
        roles = [self.group_roles[group] for group in person.groups or () if group in self.group_roles]
        return max(roles, key=STRENGTH.index, default=None)

    def apply(self, user: User, person: Person) -> User:
        """The stronger of the assigned role and the role from groups. A role from groups ends with the membership, or
        with its last entry in GROUP_ROLES. If the provider did not say which groups there are, it stays."""
        group_role = self.group_role(person)
        if person.groups is None and user.group_role in self.group_roles.values():
            group_role = user.group_role
        assigned = user.assigned_role
        if user.email in self.initial_admins:
            assigned = "admin"
        role = max((assigned, group_role or "user"), key=STRENGTH.index)
        return replace(user, role=role, assigned_role=assigned, group_role=group_role)


async def admit_person(
    pool: "Pool", person: Person, rules: RoleRules, *, request_id: UUID | None = None, ip: str | None = None
) -> User:
    """The user of this person, created at the first login. Raises GatewayError `forbidden`, with advice.

    Users are found by issuer and subject. Only the first login uses the e-mail address, which must be verified:
    otherwise anyone who can choose their address at a provider could take over any user.
    """
    async with pool.acquire() as connection, connection.transaction():
        known = await _find_identity(connection, person)
        user_id = known.user_id if known else (await _link(connection, person, request_id, ip)).id
        user = await user_rows.lock_user(connection, user_id)
        if user is None:
            raise RuntimeError("a user was not found, although users are never deleted")
        if user.status != "active":
            raise LoginRefused("deactivated", f"'{user.email}' is deactivated. Ask an admin.", about=person.about)
        # Not the person: they asked for none of it.
        actor = Actor(name=f"login:{person.door}", role="program", via="login", request_id=request_id, ip=ip)
        new = user
        if await _is_newest(connection, person):
            new = rules.apply(await _follow(connection, actor, user, person), person)
        if new != user:
            await write_user(connection, actor, user, new, cause=f"login at {person.issuer}")
        await note_unknown_groups(connection, actor, new, person, rules)
        return new


async def _follow(connection: "Executor", actor: Actor, user: User, person: Person) -> User:
    """A JWT, which may be older than the last login, changes no profile."""
    name = _shown_name(person)
    if person.door == "jwt":
        return user if user.name else replace(user, name=name)
    reported = Profile(email=person.email if person.is_email_verified else None, name=name)
    return await follow_profile(connection, actor, user, reported, issuer=person.issuer, subject=person.subject)


async def note_unknown_groups(executor: "Executor", actor: Actor, user: User, person: Person, rules: RoleRules) -> None:
    """Logs and audits that the role of a user stayed because the provider did not say which groups they are in.
    Nobody is surprised where no group gives a role, or where a claim is missing and none gave one."""
    unknown = person.unknown_groups
    if unknown is None or not rules.group_roles or (unknown == "missing" and user.group_role is None):
        return
    claim, setting = person.groups_claim, SETTING_OF[unknown]
    said = {"cause": f"groups_{unknown}", "claim": claim, "setting": setting, "issuer": person.issuer}
    log.warning("groups_unknown", login=person.door, user_id=user.id, role=user.role, **said)
    await note(executor, actor, "user.keep_role", "user", user.id, new={"role": user.role} | said)


async def _is_newest(executor: "Executor", person: Person) -> bool:
    """Whether nothing later was reported. Under the user's lock: older claims must not restore a group that was removed
    since. What says nothing about groups counts, and leaves the time of those that do."""
    if person.groups is None:
        return True
    issuer, subject = person.issuer, person.subject
    return await sessions.update_reported(executor, issuer=issuer, subject=subject, at=person.issued_at)


async def find_known(pool: "Pool", person: Person, rules: RoleRules) -> User | None:
    """The user of this person; None before the first login, and if the claims are newer than the stored state."""
    async with pool.acquire() as connection:
        known = await _find_identity(connection, person)
        user = None if known is None else await user_rows.find_user(connection, user_id=known.user_id)
    if known is None or user is None or user.status != "active":
        return user
    # Without the claim the groups of the last login remain.
    is_newer = person.groups is not None and (
        _is_later(person.issued_at, known.groups_told_at)
        or (person.issued_at == known.groups_told_at and rules.apply(user, person) != user)
    )
    return None if is_newer else user


async def note_login(pool: "Pool", user: User) -> None:
    """A JWT comes with each request: its use is a login once an hour."""
    if not _is_later(datetime.now(UTC) - JWT_LOGIN_AGE, user.last_login_at):
        return
    async with pool.acquire() as connection:
        await user_rows.update_last_login(connection, user.id)


def _is_later(issued_at: datetime | None, known_at: datetime | None) -> bool:
    return issued_at is not None and (known_at is None or issued_at > known_at)


async def _find_identity(executor: "Executor", person: Person) -> Identity | None:
    _check_subject(person)
    return await sessions.find_identity(executor, issuer=person.issuer, subject=person.subject)


async def _link(executor: "Executor", person: Person, request_id: UUID | None, ip: str | None) -> User:
    """Links the person to the user with their verified address, who is created if missing. Of two concurrent first
    logins one creates the user and one links them; each audit row is written by the login that did it."""
    email = _check_address(person)
    user = await find_by_address(executor, person.email or email)
    made = None
    if user is None:
        await _check_is_later(executor, person)
        made = await user_rows.insert_user(
            executor, email=email, name=_shown_name(person), role="user", time_zone="UTC"
        )
        user = made or await user_rows.find_user(executor, email=email)
    if user is None:
        raise RuntimeError("a user who was there is not there any more")
    actor = Actor(name=user.email, role="program", via="login", user_id=user.id, request_id=request_id, ip=ip)
    if made is not None:
        await note(executor, actor, "user.create", "user", user.id, new={"email": email, "issuer": person.issuer})
        await apply_defaults(executor, actor, user)
    issuer, subject = person.issuer, person.subject
    if await sessions.insert_identity(executor, issuer=issuer, subject=subject, user_id=user.id):
        # Only now: the insert waited for any unlinking in progress.
        unlinked_at = await sessions.find_unlinked(executor, user.id)
        if unlinked_at is not None and (person.issued_at is None or person.issued_at < unlinked_at):
            message = f"'{email}' was unlinked after your login at the identity provider. Log in there again."
            raise LoginRefused("unlinked", message, claim="iat", about=person.about)
        await note(executor, actor, "user.link", "user", user.id, new={"issuer": issuer, "subject": subject})
        return user
    known = await sessions.find_identity(executor, issuer=issuer, subject=subject)
    if known is None or known.user_id != user.id:
        message = (
            f"'{email}' is linked to another account at this identity provider. If your account there was recreated, "
            "ask an admin to unlink the old one."
        )
        raise LoginRefused("linked_to_another", message, claim="sub", about=person.about)
    return user


def _check_address(person: Person) -> str:
    """The person's address as it is stored, if it is verified. Raises LoginRefused."""
    if not person.email:
        setting = "LITEMAAS_OIDC_EMAIL_CLAIM"
        message = f"The identity provider reported no e-mail address in the claim '{person.email_claim}'."
        others = " or ".join(f"'{name}'" for name in person.address_claims)
        advice = f"Ask an admin to set {setting}" + (
            f", perhaps to {others}." if others else " to a claim that has one."
        )
        about = person.about
        raise LoginRefused(
            "email_missing", f"{message} {advice}", claim=person.email_claim, setting=setting, about=about
        )
    if not person.is_email_verified:
        raise _unverified(person)
    claim = person.email_claim
    if not is_literal(person.email):
        # Their address is not the one it would be folded into, which may be somebody else's.
        message = f"The identity provider reported in '{claim}' an address with other letters than ASCII before the @."
        advice = "Ask its admins for an address in ASCII."
        raise LoginRefused("email_not_valid", f"{message} {advice}", claim=claim, about=person.about)
    try:
        return check_email(person.email)
    except GatewayError as exc:
        message = f"The identity provider reported in '{claim}' what is no e-mail address. Ask its admins."
        raise LoginRefused("email_not_valid", message, claim=claim, about=person.about) from exc


def _unverified(person: Person) -> LoginRefused:
    setting = "LITEMAAS_OIDC_TRUST_EMAILS"
    message = (
        f"The identity provider does not say, in the claim '{person.verified_claim}', that the address in "
        f"'{person.email_claim}' is verified. Verify it there, or ask an admin to set {setting} if all addresses are."
    )
    return LoginRefused("email_unverified", message, claim=person.verified_claim, setting=setting, about=person.about)


async def _check_is_later(executor: "Executor", person: Person) -> None:
    """An anonymised user must not come back by a token of before, which outlives the act. Whose it is is not known,
    so no claims of before make a user. Raises LoginRefused."""
    last = await last_anonymised(executor)
    if last is not None and (person.issued_at is None or person.issued_at < last.replace(microsecond=0)):
        message = "No user has these claims, and they are older than the last change of users. Log in again."
        raise LoginRefused("unlinked", message, claim="iat", about=person.about)


def _check_subject(person: Person) -> None:
    """OpenID Connect limits a subject to 255 characters; Postgres accepts neither NUL nor lone surrogates."""
    if not 1 <= len(person.subject) <= MAX_SUBJECT or not person.subject.isprintable():
        message = "The identity provider reported an invalid subject. Ask its admins."
        raise LoginRefused("subject_not_valid", message, claim="sub", about={"issuer": person.issuer})


def _shown_name(person: Person) -> str:
    return "".join(c for c in person.name if c.isprintable()).strip()[:MAX_NAME]
