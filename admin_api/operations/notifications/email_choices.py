"""Which events a person gets e-mails about. Alerts and states are on pages and in webhooks all the same."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from admin_api.operations.actors import Actor, note, require_admin, require_reader
from admin_api.operations.lookups import get_user
from admin_api.operations.notifications.events import EVENTS
from admin_api.operations.notifications.pending_requests import EVENT as PENDING
from admin_api.operations.people.users import own_id
from admin_api.operations.validation import check_word
from admin_api.storage import muted_emails, users
from admin_api.storage.users import User
from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

# The last one is for admins alone.
EMAILS: Final = (*EVENTS, PENDING)


@dataclass(frozen=True, slots=True)
class EmailChoice:
    """Whether the person gets e-mails about the event."""

    event: str
    email: bool


async def list_choices(pool: "Pool", actor: Actor, *, user: str | None = None) -> list[EmailChoice]:
    """Of the actor, or of `user`: each event that they could get an e-mail about."""
    async with pool.acquire() as connection:
        if user is not None:
            require_reader(actor)
        person = await get_user(connection, str(own_id(actor)) if user is None else user)
        return await _choices(connection, person)


async def update_choices(
    pool: "Pool", actor: Actor, emails: Mapping[str, bool], *, user: str | None = None
) -> list[EmailChoice]:
    """For the actor, or by an admin for `user`; events that are left out stay as they are. What waits already is
    not sent either. Raises GatewayError `validation_failed` for an unknown event."""
    for event in emails:
        check_word("emails", event, EMAILS)
    if user is not None:
        require_admin(actor)
    elif actor.role == "admin-readonly":
        raise GatewayError("forbidden", "Read-only admins cannot change anything, not even their own user.")
    async with pool.acquire() as connection, connection.transaction():
        found = await get_user(connection, str(own_id(actor)) if user is None else user)
        person = await users.lock_user(connection, found.id) or found
        old = await muted_emails.find_muted(connection, person.id)
        new = {event for event in EMAILS if not emails.get(event, event not in old)}
        if new != old:
            await muted_emails.update_muted(connection, person.id, sorted(new))
            values = {"old": {"muted_emails": sorted(old)}, "new": {"muted_emails": sorted(new)}}
            await note(connection, actor, "user.update", "user", person.id, **values)
        return await _choices(connection, person)


async def _choices(executor: "Executor", person: User) -> list[EmailChoice]:
    muted = await muted_emails.find_muted(executor, person.id)
    events = EMAILS if person.role == "admin" else EVENTS
    return [EmailChoice(event, event not in muted) for event in events]
