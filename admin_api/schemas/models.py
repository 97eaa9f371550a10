"""JSON of models and syncs."""

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, field_validator

from admin_api.operations.models.litellm_health import BreakerState
from admin_api.schemas.prices import PriceView
from admin_api.schemas.shapes import View
from gateway.domain.model_status import ModelStatus

if TYPE_CHECKING:
    from admin_api.operations.models.models import OfferedModel
    from admin_api.operations.models.rename import Renamed


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
    status: ModelStatus = Field(description="unlisted: LiteLLM no longer has it; disabled: by an admin")
    price: PriceView | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, offered: "OfferedModel") -> Self:
        """A model with its price in force."""
        fields = {name: getattr(offered.model, name) for name in cls.model_fields if name != "price"}
        return cls(**fields, price=PriceView.of(offered.price) if offered.price else None)


class ModelChoicesView(View):
    """What the filters of the list of models can be set to."""

    models: int = Field(description="How many there are")
    providers: list[str]
    modes: list[str] = Field(description="What they do, as LiteLLM names it")
    capabilities: list[str]


class RenamedView(ModelView):
    """A model under its new name, and how many of each go by it now."""

    name: str = Field(description="The new name")
    subscriptions: int = Field(description="Subscriptions to the model, in any state")
    keys: int = Field(description="Keys that may call it")
    limits: int = Field(description="Limits of its subscriptions, and of keys for it")
    versions: int = Field(description="Versions of its price")

    @classmethod
    def of_renamed(cls, renamed: "Renamed") -> Self:
        """The model and what it has."""
        return cls(**ModelView.of(renamed.offered).model_dump(), **asdict(renamed.holdings))


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
