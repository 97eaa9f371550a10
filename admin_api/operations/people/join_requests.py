"""Requests to join a team: a person asks with its name, an owner of the team or an admin decides.

Who asks must know the team's name, in whatever case. That such a team exists is all they learn.
"""

from typing import TYPE_CHECKING, Any, Final, Literal, cast

from admin_api.operations.access import get_managed_team
from admin_api.operations.actors import Actor, check_not_archived, note
from admin_api.operations.lookups import get_team
from admin_api.operations.notifications.events import notify
from admin_api.operations.pagination import MAX_ID, Page, check_limit, page, parse_id_cursor
from admin_api.operations.people.teams import lock_team
from admin_api.operations.people.users import changing_own_id, own_id
from admin_api.operations.validation import check_reason, check_word
from admin_api.storage import accounts, join_requests
from admin_api.storage.join_requests import JoinRequest
from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

Decision = Literal["accept", "decline"]
DECISIONS: Final = ("accept", "decline")
# Of one person: each is an e-mail to owners.
MAX_OPEN: Final = 20


async def ask_to_join(pool: "Pool", actor: Actor, *, team: str, reason: str = "") -> JoinRequest:
    """A request of the actor, of which the owners get an e-mail.

    Raises GatewayError `not_found`, and `conflict` for who is in the team or has asked already, for an archived team,
    and beyond MAX_OPEN open requests.
    """
    user_id = changing_own_id(actor)
    checked = check_reason(reason, use="An owner of the team reads it.") or ""
    async with pool.acquire() as connection, connection.transaction():
        account = await get_team(connection, team)
        await accounts.lock_account(connection, account.id)
        account = await get_team(connection, str(account.id))
        check_not_archived(account)
        if await accounts.find_member(connection, account_id=account.id, user_id=user_id) is not None:
            raise GatewayError("conflict", f"You are in team '{account.name}' already.")
        if len(await join_requests.list_requests(connection, after_id=0, limit=MAX_OPEN, user_id=user_id)) == MAX_OPEN:
            raise GatewayError("conflict", f"{MAX_OPEN} requests of yours wait for an answer.")
        request_id = await join_requests.insert_request(connection, team_id=account.id, user_id=user_id, reason=checked)
        made = None if request_id is None else await join_requests.find_request(connection, request_id)
        if made is None:
            raise GatewayError("conflict", f"You have asked to join team '{account.name}' already.")
        await note(connection, actor, "team.ask_to_join", "team", account.id, new=_audit_fields(made))
        about = _event(made) | {"account_id": account.id, "reason": checked or None}
        await notify(connection, "team.join_requested", about, account_id=account.id, by_user_id=user_id)
    return made


async def list_requests(
    pool: "Pool", actor: Actor, team: str, *, limit: int = 100, cursor: str | None = None
) -> Page[JoinRequest]:
    """The open ones to a team, by id; for its owners and admins. Raises GatewayError `not_found`, `forbidden`."""
    check_limit(limit)
    async with pool.acquire() as connection:
        account = await get_managed_team(connection, actor, team)
        after_id = parse_id_cursor(cursor)
        rows = await join_requests.list_requests(connection, after_id=after_id, limit=limit + 1, team_id=account.id)
    return page(rows, limit, lambda row: row.id)


async def list_own(pool: "Pool", actor: Actor, *, limit: int = 100, cursor: str | None = None) -> Page[JoinRequest]:
    """The open ones of the actor, by id. Raises GatewayError `not_found` for logins without a user."""
    user_id = own_id(actor)
    check_limit(limit)
    async with pool.acquire() as connection:
        after_id = parse_id_cursor(cursor)
        rows = await join_requests.list_requests(connection, after_id=after_id, limit=limit + 1, user_id=user_id)
    return page(rows, limit, lambda row: row.id)


async def decide(
    pool: "Pool", actor: Actor, team: str, request_id: int, decision: str, *, reason: str | None = None
) -> JoinRequest:
    """Accepting makes the person a member; they get an e-mail either way. By an owner or an admin.

    Raises GatewayError `not_found`, also for a request to another team or one that is not open any more, `forbidden`.
    """
    known = cast("Decision", check_word("decision", decision, DECISIONS))
    answer = check_reason(reason, use="It is shown to the user.")
    async with pool.acquire() as connection, connection.transaction():
        account = await lock_team(connection, actor, team)
        found = await join_requests.find_request(connection, request_id) if 0 < request_id <= MAX_ID else None
        if found is None or found.team_id != account.id:
            raise GatewayError("not_found", f"There is no open request {request_id} to join team '{account.name}'.")
        if known == "accept":
            await accounts.insert_member(connection, account_id=account.id, user_id=found.user_id, role="member")
        await join_requests.delete_request(connection, team_id=account.id, user_id=found.user_id)
        action = "team.accept_join_request" if known == "accept" else "team.decline_join_request"
        new = {"decision": known} | ({"reason": answer} if answer else {})
        await note(connection, actor, action, "team", account.id, old=_audit_fields(found), new=new)
        status = "accepted" if known == "accept" else "declined"
        about = _event(found) | {"status": status, "reason": answer, "by": actor.name}
        await notify(connection, "team.join_decided", about, account_id=account.id, user_id=found.user_id)
    return found


async def withdraw(pool: "Pool", actor: Actor, request_id: int) -> None:
    """By who asked. Raises GatewayError `not_found`."""
    user_id = own_id(actor)
    async with pool.acquire() as connection, connection.transaction():
        found = await join_requests.find_request(connection, request_id) if 0 < request_id <= MAX_ID else None
        if found is None or found.user_id != user_id:
            raise GatewayError("not_found", f"You have no open request {request_id}.")
        await join_requests.delete_request(connection, team_id=found.team_id, user_id=user_id)
        await note(connection, actor, "team.withdraw_join_request", "team", found.team_id, old=_audit_fields(found))


def _audit_fields(row: JoinRequest) -> dict[str, Any]:
    return {"request_id": row.id, "user_id": row.user_id, "email": row.email, "reason": row.reason}


def _event(row: JoinRequest) -> dict[str, Any]:
    """What a message says of the request. No account_id: who was declined is not in the account."""
    return {"join_request_id": row.id, "team_id": row.team_id, "team": row.team, "user": row.email, "name": row.name}
