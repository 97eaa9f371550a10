"""Versions of a model's price: set, dated, taken back. What is charged wrongly by then is priced again."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from admin_api.operations.actors import Actor, note, require_admin, require_reader
from admin_api.operations.lookups import get_model
from admin_api.operations.maintenance.new_prices import NewPrices, Versions, apply_new_prices, count_new_prices
from admin_api.operations.models.price_fields import PRICE_FIELDS, shown_usd, tier_name
from admin_api.operations.models.price_input import PriceInput, doubt, find_doubts, merge
from admin_api.operations.pagination import MAX_ID, Page, check_limit, page, parse_id_cursor
from admin_api.operations.validation import check_moment, check_reason, invalid, invalid_now, unconfirmed
from admin_api.storage import models, prices
from admin_api.storage.models import Model
from admin_api.storage.prices import PriceSource, PriceVersion
from gateway.domain.errors import GatewayError
from gateway.domain.money import decimal_text, usd_text
from gateway.domain.prices import BOUND, PRICE_UNITS, Price

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

# As far ahead, and as long ago, as the database takes.
EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
MAX_AHEAD: Final = timedelta(days=3650)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceChange:
    """A version, the one that was in force before at its time, and the calls that were priced again for it; None: the
    version is not of the past. `is_new` is False for a preview, and where nothing changed."""

    version: PriceVersion
    previous: PriceVersion | None
    repriced: NewPrices | None
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    model: Model
    price: Price
    source: PriceSource
    previous: PriceVersion | None
    # None: at once.
    starts: datetime | None
    is_past: bool


async def set_price(
    pool: "Pool", actor: Actor, name: str, input_: PriceInput, *, is_preview: bool = False
) -> PriceChange:
    """Adds a version; an unchanged price adds none. Calls of the past that it is for are priced again.

    Raises GatewayError `not_found`, or `validation_failed`, also for a price whose unit may be mistaken and for one of
    the past that changes what calls cost, unless it is confirmed.
    """
    require_admin(actor)
    input_ = replace(input_, reason=check_reason(input_.reason))
    async with pool.acquire() as connection, connection.transaction():
        model = await get_model(connection, name)
        await models.lock_model(connection, model.id)
        starts, is_past = await _start_of(connection, model, input_)
        old = await prices.price_at(connection, model.id, starts)
        price = merge(input_, old, model.mode)
        litellm = await prices.last_litellm_price(connection, model.id)
        doubts = find_doubts(price, old.price if old else None, litellm.price if litellm else None)
        if doubts and not (input_.confirmed or is_preview):
            raise doubt(doubts)
        if old is not None and old.source == "admin" and replace(price, id=old.price.id) == old.price:
            return PriceChange(version=old, previous=old, repriced=None, is_new=False)
        planned = _Planned(model=model, price=price, source="admin", previous=old, starts=starts, is_past=is_past)
        change = await _add(connection, actor, planned, input_, is_preview=is_preview, action="price.set")
    return await _reprice(pool, actor, name, change, input_)


async def undo_price(
    pool: "Pool",
    actor: Actor,
    name: str,
    *,
    from_start: bool = False,
    reason: str | None = None,
    confirmed: bool = False,
) -> PriceChange:
    """Takes back the version that was added last: adds one that repeats what was in force without it, and whose it was.
    Undone twice, it is back. It counts from now on, or from when the other was to be in force; with `from_start` from
    when it was, and the calls since are priced again. Raises GatewayError as `set_price`."""
    require_admin(actor)
    input_ = PriceInput(reason=check_reason(reason), confirmed=confirmed)
    async with pool.acquire() as connection, connection.transaction():
        model = await get_model(connection, name)
        await models.lock_model(connection, model.id)
        last = await prices.find_price(connection, model.id, None)
        if last is None:
            raise GatewayError("not_found", f"The model '{name}' has no price to take back.", param="model")
        if last.source != "admin" and not await _is_undoing(connection, last):
            message = (
                f"The price of '{name}' that was added last is LiteLLM's: there is nothing of an admin to take back."
            )
            raise GatewayError("conflict", message, param="model")
        is_to_come = last.effective_at > datetime.now(UTC)
        is_past = from_start and not is_to_come
        starts = last.effective_at if is_past or is_to_come else None
        before = await prices.price_at(connection, model.id, last.effective_at, before_id=last.price.id)
        price, source = (before.price, before.source) if before else (Price(id=0), "litellm")
        if not (confirmed or any(getattr(price, unit) is not None for unit in PRICE_UNITS)):
            message = f"'{name}' would be without a price: calls of accounts with a budget are refused."
            raise unconfirmed(message)
        old = await prices.price_at(connection, model.id, starts)
        planned = _Planned(model=model, price=price, source=source, previous=old, starts=starts, is_past=is_past)
        change = await _add(connection, actor, planned, input_, is_preview=False, action="price.undo")
    return await _reprice(pool, actor, name, change, input_)


async def list_prices(
    pool: "Pool", actor: Actor, name: str, *, limit: int = 100, cursor: str | None = None
) -> Page[PriceVersion]:
    """All versions of a model, those added last first."""
    require_reader(actor)
    check_limit(limit)
    before = parse_id_cursor(cursor, first=MAX_ID)
    async with pool.acquire() as connection:
        model = await get_model(connection, name)
        rows = await prices.list_prices(connection, model.id, before_id=before, limit=limit + 1)
    return page(rows, limit, lambda row: row.price.id)


async def _is_undoing(executor: "Executor", version: PriceVersion) -> bool:
    """Whether a version of LiteLLM's took an admin's back: syncs add none to an admin's."""
    before = await prices.list_prices(executor, version.model_id, before_id=version.price.id, limit=1)
    return bool(before) and before[0].source == "admin"


async def _start_of(executor: "Executor", model: Model, input_: PriceInput) -> tuple[datetime | None, bool]:
    """From when the price counts, None: at once; and whether that is in the past."""
    now = datetime.now(UTC)
    if input_.corrects is not None:
        if input_.effective_at is not None:
            raise invalid("effective_at", "Give corrects or effective_at, not both.")
        wrong = await prices.find_price(executor, model.id, input_.corrects)
        if wrong is None:
            raise invalid_now("corrects", f"The model '{model.name}' has no price with the id {input_.corrects}.")
        return wrong.effective_at, wrong.effective_at <= now
    if input_.effective_at is None:
        return None, False
    starts = check_moment("effective_at", input_.effective_at)
    if not EARLIEST <= starts <= now + MAX_AHEAD:
        raise invalid("effective_at", "effective_at must be from the year 2000 to ten years from now.")
    return starts, starts <= now


async def _add(
    executor: "Executor", actor: Actor, planned: _Planned, input_: PriceInput, *, is_preview: bool, action: str
) -> PriceChange:
    reason = input_.reason
    if reason is None and planned.is_past and not is_preview:
        raise invalid_now("reason", "A reason is required. It is kept in the audit log.")
    repriced = await _count(executor, planned) if planned.is_past else None
    if is_preview:
        return PriceChange(version=_as_version(planned), previous=planned.previous, repriced=repriced, is_new=False)
    if repriced is not None and repriced.changed and not input_.confirmed:
        sums = f"from {usd_text(repriced.was_nano_usd)} to {usd_text(repriced.cost_nano_usd)} USD"
        message = f"{repriced.changed} calls since {repriced.since:%Y-%m-%d %H:%M:%S}Z would be priced again, {sums}."
        raise unconfirmed(message)
    version = await prices.insert_price(
        executor, planned.model.id, source=planned.source, price=planned.price, effective_at=planned.starts
    )
    new: dict[str, Any] = _audit_fields(version) or {}
    if planned.starts is not None:
        new["effective_at"] = version.effective_at
    if reason is not None:
        new["reason"] = reason
    await note(executor, actor, action, "model", planned.model.id, old=_audit_fields(planned.previous), new=new)
    return PriceChange(version=version, previous=planned.previous, repriced=repriced, is_new=True)


async def _count(executor: "Executor", planned: _Planned) -> NewPrices:
    """The calls that this version would price again."""
    others = await prices.list_prices_of_times(executor, planned.model.id)
    version = _as_version(planned)
    until = min((one.effective_at for one in others if one.effective_at > version.effective_at), default=None)
    versions = Versions([*others, replace(version, price=replace(version.price, id=MAX_ID))])
    return await count_new_prices(executor, planned.model, versions, since=version.effective_at, until=until)


async def _reprice(pool: "Pool", actor: Actor, name: str, change: PriceChange, input_: PriceInput) -> PriceChange:
    """Of a version of the past that was added. It is committed by now, so that this can be repeated."""
    if not change.is_new or change.repriced is None:
        return change
    since, until = change.repriced.since, change.repriced.until
    done = await apply_new_prices(pool, actor, name, since=since, until=until, reason=input_.reason or "")
    return replace(change, repriced=done)


def _as_version(planned: _Planned) -> PriceVersion:
    """As it would be added: its id is 0."""
    now = datetime.now(UTC)
    return PriceVersion(
        model_id=planned.model.id,
        effective_at=planned.starts or now,
        created_at=now,
        source=planned.source,
        price=replace(planned.price, id=0),
    )


def _audit_fields(version: PriceVersion | None) -> dict[str, Any] | None:
    if version is None:
        return None
    about: dict[str, Any] = {"source": version.source, "charge": version.price.charge}
    for unit in PRICE_UNITS:
        if (usd := getattr(version.price, unit)) is not None:
            about[PRICE_FIELDS[unit]] = decimal_text(shown_usd(unit, usd))
    for tier in version.price.tiers:
        if tier.service_tier != BOUND:
            about[tier_name(tier)] = decimal_text(shown_usd(tier.unit, tier.usd))
    return about
