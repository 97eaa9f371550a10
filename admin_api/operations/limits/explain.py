"""Explains what the limits would decide now, and repairs their counters. Reads Redis; reserves nothing."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from admin_api.operations.access import get_own_key
from admin_api.operations.actors import Actor, note, require_admin
from admin_api.operations.validation import invalid
from gateway.domain.calls import Usage
from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant, KeyRecord
from gateway.domain.ids import RequestIds, milliseconds_of
from gateway.domain.limit_json import limit_json
from gateway.domain.limits import MAX_AMOUNT, amount_fields
from gateway.domain.prices import cost_nano_usd
from gateway.domain.refusals import decisive, refusal
from gateway.domain.reservation_plan import make_reservation_plan
from gateway.storage.counters.drift import Drift, measure_drift
from gateway.storage.counters.epochs import list_account_ids, raise_epochs
from gateway.storage.counters.scripts import SCRIPTS, Counters, Estimate
from gateway.storage.counters.seeding import Seeder
from gateway.storage.counters.state import LimitState
from gateway.storage.key_records import find_key_record_by_id
from gateway.storage.redis.urls import connect

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

MAX_TOKENS = MAX_AMOUNT // 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Whether a call would be admitted now; if not, the error's code and message. `limits` shows which would reject."""

    allowed: bool
    code: str | None
    message: str | None
    limits: Sequence[dict[str, Any]]


@asynccontextmanager
async def open_counters(redis_url: str, *, ca_file: Path | None, timeout_s: float = 2.0) -> AsyncIterator[Counters]:
    """The counters, for the duration of the block. Raises GatewayError `limits_unavailable` if Redis is unavailable."""
    scripts = connect(redis_url, SCRIPTS, timeout_s=timeout_s, ca_file=ca_file)
    await scripts.open()
    try:
        if not scripts.is_connected:
            raise GatewayError("limits_unavailable", "Redis does not answer. Check LITEMAAS_REDIS_URL.")
        yield Counters(scripts)
    finally:
        await scripts.close()


async def explain_limits(
    pool: "Pool", counters: Counters, actor: Actor, *, key_id: int, model: str, tokens: int
) -> Explanation:
    """Explains a call with `tokens` tokens by this key to this model. Open to the key's owner, too. Raises GatewayError
    `not_found`, `validation_failed`."""
    if not 0 <= tokens <= MAX_TOKENS:
        raise invalid("tokens", f"tokens must be a number from 0 to {MAX_TOKENS}.")
    async with pool.acquire() as connection:
        await get_own_key(connection, actor, key_id)
        record = await find_key_record_by_id(connection, key_id)
    if record is None:
        raise GatewayError("not_found", f"There is no key {key_id}.")
    reason = _inactive(record)
    if reason is not None:
        return Explanation(allowed=False, code=reason[0], message=reason[1], limits=())
    grant = record.grants.get(model)
    if grant is None or grant.is_over(datetime.now(UTC)):
        message = f"Key {key_id} may not use '{model}': it is not on the key, or its subscription is not active."
        return Explanation(allowed=False, code="model_not_found", message=message, limits=())
    return await _explain(pool, counters, record, grant, tokens)


async def _explain(pool: "Pool", counters: Counters, record: KeyRecord, grant: Grant, tokens: int) -> Explanation:
    ids = RequestIds()
    ids.offset_ms = await counters.now_ms() - int(time.time() * 1000)
    request_id = ids.new()
    plan = make_reservation_plan(grant, record.time_zone, record.epoch, milliseconds_of(request_id))
    if plan.has_cost and (grant.price is None or not grant.price.is_known):
        message = "The model has no price, so it cannot be used under a cost limit."
        return Explanation(allowed=False, code="model_has_no_price", message=message, limits=())
    cost = 0 if grant.price is None else cost_nano_usd(grant.price, Usage(prompt_tokens=tokens))
    estimate = Estimate(tokens=(tokens, 0, tokens), cost=(cost, 0, cost))
    state = LimitState(counters, Seeder(counters, pool))
    taken, now_ms = await state.look(record, grant, request_id, estimate)
    limits = [
        limit_json(t, now_ms) | amount_fields("requested", t.limit.kind, t.want) | {"would_refuse": t.refuses}
        for t in taken
    ]
    if not any(t.refuses and not t.limit.shadow for t in taken):
        return Explanation(allowed=True, code=None, message=None, limits=limits)
    by = decisive(taken)
    error = refusal(by, by.wait_s())
    return Explanation(allowed=False, code=error.code, message=error.message, limits=limits)


def _inactive(record: KeyRecord) -> tuple[str, str] | None:
    if record.is_revoked:
        return "invalid_api_key", "The key was revoked."
    if record.expires_at is not None and record.expires_at.timestamp() <= time.time():
        return "api_key_expired", f"The key expired at {record.expires_at.isoformat()}."
    if not record.is_account_active or not record.is_user_active:
        return "account_suspended", "The account or user of the key is not active."
    return None


async def repair_limits(
    pool: "Pool", counters: Counters, actor: Actor, *, account_id: int | None = None
) -> list[Drift]:
    """Lets the next call rebuild the window counters and lease counts from the ledger, of one account or of all.
    Returns the counters that differ from the ledger; rows still on their way to Postgres count as a difference."""
    require_admin(actor)
    known = await list_account_ids(pool)
    if account_id is not None and account_id not in known:
        raise GatewayError("not_found", f"There is no account {account_id}.")
    account_ids = known if account_id is None else [account_id]
    now_ms = await counters.now_ms()
    drifts = []
    for one in account_ids:
        drifts += [d for d in await measure_drift(counters, pool, one, now_ms) if d.difference]
    async with pool.acquire() as connection, connection.transaction():
        await raise_epochs(connection, account_ids)
        target = "all" if account_id is None else account_id
        await note(connection, actor, "limits.repair", "account", target, new={"drifted_counters": len(drifts)})
    return drifts
