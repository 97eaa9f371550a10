"""`/api/v1/prices`."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field, model_validator

from admin_api.operations.models import prices
from admin_api.operations.models.price_fields import (
    BY_THE_MILLION,
    PRICE_FIELDS,
    UNIT_OF,
    TierKey,
    check_tier,
    parse_price,
    tiers_of,
)
from admin_api.operations.models.price_input import PriceInput
from admin_api.operations.validation import invalid
from admin_api.routes.dependencies import Admin, AppPool, Body, Cursor, Moment, PageSize, Reader
from admin_api.routes.responses import ERRORS
from admin_api.schemas.prices import PriceChangeView, PriceView
from admin_api.schemas.shapes import PageView
from gateway.domain.prices import Charge

router = APIRouter(prefix="/api/v1/prices", tags=["prices"], responses=ERRORS)
USD = Annotated[
    str | None,
    Field(max_length=64, description="USD as the name says, a decimal number as text; unknown takes the price away"),
]
Reason = Annotated[str | None, Field(max_length=1000, description="Why; needed if calls are priced again")]
Confirm = Annotated[
    bool, Field(description="The unit is right although the price is far off, and calls are to be priced again")
]


def name_units(value: Any) -> Any:
    """Names without a unit are answered with those to use. Raises ValueError."""
    for unit in value if isinstance(value, dict) else ():
        if unit in PRICE_FIELDS and unit not in UNIT_OF:
            raise ValueError(f"'{unit}' does not say its unit: use {PRICE_FIELDS[unit]}")
    return value


class NewTier(Body):
    """The price of a unit for prompts above a size, of a service tier, or both: `per_million_usd` of tokens, `each_usd`
    of others; `unknown` takes the tier away."""

    unit: Annotated[str, Field(max_length=50, description="For example input")]
    above: Annotated[int, Field(ge=0, le=2**53, description="Prompts of more than so many tokens")] = 0
    service_tier: Annotated[str, Field(max_length=50, description="For example priority; empty: the usual one")] = ""
    per_million_usd: USD = None
    each_usd: USD = None

    def given(self) -> tuple[TierKey, Decimal | None]:
        """Of which prompts it is, and USD for one. Raises GatewayError `validation_failed`."""
        key = check_tier(self.unit, self.above, self.service_tier)
        field = "per_million_usd" if key[0] in BY_THE_MILLION else "each_usd"
        text = getattr(self, field)
        if text is None or None not in (self.per_million_usd, self.each_usd):
            raise invalid("tiers", f"The tier of {key[0]} needs {field}.")
        return key, parse_price(key[0], text, field="tiers")


class NewPrice(Body):
    """A price. What is left out keeps its value; the first price of a model needs input and output. 0 is a price."""

    model: Annotated[str, Field(max_length=255)]
    input_per_million_usd: USD = None
    output_per_million_usd: USD = None
    cached_input_per_million_usd: USD = None
    cache_write_per_million_usd: USD = None
    reasoning_per_million_usd: USD = None
    per_request_usd: USD = None
    image_usd: USD = None
    second_usd: USD = None
    character_per_million_usd: USD = None
    query_usd: USD = None
    cache_write_1h_per_million_usd: USD = None
    audio_input_per_million_usd: USD = None
    audio_output_per_million_usd: USD = None
    web_search_usd: USD = None
    file_search_usd: USD = None
    code_session_usd: USD = None
    tiers: Annotated[
        list[NewTier] | None, Field(max_length=100, description="Of sizes and service tiers; others stay")
    ] = None
    charge: Annotated[
        Charge | None,
        Field(description="Charge this price, or the higher of it and LiteLLM's figure; at first own"),
    ] = None
    replace: Annotated[bool, Field(description="What is left out becomes unknown instead")] = False
    effective_at: Annotated[Moment | None, Field(description="From when it counts: to come, or past; else at once")] = (
        None
    )
    corrects: Annotated[
        int | None, Field(ge=1, le=2**63 - 1, description="A version that was wrong: this one counts from when it did")
    ] = None
    reason: Reason = None
    confirm: Confirm = False
    _name_units = model_validator(mode="before")(name_units)

    def given(self) -> PriceInput:
        """The input of the operation. Raises GatewayError `validation_failed`."""
        texts: Mapping[str, str | None] = {unit: getattr(self, field) for unit, field in PRICE_FIELDS.items()}
        return PriceInput(
            units={unit: parse_price(unit, text) for unit, text in texts.items() if text is not None},
            tiers=tiers_of(tier.given() for tier in self.tiers or ()),
            charge=self.charge,
            replace=self.replace,
            effective_at=self.effective_at,
            corrects=self.corrects,
            reason=self.reason,
            confirmed=self.confirm,
        )


class PriceUndo(Body):
    """Takes back the version of a model's price that was added last."""

    model: Annotated[str, Field(max_length=255)]
    from_start: Annotated[bool, Field(description="From when it was in force: calls since are priced again")] = False
    reason: Reason = None
    confirm: Confirm = False


@router.get("")
async def list_prices(
    actor: Reader,
    pool: AppPool,
    model: Annotated[str, Query(max_length=255, description="Name of the model")],
    limit: PageSize = 100,
    cursor: Cursor = None,
) -> PageView[PriceView]:
    """All versions of a model's price, those added last first; some may be of times to come."""
    page = await prices.list_prices(pool, actor, model, limit=limit, cursor=cursor)
    return PageView[PriceView].of(page, PriceView.of)


@router.post("/preview")
async def preview_price(actor: Admin, pool: AppPool, body: NewPrice) -> PriceChangeView:
    """What setting this price would do, and which calls it would price again. Changes nothing."""
    return PriceChangeView.of_change(await prices.set_price(pool, actor, body.model, body.given(), is_preview=True))


@router.post("/undo")
async def undo_price(actor: Admin, pool: AppPool, body: PriceUndo) -> PriceChangeView:
    """Repeats the version before the one that was added last, as a new version."""
    change = await prices.undo_price(
        pool, actor, body.model, from_start=body.from_start, reason=body.reason, confirmed=body.confirm
    )
    return PriceChangeView.of_change(change)


@router.post("", status_code=201)
async def set_price(actor: Admin, pool: AppPool, body: NewPrice) -> PriceChangeView:
    """A new version of a model's price, which no sync replaces."""
    return PriceChangeView.of_change(await prices.set_price(pool, actor, body.model, body.given()))
