"""Address and name of a user follow what the identity provider reports of the person at their logins."""

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from admin_api.operations.actors import Actor, note
from admin_api.operations.people.users import change_email
from admin_api.operations.validation import check_email
from admin_api.storage import sessions
from admin_api.storage.sessions import Profile
from gateway.domain.email_addresses import is_literal
from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from admin_api.storage.users import User
    from gateway.storage.postgres import Executor

log = structlog.get_logger(__name__)


async def follow_profile(
    connection: "Executor", actor: Actor, user: "User", reported: Profile, *, issuer: str, subject: str
) -> "User":
    """The user with what changed at the provider since it last reported; the address is written, the rest is not.

    What did not change there stays as a person or an admin set it here. An address of another user is never taken
    over: it is logged and audited, at each login until it is free. `reported.email` None: no verified one.
    """
    last = await sessions.find_profile(connection, issuer=issuer, subject=subject)
    email = _as_stored(reported.email) or last.email
    changed = user
    if reported.name and reported.name != last.name and (last.name is not None or not user.name):
        changed = replace(changed, name=reported.name)
    if email is not None and email not in (last.email, user.email):
        try:
            await change_email(connection, user, email)
            changed = replace(changed, email=email)
        except GatewayError:
            log.warning("address_is_taken", user_id=user.id, issuer=issuer, subject=subject)
            said = {"email": email, "issuer": issuer, "cause": "another user has this address"}
            await note(connection, actor, "user.keep_email", "user", user.id, old={"email": user.email}, new=said)
            email = last.email
    now = Profile(email=email, name=reported.name or last.name)
    if now != last:
        await sessions.update_profile(connection, now, issuer=issuer, subject=subject)
    return changed


def _as_stored(email: str | None) -> str | None:
    """None for what cannot be an address here; the login of a known person does not depend on it."""
    if email is None or not is_literal(email):
        return None
    try:
        return check_email(email)
    except GatewayError:
        return None
