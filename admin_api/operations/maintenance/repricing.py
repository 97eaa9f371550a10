"""Prices a call again: a correction in the ledger, which counts on the day it is made."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from admin_api.operations.actors import Actor, note, require_admin
from admin_api.operations.validation import invalid, invalid_now
from gateway.domain.errors import GatewayError
from gateway.domain.ids import milliseconds_of
from gateway.domain.money import NANO_USD
from gateway.storage.ledger.corrections import CLOSED_AFTER, LOCK_CALL, book, current_row

if TYPE_CHECKING:
    from uuid import UUID

    from gateway.storage.postgres import Pool

MAX_COST_USD: Final = Decimal(1_000_000)
MAX_REASON: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Repriced:
    """What a call was charged before and is charged now, in nano-USD; None: the model had no price."""

    request_id: "UUID"
    was_nano_usd: int | None
    cost_nano_usd: int


async def reprice_call(pool: "Pool", actor: Actor, request_id: "UUID", *, cost: Decimal, reason: str) -> Repriced:
    """Charges `cost` USD for a call. Raises GatewayError `not_found`, `validation_failed`."""
    require_admin(actor)
    if not 0 <= cost <= MAX_COST_USD or cost * NANO_USD % 1:
        raise invalid("cost_usd", f"cost_usd must be from 0 to {MAX_COST_USD} USD, with nine decimals at most.")
    if not reason.isprintable() or not 1 <= len(reason) <= MAX_REASON:
        raise invalid("reason", f"reason must have 1 to {MAX_REASON} printable characters.")
    nano = int(cost * NANO_USD)
    async with pool.acquire() as connection, connection.transaction(isolation="read_committed"):
        await connection.execute(LOCK_CALL, request_id)
        was = await current_row(connection, request_id)
        if was is None:
            raise GatewayError("not_found", "The ledger has no call with this id.")
        is_open = milliseconds_of(request_id) > (datetime.now(UTC) - CLOSED_AFTER).timestamp() * 1000
        if was.estimated_why == "reaped" and is_open:
            raise invalid_now(
                "request_id", "The call is an estimate that its row may still replace. Try again in nine days."
            )
        if was.cost_nano_usd == was.counted_nano_usd == nano:
            raise invalid_now("cost_usd", "The call costs that already.")
        now = replace(was, cost_nano_usd=nano, counted_nano_usd=nano)
        await book(connection, "repriced", was=was, now=now, made_by=actor.lasting_name, note=reason)
        whose = {name: getattr(was, name) for name in ("account_id", "api_key_id", "model_id")}
        old, new = {"cost_nano_usd": was.cost_nano_usd}, {"cost_nano_usd": nano, "reason": reason} | whose
        await note(connection, actor, "ledger.reprice", "call", request_id, old=old, new=new)
    return Repriced(request_id=request_id, was_nano_usd=was.cost_nano_usd, cost_nano_usd=nano)
