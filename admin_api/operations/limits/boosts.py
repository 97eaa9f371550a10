"""Boosts: temporary limits, each of which replaces a permanent one until it expires."""

from datetime import datetime
from typing import TYPE_CHECKING

from admin_api.operations.actors import Actor, require_admin
from admin_api.operations.limits.limits import LimitChange, lock_limit, set_amount
from admin_api.operations.limits.parsing import AmountInput, check_change
from admin_api.operations.validation import check_future, check_reason, invalid, unconfirmed
from gateway.domain.errors import GatewayError
from gateway.domain.limits import amount_text

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool


async def boost_limit(
    pool: "Pool",
    actor: Actor,
    limit_id: int,
    *,
    amount: AmountInput,
    expires_at: datetime,
    reason: str,
    confirmed: bool = False,
) -> LimitChange:
    """Raises GatewayError `not_found`, `conflict` for a limit that is temporary itself, or `validation_failed`, also
    for one that is lower, unless it is confirmed."""
    require_admin(actor)
    checked = check_reason(reason, required=True)
    ends = check_future("expires_at", expires_at) or expires_at
    async with pool.acquire() as connection, connection.transaction():
        row = await lock_limit(connection, limit_id)
        if row.expires_at is not None:
            raise GatewayError("conflict", f"Limit {limit_id} is temporary itself. Set it again instead.")
        known = amount.of_stored_kind(row.kind)
        if known is None:
            raise invalid("amount", "A boost has an amount; to lift a limit for good, set it to unlimited.")
        check_change(row.kind, row.amount, known, confirmed=confirmed)
        if known < row.amount and not confirmed:
            amounts = f"from {amount_text(row.kind, row.amount)} to {amount_text(row.kind, known)}"
            raise unconfirmed(f"The boost would lower the limit {amounts} until {ends:%Y-%m-%d %H:%M:%S}Z.")
        return await set_amount(
            connection,
            actor,
            row,
            known,
            reason=checked,
            expires_at=ends,
            confirmed=confirmed,
            action="limit.boost",
        )
