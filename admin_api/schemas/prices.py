"""JSON of prices and of what a change of one does."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field

from admin_api.operations.models.price_fields import BY_THE_MILLION, PRICE_FIELDS, shown_usd
from admin_api.operations.models.price_input import ordinary_nano_usd
from admin_api.schemas.shapes import DecimalText, View
from admin_api.storage.prices import PriceSource
from gateway.domain.money import usd_text
from gateway.domain.prices import PRICE_UNITS, Charge

if TYPE_CHECKING:
    from admin_api.operations.maintenance.new_prices import NewPrices
    from admin_api.operations.models.prices import PriceChange
    from admin_api.storage.prices import PriceVersion
    from gateway.domain.prices import PriceTier


class PriceTierView(View):
    """The price of a unit for prompts above a size, of a service tier, or both: USD for a million tokens or characters,
    or for one of another unit. `service_tier` `*`: of tokens that are not counted apart, only to bound what a call may
    cost."""

    unit: str
    above: int = Field(default=0, description="Prompts of more than so many tokens")
    service_tier: str = Field(default="", description="Empty: the usual one")
    per_million_usd: DecimalText | None = None
    each_usd: DecimalText | None = None

    @classmethod
    def of(cls, tier: "PriceTier") -> Self:
        """One tier."""
        field = "per_million_usd" if tier.unit in BY_THE_MILLION else "each_usd"
        usd: dict[str, Any] = {field: shown_usd(tier.unit, tier.usd)}
        return cls(unit=tier.unit, above=tier.above, service_tier=tier.service_tier, **usd)


class PriceView(View):
    """USD for a million tokens or characters, or for one of what the name says; null: unknown, which is not 0.
    `charge`: which figure is charged, the price's `own` or the `higher` of it and LiteLLM's. `unusable`: LiteLLM's
    price fields of which no bound follows for what a call costs. In force from `effective_at` until the next."""

    id: int
    effective_at: datetime
    created_at: datetime = Field(description="When it was added, which may be after it takes effect")
    source: PriceSource
    charge: Charge
    tiers: list[PriceTierView]
    unusable: list[str]
    input_per_million_usd: DecimalText | None = None
    output_per_million_usd: DecimalText | None = None
    cached_input_per_million_usd: DecimalText | None = None
    cache_write_per_million_usd: DecimalText | None = None
    reasoning_per_million_usd: DecimalText | None = None
    per_request_usd: DecimalText | None = None
    image_usd: DecimalText | None = None
    second_usd: DecimalText | None = None
    character_per_million_usd: DecimalText | None = None
    query_usd: DecimalText | None = None
    cache_write_1h_per_million_usd: DecimalText | None = None
    audio_input_per_million_usd: DecimalText | None = None
    audio_output_per_million_usd: DecimalText | None = None
    web_search_usd: DecimalText | None = None
    file_search_usd: DecimalText | None = None
    code_session_usd: DecimalText | None = None
    ordinary_call_usd: DecimalText | None = Field(
        default=None, description="What a call of 1,000 tokens in and 500 out costs"
    )

    @classmethod
    def of(cls, version: "PriceVersion") -> Self:
        """One version."""
        return cls(**cls._fields_of(version))

    @classmethod
    def _fields_of(cls, version: "PriceVersion") -> dict[str, Any]:
        units = {unit: getattr(version.price, unit) for unit in PRICE_UNITS}
        shown = {PRICE_FIELDS[unit]: shown_usd(unit, usd) for unit, usd in units.items() if usd is not None}
        ordinary = ordinary_nano_usd(version)
        return shown | {
            "id": version.price.id,
            "effective_at": version.effective_at,
            "created_at": version.created_at,
            "source": version.source,
            "charge": version.price.charge,
            "tiers": [PriceTierView.of(tier) for tier in version.price.tiers],
            "unusable": list(version.price.unusable),
            "ordinary_call_usd": None if ordinary is None else usd_text(ordinary),
        }


class NewPricesView(View):
    """Calls of a time that are priced again: how many there are, how many of them change, and what these cost before
    and now. `unknown`: their rows do not hold all that was charged. `open`: estimates that their row may still
    replace."""

    since: datetime
    until: datetime
    calls: int
    changed: int
    unknown: int
    open: int
    was_nano_usd: int
    was_usd: DecimalText
    cost_nano_usd: int
    cost_usd: DecimalText

    @classmethod
    def of(cls, found: "NewPrices") -> Self:
        """A preview, or what was done."""
        names = ("since", "until", "calls", "changed", "unknown", "open", "was_nano_usd", "cost_nano_usd")
        about: dict[str, Any] = {name: getattr(found, name) for name in names}
        return cls(**about, was_usd=usd_text(found.was_nano_usd), cost_usd=usd_text(found.cost_nano_usd))


class PriceChangeView(PriceView):
    """The whole price after a change, and the version in force before at that time. `is_new` false: a preview, or
    nothing changed. `repriced`: calls of the past that the change priced again; null: it is not of the past."""

    is_new: bool
    previous: PriceView | None
    repriced: NewPricesView | None

    @classmethod
    def of_change(cls, change: "PriceChange") -> Self:
        """A change or its preview."""
        return cls(
            **cls._fields_of(change.version),
            is_new=change.is_new,
            previous=PriceView.of(change.previous) if change.previous else None,
            repriced=NewPricesView.of(change.repriced) if change.repriced else None,
        )
