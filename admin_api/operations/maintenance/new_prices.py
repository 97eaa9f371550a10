"""Prices the calls of a time again, by the versions of the price that are in force for it now.

A row of the ledger holds the tokens of a call, not all that prices know: whether the tokens are all that was charged is
seen by the old price, which then gives the cost that the row has.
"""

from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal
from uuid import UUID

from msgspec.structs import replace

from admin_api.operations.actors import Actor, note, require_admin
from admin_api.operations.lookups import get_model
from admin_api.operations.validation import check_moment, check_reason, invalid, invalid_now
from admin_api.storage import prices
from admin_api.storage.models import Model
from admin_api.storage.prices import PriceVersion
from gateway.domain.calls import NO_USAGE, Usage
from gateway.domain.ids import milliseconds_of
from gateway.domain.prices import USUAL, charged_nano_usd, cost_nano_usd
from gateway.domain.usage_rows import UsageRow
from gateway.storage.ledger.corrections import CLOSED_AFTER, book_new_prices, list_priced_calls, lock_calls

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

BATCH: Final = 1000
MAX_CALLS: Final = 200_000
# Endpoints whose calls are charged by what their rows hold, if the model has no prices of other things.
BY_TOKENS: Final = frozenset({"chat_completions", "completions", "messages", "responses", "embeddings"})
Outcome = Literal["changed", "same", "unknown", "open"]


@dataclass(slots=True, kw_only=True)
class NewPrices:
    """Calls of a time, and those whose cost changes: what they cost before and cost now, in nano-USD.

    Not priced again are `unknown` ones, whose row does not hold all that was charged, and `open` ones, estimates that
    their row may still replace."""

    since: datetime
    until: datetime
    calls: int = 0
    changed: int = 0
    unknown: int = 0
    open: int = 0
    was_nano_usd: int = 0
    cost_nano_usd: int = 0

    def add(self, outcome: Outcome, was: UsageRow, now: UsageRow) -> None:
        """Counts one call."""
        self.calls += 1
        if outcome == "changed":
            self.changed += 1
            self.was_nano_usd += was.cost_nano_usd or 0
            self.cost_nano_usd += now.cost_nano_usd or 0
        elif outcome != "same":
            setattr(self, outcome, getattr(self, outcome) + 1)


class Versions:
    """All versions of a model's price, and which one is in force when."""

    def __init__(self, versions: Sequence[PriceVersion]) -> None:
        self._sorted = sorted(versions, key=lambda version: (version.effective_at, version.price.id))
        self._times = [version.effective_at for version in self._sorted]
        self._by_id = {version.price.id: version for version in versions}
        self.ids = list(self._by_id)

    def at(self, moment: datetime) -> PriceVersion | None:
        """The version in force then."""
        place = bisect_right(self._times, moment)
        return self._sorted[place - 1] if place else None

    def reprice(self, was: UsageRow) -> tuple[Outcome, UsageRow]:
        """What the call costs by the version of its time."""
        if was.ending in ("refused_upstream", "unreachable") or not was.counted_requests:
            return "same", was
        if was.estimated_why == "reaped" and _may_be_replaced(was.request_id):
            return "open", was
        used = _usage_of(was)
        tier = self._tier_of(was, used)
        if tier is None:
            return "unknown", was
        version = self.at(was.started_at)
        own = cost = None
        if version is not None and version.price.is_known:
            own = cost_nano_usd(version.price, used, tier)
            litellm = None if was.estimated_why == "clamped" else was.litellm_cost_nano_usd
            cost = charged_nano_usd(version.price, own, litellm, used, NO_USAGE)
        price_id = version.price.id if version is not None else None
        now = replace(was, price_id=price_id, own_cost_nano_usd=own, cost_nano_usd=cost, counted_nano_usd=cost or 0)
        return ("same" if now.cost_nano_usd == was.cost_nano_usd else "changed"), now

    def _tier_of(self, row: UsageRow, used: Usage) -> str | None:
        """The service tier by whose prices the row's tokens cost what it says; None: there is none."""
        own = row.cost_nano_usd if row.own_cost_nano_usd is None else row.own_cost_nano_usd
        if own is None:
            return USUAL if row.endpoint in BY_TOKENS else None
        old = self._by_id.get(row.price_id or 0)
        if old is None:
            return None
        tiers = [USUAL, *sorted({tier.service_tier for tier in old.price.tiers} - {USUAL})]
        return next((tier for tier in tiers if cost_nano_usd(old.price, used, tier) == own), None)


async def preview_new_prices(
    pool: "Pool", actor: Actor, name: str, *, since: datetime, until: datetime | None = None
) -> NewPrices:
    """Changes nothing. Raises GatewayError `not_found`, `validation_failed`."""
    require_admin(actor)
    async with pool.acquire() as connection:
        model = await get_model(connection, name)
        versions = Versions(await prices.list_prices_of_times(connection, model.id))
        return await count_new_prices(connection, model, versions, since=since, until=until)


async def count_new_prices(
    executor: "Executor", model: Model, versions: Versions, *, since: datetime, until: datetime | None
) -> NewPrices:
    """What these versions change. Raises GatewayError `validation_failed`."""
    found = _period(since, until)
    async for rows in _batches(executor, model, versions, found):
        for was in rows:
            found.add(*_named(versions, was))
    return found


async def apply_new_prices(
    pool: "Pool", actor: Actor, name: str, *, since: datetime, until: datetime | None = None, reason: str
) -> NewPrices:
    """Corrects the calls, a thousand in each transaction, which has its audit row: repeated, it goes on where it
    stopped. Raises GatewayError `not_found`, `validation_failed`."""
    require_admin(actor)
    checked = check_reason(reason, required=True) or ""
    done = _period(since, until)
    async with pool.acquire() as connection:
        model = await get_model(connection, name)
        versions = Versions(await prices.list_prices_of_times(connection, model.id))
        # So that too many calls are refused before any is corrected.
        await count_new_prices(connection, model, versions, since=done.since, until=done.until)
        async for rows in _batches(connection, model, versions, done):
            async with connection.transaction(isolation="read_committed"):
                await _correct(connection, actor, model, versions, rows, done, reason=checked)
    return done


async def _correct(
    executor: "Executor",
    actor: Actor,
    model: Model,
    versions: Versions,
    rows: Sequence[UsageRow],
    done: NewPrices,
    *,
    reason: str,
) -> None:
    batch = NewPrices(since=done.since, until=done.until)
    pairs = []
    for was in await lock_calls(executor, rows):
        outcome, before, now = _named(versions, was)
        batch.add(outcome, before, now)
        done.add(outcome, before, now)
        if outcome == "changed":
            pairs.append((was, now))
    if not pairs:
        return
    await book_new_prices(executor, pairs, made_by=actor.lasting_name, note=reason)
    period = {"since": done.since, "until": done.until, "calls": batch.changed, "reason": reason}
    old, new = {"cost_nano_usd": batch.was_nano_usd}, {"cost_nano_usd": batch.cost_nano_usd} | period
    await note(executor, actor, "ledger.reprice", "model", model.id, old=old, new=new)


async def _batches(
    executor: "Executor", model: Model, versions: Versions, period: NewPrices
) -> AsyncIterator[list[UsageRow]]:
    after, seen = UUID(int=0), 0
    while True:
        rows = await list_priced_calls(
            executor, model.id, versions.ids, since=period.since, until=period.until, after=after, limit=BATCH
        )
        seen += len(rows)
        if seen > MAX_CALLS:
            raise invalid_now(
                "until", f"These are more than {MAX_CALLS} calls. Give a shorter time; it can be repeated."
            )
        if rows:
            yield rows
            after = rows[-1].request_id
        if len(rows) < BATCH:
            return


def _named(versions: Versions, was: UsageRow) -> tuple[Outcome, UsageRow, UsageRow]:
    outcome, now = versions.reprice(was)
    return outcome, was, now


def _period(since: datetime, until: datetime | None) -> NewPrices:
    now = datetime.now(UTC)
    first, last = check_moment("since", since), now if until is None else min(now, check_moment("until", until))
    if first >= last:
        raise invalid("until", "until must be after since, which must be in the past.")
    return NewPrices(since=first, until=last)


def _usage_of(row: UsageRow) -> Usage:
    used = Usage(
        prompt_tokens=row.prompt_tokens,
        completion_tokens=row.completion_tokens,
        cached_tokens=row.cached_tokens,
        cache_write_tokens=row.cache_write_tokens,
        reasoning_tokens=row.reasoning_tokens,
    )
    return used.clamped()


def _may_be_replaced(request_id: UUID) -> bool:
    return milliseconds_of(request_id) > (datetime.now(UTC) - CLOSED_AFTER).timestamp() * 1000
