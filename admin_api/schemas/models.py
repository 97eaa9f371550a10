"""JSON of models, their prices and syncs."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, field_validator

from admin_api.operations.models.litellm_health import BreakerState
from admin_api.schemas.shapes import DecimalText, View
from admin_api.storage.models import PriceSource
from gateway.domain.prices import PRICE_UNITS, Charge

if TYPE_CHECKING:
    from admin_api.operations.models.models import OfferedModel
    from admin_api.storage.models import PriceVersion


class PriceTierView(View):
    """The price of a unit for prompts above a size, of a service tier, or both. `service_tier` `*`: of tokens that are
    not counted apart, only to bound what a call may cost."""

    unit: str
    above: int = 0
    service_tier: str = ""
    usd: DecimalText


class PriceView(View):
    """USD for one unit; null: unknown, which is not 0. `charge`: which figure is charged, the price's `own` or the
    `higher` of it and LiteLLM's. `unusable`: LiteLLM's price fields of which no bound follows for what a call costs."""

    id: int
    effective_at: datetime
    source: PriceSource
    charge: Charge
    tiers: list[PriceTierView]
    unusable: list[str]
    input: DecimalText | None = None
    output: DecimalText | None = None
    cached_input: DecimalText | None = None
    cache_write: DecimalText | None = None
    reasoning: DecimalText | None = None
    per_request: DecimalText | None = None
    image: DecimalText | None = None
    second: DecimalText | None = None
    character: DecimalText | None = None
    query: DecimalText | None = None
    cache_write_1h: DecimalText | None = None
    audio_input: DecimalText | None = None
    audio_output: DecimalText | None = None
    web_search: DecimalText | None = None
    file_search: DecimalText | None = None
    code_session: DecimalText | None = None

    @classmethod
    def of(cls, version: "PriceVersion") -> Self:
        """One version."""
        units: dict[str, Any] = {unit: getattr(version.price, unit) for unit in PRICE_UNITS}
        return cls(
            id=version.price.id,
            effective_at=version.effective_at,
            source=version.source,
            charge=version.price.charge,
            tiers=[PriceTierView(**tier._asdict()) for tier in version.price.tiers],
            unusable=list(version.price.unusable),
            **units,
        )


class ModelView(View):
    """A model as users see it, without its deployments' addresses."""

    id: int
    name: str
    provider: str | None
    mode: str | None
    description: str | None
    max_input_tokens: int | None
    max_output_tokens: int | None
    capabilities: list[str]
    deployments: int
    restricted: bool
    hidden: bool
    enabled: bool
    listed: bool
    price: PriceView | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, offered: "OfferedModel") -> Self:
        """A model with its price in force."""
        fields = {name: getattr(offered.model, name) for name in cls.model_fields if name != "price"}
        return cls(**fields, price=PriceView.of(offered.price) if offered.price else None)


class SyncReportView(View):
    """Result of a model sync, by model name; `problem` says what was not done, and why."""

    seen: int
    added: list[str]
    added_as: str | None = Field(
        default=None, description="What those added are: open, restricted or hidden; null without any"
    )
    changed: list[str]
    returned: list[str]
    unlisted: list[str]
    priced: list[str]
    kept_admin_prices: list[str]
    without_price: list[str]
    differing_prices: list[str]
    unused_prices: list[str] = Field(default=[], description="LiteLLM's price fields by which nothing is charged")
    skipped: list[str]
    missing: list[str]
    problem: str | None


class ModelSyncView(View):
    """One sync. `problem` null: none; `report` null: LiteLLM gave no valid answer."""

    id: int
    at: datetime
    actor: str
    problem: str | None
    report: SyncReportView | None

    @field_validator("report", mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        return SyncReportView.model_validate(value) if isinstance(value, dict) else value


class AddressHealthView(View):
    """One address of LiteLLM; `version` null: unknown."""

    address: str
    reachable: bool
    version: str | None
    breaker: BreakerState


class LiteLLMHealthView(View):
    """`synced_at`: when its list of models was last read; `models`: how many it listed then."""

    reachable: bool
    addresses: list[AddressHealthView]
    synced_at: datetime | None
    sync_tried_at: datetime | None
    models: int
