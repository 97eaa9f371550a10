"""Anonymises a user: their names and addresses go from everywhere but exports that somebody has, in one audited act."""

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from admin_api.encryption import EncryptionError, SecretKeys
from admin_api.operations.actors import Actor, note, require_admin
from admin_api.operations.lookups import get_user
from admin_api.operations.maintenance.secrets import ANSWER, BATCH_SIZE, row_of_answer
from admin_api.operations.people.users import check_admin_stays
from admin_api.operations.preconditions import check_version, version_of
from admin_api.storage import accounts, idempotency_keys, personal_data
from admin_api.storage import users as user_rows
from admin_api.storage.users import User
from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

ACTION: Final = "user.anonymise"


@dataclass(frozen=True, slots=True, kw_only=True)
class Anonymised:
    """The user as they are now, and how many rows of each kind ended or changed. `texts` are values elsewhere in which
    a name was replaced, `answers` those kept for repeated requests."""

    user: User
    audit_rows: int
    texts: int
    answers: int
    sessions: int
    identities: int
    messages: int
    refused_calls: int
    invitations: int
    join_requests: int
    limit_requests: int
    teams: int
    tokens: int
    keys: int
    subscriptions: int


async def anonymise_user(
    pool: "Pool", actor: Actor, secret_keys: SecretKeys, user: str, *, as_of: str | None = None
) -> Anonymised:
    """Replaces the user's names and addresses everywhere, revokes what they log in with, and ends what they have: for
    good. Their usage stays, as an id's. A login with their address afterwards makes a new user.

    Raises GatewayError `not_found`, `precondition_failed`, or `conflict` if they are anonymised already, are the actor
    or the last active admin.
    """
    require_admin(actor)
    async with pool.acquire() as connection, connection.transaction():
        # The same lock order as for all changes of users.
        admins = await user_rows.lock_admins(connection)
        found = await get_user(connection, user)
        old = await user_rows.lock_user(connection, found.id) or found
        check_version(version_of(old), as_of)
        if old.anonymised_at is not None:
            raise GatewayError("conflict", f"User {old.id} is anonymised already.")
        if old.id == actor.user_id:
            raise GatewayError("conflict", "Ask another admin: the audit row of this act would have your name.")
        check_admin_stays(admins, replace(old, role="user", status="deactivated"))
        await accounts.lock_account(connection, old.account_id)
        patterns = await personal_data.find_patterns(connection, old.id)
        texts = await personal_data.rewrite(connection, old.id, patterns)
        answers = await _erase_answers(connection, secret_keys, patterns.names)
        audit_rows, digest = await personal_data.erase_added(connection, old.id)
        counts = await personal_data.erase(connection, old.id, by=actor.name)
        counts |= {"audit_rows": audit_rows, "texts": texts, "answers": answers}
        await note(connection, actor, ACTION, "user", old.id, new=counts | {"digest": digest})
        new = await get_user(connection, str(old.id))
    counts.pop("user")
    return Anonymised(user=new, **counts)


async def _erase_answers(executor: "Executor", secret_keys: SecretKeys, names: tuple[str, ...]) -> int:
    """Answers kept for a day that have one of the names, and those that cannot be read. The request, sent again, is
    refused: it does nothing twice."""
    sought = {spelled.casefold() for name in names for spelled in (name, json.dumps(name)[1:-1])}
    count, after = 0, ("", "")
    while found := await idempotency_keys.lock_answers(executor, after=after, limit=BATCH_SIZE):
        for kept in found:
            row = row_of_answer(caller=kept.caller, key=kept.key)
            try:
                text = secret_keys.decrypt(kept.answer, purpose=ANSWER, row=row).decode(errors="replace").casefold()
            except EncryptionError:
                text = None
            if text is None or any(name in text for name in sought):
                await idempotency_keys.erase_answer(executor, caller=kept.caller, key=kept.key)
                count += 1
        after = (found[-1].caller, found[-1].key)
    return count
