"""Explains what the limits would decide now, and repairs their counters. Reads Redis; reserves nothing."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from admin_api.operations.access import get_own_key, viewer_of
from admin_api.operations.actors import Actor, note, require_admin
from admin_api.operations.validation import check_ip, invalid
from admin_api.storage import accounts
from gateway.domain.access import check_access
from gateway.domain.admission import admissible
from gateway.domain.call_shapes import CallShape, ordinary_call
from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant, KeyRecord
from gateway.domain.ids import RequestIds, milliseconds_of
from gateway.domain.limit_json import limit_json
from gateway.domain.limits import MAX_AMOUNT, amount_fields
from gateway.domain.missing_models import Cause, say
from gateway.domain.refusals import decisive, refusal
from gateway.domain.reservation_plan import make_reservation_plan
from gateway.storage.counters.drift import Drift, measure_drift
from gateway.storage.counters.epochs import list_account_ids, raise_epochs_above
from gateway.storage.counters.scripts import SCRIPTS, Counters, Estimate
from gateway.storage.counters.seeding import Seeder
from gateway.storage.counters.settling import settle_down
from gateway.storage.counters.state import LimitState
from gateway.storage.key_records import find_key_record_by_id
from gateway.storage.missing_models import find_cause
from gateway.storage.redis.urls import connect
from gateway.tls import NO_FILES, TlsFiles

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

MAX_TOKENS = MAX_AMOUNT // 1000
# Once rows have arrived: for the calls that seed, and to measure an account.
SEED_MS: Final = 15_000
MEASURE_MS: Final = 20
ROWS_WAIT: Final = (
    "Rows of calls wait for Postgres, and counters would miss them. Try again when they are written: "
    "`litemaas ledger status` on a gateway's machine shows how many wait."
)
# What the gateway answers because of the state that is explained. Other errors say that it cannot be explained now.
REFUSALS: Final = frozenset({
    "invalid_api_key", "api_key_expired", "team_archived", "account_suspended", "ip_not_allowed", "model_not_found",
    "subscription_suspended", "model_has_no_price", "cost_not_bounded", "rate_limit_exceeded", "insufficient_quota",
    "request_exceeds_limit",
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class CallInput:
    """The call to explain. `tokens` are prompt and completion together: all prompt, but for `max_tokens`, the bound on
    the answer. Left out, it is an ordinary call of the model (see `ordinary_call`). `address` is the caller's, as the
    gateway would see it; None: one that the key allows."""

    model: str
    tokens: int | None = None
    max_tokens: int | None = None
    address: str | None = None

    def shape(self, mode: str | None) -> CallShape:
        """Of a model of this mode."""
        if self.tokens is None:
            return ordinary_call(mode, maximum=self.max_tokens)
        answer = min(self.max_tokens or 0, self.tokens)
        return ordinary_call(mode, prompt_tokens=self.tokens - answer, maximum=answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Whether a call would be admitted now; if not, the error's code, message and details, as the gateway gives them.
    `limits` shows which would reject. Tokens are what the call is assumed to need."""

    allowed: bool
    code: str | None = None
    message: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    # For admins, of code model_not_found: which it is.
    missing_cause: Cause | None = None
    missing_cause_text: str | None = None
    limits: Sequence[dict[str, Any]] = ()


@asynccontextmanager
async def open_counters(
    redis_url: str, *, tls: TlsFiles = NO_FILES, timeout_s: float = 2.0, must_answer: bool = True
) -> AsyncIterator[Counters]:
    """The counters, for the duration of the block. Raises GatewayError `limits_unavailable` if Redis is unavailable and
    `must_answer`."""
    scripts = connect(redis_url, SCRIPTS, timeout_s=timeout_s, tls=tls)
    await scripts.open()
    try:
        if must_answer and not scripts.is_connected:
            raise GatewayError("limits_unavailable", "Redis does not answer. Check LITEMAAS_REDIS_URL.")
        yield Counters(scripts)
    finally:
        await scripts.close()


async def explain_limits(
    pool: "Pool", counters: Counters, actor: Actor, *, key_id: int, call: CallInput
) -> Explanation:
    """Explains such a call by this key, by the gateway's own rules. Open to the key's owner, too. Raises GatewayError
    `not_found`, `validation_failed`."""
    for name in ("tokens", "max_tokens"):
        if not 0 <= (getattr(call, name) or 0) <= MAX_TOKENS:
            raise invalid(name, f"{name} must be a number from 0 to {MAX_TOKENS}.")
    address = None if call.address is None else check_ip("address", call.address)
    async with pool.acquire() as connection:
        key = await get_own_key(connection, actor, key_id)
        account = await accounts.find_account(connection, key.account_id)
        record = await find_key_record_by_id(connection, key_id)
    if record is None:
        raise GatewayError("not_found", f"There is no key {key_id}.")
    try:
        grant = check_access(record, address, call.model, datetime.now(UTC))
        explained = await _explain(pool, counters, record, grant, call.shape(grant.mode))
        team = account.name if account is not None and account.kind == "team" else None
        # The user's own in the team is another limit than that of their personal account.
        limits = [one | {"team": team if one["level"] == "user" else None} for one in explained.limits]
        return replace(explained, limits=limits)
    except GatewayError as error:
        if error.code not in REFUSALS:
            raise
        explained = _refused(error)
    if explained.code == "model_not_found" and viewer_of(actor) is None:
        return await _with_cause(pool, record, call.model, explained)
    return explained


async def _with_cause(pool: "Pool", record: KeyRecord, model: str, explained: Explanation) -> Explanation:
    async with pool.acquire() as connection:
        found = await find_cause(connection, account_id=record.account_id, api_key_id=record.key_id, model=model)
    text = None if found.cause is None else say(found.cause, renamed_to=found.renamed_to)
    return replace(explained, missing_cause=found.cause, missing_cause_text=text)


async def _explain(pool: "Pool", counters: Counters, record: KeyRecord, grant: Grant, call: CallShape) -> Explanation:
    ids = RequestIds()
    ids.offset_ms = await counters.now_ms() - int(time.time() * 1000)
    request_id = ids.new()
    plan = make_reservation_plan(grant, record.time_zone, record.epoch, milliseconds_of(request_id))
    expected = admissible(grant, call, plan)
    state = LimitState(counters, Seeder(counters, pool))
    estimate = Estimate(tokens=expected.tokens, cost=expected.cost)
    taken, now_ms = await state.look(record, grant, request_id, estimate)
    limits = [
        limit_json(t, now_ms) | amount_fields("requested", t.limit.kind, t.want) | {"would_refuse": t.refuses}
        for t in taken
    ]
    explained = Explanation(allowed=True)
    if any(t.refuses and not t.limit.shadow for t in taken):
        by = decisive(taken)
        explained = _refused(refusal(by, by.wait_s()))
    prompt, completion, _ = expected.tokens
    return replace(explained, limits=limits, prompt_tokens=prompt, completion_tokens=completion)


def _refused(error: GatewayError) -> Explanation:
    return Explanation(allowed=False, code=error.code, message=error.message, details=error.details)


async def repair_limits(
    pool: "Pool", counters: Counters, actor: Actor, *, account_id: int | None = None
) -> list[Drift]:
    """Lets the next call rebuild the window counters and lease counts from the ledger, of one account or of all.
    Returns the counters that differ from the ledger. It takes some seconds, in which rows on their way to Postgres
    arrive, and calls that end meanwhile are kept: they are no difference. Raises GatewayError `not_found`, and
    `conflict` where rows wait for Postgres."""
    require_admin(actor)
    known = await list_account_ids(pool)
    if account_id is not None and account_id not in known:
        raise GatewayError("not_found", f"There is no account {account_id}.")
    account_ids = known if account_id is None else [account_id]

    async def listed() -> list[int]:
        return account_ids

    if await settle_down(counters, listed, keep_ms=SEED_MS + len(account_ids) * MEASURE_MS) is None:
        raise GatewayError("conflict", ROWS_WAIT)
    now_ms = await counters.now_ms()
    drifts = []
    for one in account_ids:
        drifts += [d for d in await measure_drift(counters, pool, one, now_ms) if d.difference]
    async with pool.acquire() as connection, connection.transaction():
        # Those that differ may pass for newer than their account, where the database was restored.
        await raise_epochs_above(connection, dict.fromkeys(account_ids, 0) | {d.account_id: d.epoch for d in drifts})
        target = "all" if account_id is None else account_id
        await note(connection, actor, "limits.repair", "account", target, new={"drifted_counters": len(drifts)})
    return drifts
