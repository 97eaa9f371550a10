"""The actor of an operation, their permissions, and the audit row of each change."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from admin_api.operations.audit_rows import Change, write_rows
from admin_api.storage import accounts
from admin_api.storage.sessions import Provider
from gateway.domain.errors import GatewayError
from gateway.domain.subscriptions import Party

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

# `program`: background tasks and the model sync, which no person started.
ActorRole = Literal["admin", "admin-readonly", "user", "program"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who performs an operation. `name` appears in the audit log; `user_id` is None for the CLI, the admin token and
    programs. `until` is when the token of the request expires; `session_id` and `provider` are of its session. `login`
    names the login of the request, of which a user can have several: the admin token, a personal access token, a
    session or a JWT; '' outside requests. `via` is the route, command or task that the operation is part of: the cause
    in audit rows of changes for which no reason is stated."""

    name: str
    role: ActorRole
    user_id: int | None = None
    request_id: UUID | None = None
    ip: str | None = None
    until: datetime | None = None
    session_id: int | None = None
    provider: Provider | None = None
    login: str = ""
    via: str = ""

    @property
    def lasting_name(self) -> str:
        """For rows that a seal covers: a name could not go from them when the user is anonymised, so it is an id."""
        return self.name if self.user_id is None else f"user:{self.user_id}"


def require_admin(actor: Actor) -> None:
    """For changes. Raises GatewayError `forbidden`."""
    if actor.role != "admin":
        raise GatewayError("forbidden", "This is for admins only.")


def require_reader(actor: Actor) -> None:
    """For reading the data of all accounts. Raises GatewayError `forbidden`."""
    if actor.role not in ("admin", "admin-readonly"):
        raise GatewayError("forbidden", "This is for admins only.")


async def changing_party(executor: "Executor", actor: Actor, account: accounts.Account) -> Party:
    """As `party_of`. Raises GatewayError `conflict` for a team that is archived, too."""
    party = await party_of(executor, actor, account)
    check_not_archived(account)
    return party


def check_not_archived(account: accounts.Account) -> None:
    """An archived team stays as it is. Raises GatewayError `conflict`."""
    if account.archived_at is not None:
        message = f"Team '{account.name}' is archived. An admin can unarchive it."
        raise GatewayError("conflict", message, details={"archived_at": account.archived_at.isoformat()})


async def party_of(executor: "Executor", actor: Actor, account: accounts.Account) -> Party:
    """The role in which the actor changes this account. Raises GatewayError `forbidden` if they may not."""
    if actor.role == "admin":
        return "admin"
    if actor.role == "program":
        return "system"
    if actor.role == "user" and actor.user_id is not None:
        if account.owner_user_id == actor.user_id:
            return "owner"
        member = await accounts.find_member(executor, account_id=account.id, user_id=actor.user_id)
        if member is not None and member.role == "owner":
            return "owner"
    raise GatewayError("forbidden", "You may not change this account.")


async def note(
    executor: "Executor",
    actor: Actor,
    action: str,
    target_kind: str,
    target_id: object,
    *,
    old: Mapping[str, Any] | None = None,
    new: Mapping[str, Any] | None = None,
) -> None:
    """Writes the audit row of a change, in the transaction of the change. `action` is `resource.verb`; `old` and `new`
    must not contain secrets. The cause is the field `reason` or `cause` of them, or else the actor's `via`."""
    await write_rows(executor, actor, action, target_kind, [Change(target_id=str(target_id), old=old, new=new)])
