"""Read access: what an actor may see. `actors.party_of` decides what they may change."""

from typing import TYPE_CHECKING

from admin_api.operations.actors import Actor, party_of
from admin_api.operations.lookups import get_account, get_key, get_model
from admin_api.operations.validation import invalid
from admin_api.storage import accounts, api_keys, models
from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from admin_api.storage.accounts import Account
    from admin_api.storage.api_keys import APIKey
    from admin_api.storage.models import Model
    from gateway.storage.postgres import Executor


def viewer_of(actor: Actor) -> int | None:
    """The id of the user whose accounts are visible; None if the actor sees everything. Raises GatewayError
    `forbidden`."""
    if actor.role in ("admin", "admin-readonly", "program"):
        return None
    if actor.user_id is None:
        raise GatewayError("forbidden", "This login belongs to no user.")
    return actor.user_id


async def is_seen(executor: "Executor", actor: Actor, account_id: int) -> bool:
    """Whether the account is the actor's own or of one of their teams, or the actor sees everything."""
    viewer = viewer_of(actor)
    return viewer is None or await accounts.is_own(executor, account_id=account_id, user_id=viewer)


async def get_seen_account(executor: "Executor", actor: Actor, *, user: str | None, team: str | None) -> "Account":
    """The named account, or the actor's own if none is named.

    Raises GatewayError `not_found`, with the same message for an account that does not exist and for a hidden one.
    """
    if user is None and team is None and actor.user_id is not None:
        user = str(actor.user_id)
    account = await get_account(executor, user=user, team=team)
    if await is_seen(executor, actor, account.id):
        return account
    if team is not None:
        raise GatewayError("not_found", f"There is no team '{team}'.", param="team")
    raise GatewayError("not_found", f"There is no user '{user}'.", param="user")


async def get_one_account(executor: "Executor", actor: Actor, *, user: str | None, team: str | None) -> "Account":
    """As `get_seen_account`. Raises GatewayError `validation_failed` if both a user and a team are named."""
    if user is not None and team is not None:
        raise invalid("team", "Name either a user or a team, not both.")
    return await get_seen_account(executor, actor, user=user, team=team)


async def get_seen_model(executor: "Executor", actor: Actor, name: str) -> "Model":
    """By its exact name. Raises GatewayError `not_found`, with the same message for a model that does not exist and for
    a hidden one that none of the actor's accounts is subscribed to."""
    viewer = viewer_of(actor)
    model = await get_model(executor, name)
    if viewer is None or not model.hidden or await models.is_subscribed(executor, model.id, user_id=viewer):
        return model
    raise GatewayError("not_found", f"There is no model '{name}'.", param="model")


async def get_own_key(executor: "Executor", actor: Actor, key_id: int) -> "APIKey":
    """A key of the actor or of a team they own; any key if they see everything. Raises GatewayError `not_found`.

    Also the key of the actor's playground, for usage and refusals that name it: `get_listed_key` passes over it.
    """
    viewer = viewer_of(actor)
    key = await get_key(executor, key_id)
    if viewer is not None and not await api_keys.is_key_seen(executor, key_id, viewer_id=viewer):
        raise GatewayError("not_found", f"There is no key {key_id}.")
    return key


async def get_listed_key(executor: "Executor", actor: Actor, key_id: int) -> "APIKey":
    """As `get_own_key`, of those that lists show. Raises GatewayError `not_found`."""
    key = await get_own_key(executor, actor, key_id)
    if key.kind != "standard":
        raise GatewayError("not_found", f"There is no key {key_id}.")
    return key


async def lock_own_key(executor: "Executor", actor: Actor, key_id: int) -> "APIKey":
    """As `get_listed_key`, for a change: locks the account. Raises GatewayError `not_found`, or `forbidden` for
    read-only admins and for users who left the team."""
    key = await get_listed_key(executor, actor, key_id)
    await accounts.lock_account(executor, key.account_id)
    if actor.role == "admin-readonly" or not await is_seen(executor, actor, key.account_id):
        raise GatewayError("forbidden", "You may not change this key.")
    return await get_key(executor, key_id)


async def get_managed_team(executor: "Executor", actor: Actor, team: str) -> "Account":
    """A team of which the actor is an owner, or any for admins and read-only admins. Raises GatewayError `not_found`,
    `forbidden`."""
    account = await get_seen_account(executor, actor, user=None, team=team)
    if actor.role != "admin-readonly":
        await party_of(executor, actor, account)
    return account
