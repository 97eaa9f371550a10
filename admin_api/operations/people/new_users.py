"""What every new user gets, made by an admin or by a first login."""

from typing import TYPE_CHECKING

from admin_api.operations.actors import Actor
from admin_api.operations.limits.limits import LimitInput, apply_limit
from admin_api.operations.runtime_settings import read_settings
from admin_api.storage.limits import Target
from admin_api.storage.users import User

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor


async def apply_defaults(executor: "Executor", actor: Actor, user: User) -> None:
    """The default budget of their personal account, in the transaction that makes them."""
    amount = (await read_settings(executor)).user_default_monthly_cost_nano_usd
    if amount is not None:
        await apply_budget(executor, actor, user, amount)


async def apply_budget(executor: "Executor", actor: Actor, user: User, nano_usd: int) -> None:
    """What the user's personal account may cost a month."""
    target = Target(account_id=user.account_id, level="user", user_id=user.id)
    await apply_limit(executor, actor, target, LimitInput(kind="cost", window="month", amount=nano_usd, confirmed=True))
