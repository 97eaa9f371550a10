"""Limits that owners set on their own keys. They apply in addition to the admins' limits and cannot exceed them."""

from dataclasses import replace
from typing import TYPE_CHECKING

from admin_api.operations.access import get_own_key, lock_own_key
from admin_api.operations.actors import Actor
from admin_api.operations.keys.rules import ceiling_of
from admin_api.operations.limits import targets
from admin_api.operations.limits.limits import LimitChange, LimitInput, apply_limit, remove_limit
from admin_api.operations.limits.parsing import check_kind, check_window
from admin_api.operations.lookups import parse_id
from admin_api.operations.pagination import MAX_ID
from admin_api.operations.preconditions import check_version, version_of
from admin_api.operations.runtime_settings import read_settings
from admin_api.operations.validation import invalid_now
from admin_api.storage import limits as limit_rows
from admin_api.storage.limits import Target
from gateway.domain.errors import GatewayError
from gateway.domain.limits import amount_text, is_money

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool


async def set_own_limit(
    pool: "Pool",
    actor: Actor,
    input_: LimitInput,
    *,
    level: str,
    target: str,
    model: str | None,
    team: str | None,
    as_of: str | None = None,
) -> LimitChange:
    """As `limits.set_limit`, by the owner of the key. Unlimited removes only the owner's own limit.

    Raises GatewayError `forbidden` at other levels, `validation_failed` above an admin's limit or ceiling.
    """
    if level not in ("key", "key_model"):
        raise GatewayError("forbidden", "Owners can set limits on their keys only. Other limits are set by admins.")
    async with pool.acquire() as connection, connection.transaction():
        await lock_own_key(connection, actor, parse_id("id", target))
        found = await targets.find_target(connection, actor, level=level, target=target, model=model, team=team)
        if input_.amount is not None and not input_.shadow:
            await _check_lower(connection, found, input_, input_.amount)
        return await apply_limit(connection, actor, found, replace(input_, set_by="owner"), as_of=as_of)


async def delete_own_limit(pool: "Pool", actor: Actor, limit_id: int, *, as_of: str | None = None) -> None:
    """Raises GatewayError `not_found`, `forbidden` for an admin's limit, or `precondition_failed`."""
    async with pool.acquire() as connection, connection.transaction():
        row = await limit_rows.find_limit(connection, limit_id) if 0 < limit_id <= MAX_ID else None
        if row is None or row.api_key_id is None:
            raise GatewayError("not_found", f"You have set no limit {limit_id}.")
        await get_own_key(connection, actor, row.api_key_id)
        await lock_own_key(connection, actor, row.api_key_id)
        if row.set_by != "owner":
            raise GatewayError("forbidden", "This limit was set by an admin.")
        row = await limit_rows.find_limit(connection, limit_id)
        if row is not None:
            check_version(version_of(row), as_of)
            await remove_limit(connection, actor, row)


async def _check_lower(executor: "Executor", target: Target, input_: LimitInput, amount: int) -> None:
    kind = check_kind(input_.kind)
    window = check_window(kind, input_.window)
    of_admins = await limit_rows.find_limits_of_a_kind(
        executor, target, kind=kind, window=window, set_by="admin", shadow=False
    )
    amounts = [row.amount for row in of_admins if row.expires_at is None]
    ceiling = ceiling_of(await read_settings(executor), kind, window) if target.level == "key" else None
    if ceiling is not None and not amounts:
        amounts.append(ceiling)
    if amounts and amount > min(amounts):
        field = "amount_usd" if is_money(kind) else "amount"
        raise invalid_now(
            field, f"{field} must be at most {amount_text(kind, min(amounts))}, which is an admin's limit."
        )
