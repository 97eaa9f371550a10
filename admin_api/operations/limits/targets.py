"""The targets of limits: what the id means at each level.

| level | id | in addition |
|---|---|---|
| key | key id, for admins also the last four characters | |
| key_model | key id | model name |
| subscription | subscription id | |
| user | user id or e-mail address | a team, for the user within that team |
| team | team (account) id or name | |
"""

from typing import TYPE_CHECKING

from admin_api.operations.access import get_seen_model
from admin_api.operations.actors import Actor
from admin_api.operations.lookups import find_key_id, get_key, get_team, get_user, parse_id
from admin_api.operations.validation import invalid
from admin_api.storage import accounts, subscriptions
from admin_api.storage.limits import Target
from gateway.domain.errors import GatewayError
from gateway.domain.limits import LEVELS, Level

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor


async def find_target(
    executor: "Executor", actor: Actor, *, level: str, target: str, model: str | None, team: str | None
) -> Target:
    """Raises GatewayError `not_found`, or `validation_failed` for a model or team that the level does not have."""
    if (level == "key_model") != (model is not None):
        raise invalid("model", "A model is required at level key_model and not allowed at other levels.")
    if team is not None and level != "user":
        raise invalid("team", "A team is allowed at level user only; at level team it is the id.")
    if level == "key" or level == "key_model":
        key = await get_key(executor, await _find_key_id(executor, actor, target))
        if model is None:
            return Target(account_id=key.account_id, level="key", api_key_id=key.id)
        found = await get_seen_model(executor, actor, model)
        return Target(account_id=key.account_id, level="key_model", api_key_id=key.id, model_id=found.id)
    if level == "subscription":
        number = parse_id("id", target)
        subscription = await subscriptions.find_subscription(executor, number)
        if subscription is None:
            raise GatewayError("not_found", f"There is no subscription {number}.")
        return Target(account_id=subscription.account_id, level="subscription", subscription_id=number)
    if level == "user":
        return await _find_user_target(executor, target, team)
    if level == "team":
        account = await get_team(executor, target)
        return Target(account_id=account.id, level="team")
    raise invalid("level", f"level is one of {', '.join(LEVELS)}.")


async def find_target_id(executor: "Executor", actor: Actor, *, level: Level | None, target: str) -> int:
    """The id to filter a list by. Names are resolved at levels user and team; for admins, last characters of keys."""
    if level == "user":
        return (await get_user(executor, target)).id
    if level == "team":
        return (await get_team(executor, target)).id
    if level == "key" or level == "key_model":
        return await _find_key_id(executor, actor, target)
    return parse_id("id", target)


async def _find_key_id(executor: "Executor", actor: Actor, target: str) -> int:
    """By its last four characters for admins only, who may know which keys there are."""
    is_admin = actor.role in ("admin", "admin-readonly")
    return await find_key_id(executor, target) if is_admin else parse_id("id", target)


async def _find_user_target(executor: "Executor", user: str, team: str | None) -> Target:
    person = await get_user(executor, user)
    if team is None:
        return Target(account_id=person.account_id, level="user", user_id=person.id)
    account = await get_team(executor, team)
    if await accounts.find_member(executor, account_id=account.id, user_id=person.id) is None:
        raise GatewayError("not_found", f"'{person.email}' is not in team '{account.name}'.")
    return Target(account_id=account.id, level="user", user_id=person.id)
