"""What an actor may see: everything, or the accounts that are his own. What he may change says `party_of`."""

from typing import TYPE_CHECKING

from admin_api.operations.actors import Actor
from admin_api.operations.lookups import get_account
from gateway.domain.errors import GatewayError
from gateway.storage import accounts

if TYPE_CHECKING:
    from gateway.storage.accounts import Account
    from gateway.storage.postgres import Executor


def viewer_of(actor: Actor) -> int | None:
    """The user whose own things alone are shown; None sees everything. Raises GatewayError `forbidden`."""
    if actor.role in ("admin", "admin-readonly", "program"):
        return None
    if actor.user_id is None:
        raise GatewayError("forbidden", "This login belongs to no user.")
    return actor.user_id


async def is_seen(executor: "Executor", actor: Actor, account_id: int) -> bool:
    """Whether it is his personal account, that of a team he is in, or he sees everything."""
    viewer = viewer_of(actor)
    return viewer is None or await accounts.is_own(executor, account_id=account_id, user_id=viewer)


async def get_seen_account(executor: "Executor", actor: Actor, *, user: str | None, team: str | None) -> "Account":
    """The account that is named, or his own if none is.

    Raises GatewayError `not_found` in the same words for one that is not there and for one he may not see.
    """
    if user is None and team is None and actor.user_id is not None:
        user = str(actor.user_id)
    account = await get_account(executor, user=user, team=team)
    if await is_seen(executor, actor, account.id):
        return account
    if team is not None:
        raise GatewayError("not_found", f"There is no team '{team}'.", param="team")
    raise GatewayError("not_found", f"There is no user '{user}'.", param="user")
