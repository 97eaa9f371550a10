"""JSON of the settings that admins change at run time."""

from typing import TYPE_CHECKING, Self

from pydantic import Field

from admin_api.schemas.shapes import DecimalText, View
from gateway.domain.money import usd_text

if TYPE_CHECKING:
    from admin_api.operations.runtime_settings import RuntimeSettings


class DisplayView(View):
    """What pages show to everybody: a text in the language that was asked for, and a currency besides US dollars."""

    banner: str | None = Field(description="Null: none")
    currency: str | None = Field(description="ISO 4217; null: US dollars alone")
    currency_rate: DecimalText | None = Field(description="How much of that currency a US dollar is")


class RuntimeSettingsView(View):
    """All settings; null: none, or unlimited. `alert_thresholds` are in percent of a window's limit."""

    key_default_rpm: int | None
    key_default_tpm: int | None
    key_default_concurrency: int | None
    key_default_monthly_cost_nano_usd: int | None
    key_default_monthly_cost_usd: str | None = None
    user_default_monthly_cost_nano_usd: int | None
    user_default_monthly_cost_usd: str | None = None
    key_default_expiry_days: int | None
    key_maximum_rpm: int | None
    key_maximum_tpm: int | None
    key_maximum_concurrency: int | None
    key_maximum_monthly_cost_nano_usd: int | None
    key_maximum_monthly_cost_usd: str | None = None
    key_maximum_expiry_days: int | None
    key_maximum_unused_days: int | None = Field(description="A key ends when it was not used for so long; null: never")
    key_maximum_days_without_login: int | None = Field(
        description="A key ends when its user did not log in for so long; null: never"
    )
    key_warning_days: int = Field(description="For how long that end is announced before")
    user_maximum_keys: int | None
    team_maximum_keys: int | None
    subscription_default_monthly_requests: int | None
    subscription_default_monthly_tokens: int | None
    alert_thresholds: list[int]
    pending_requests_email_hours: int | None = Field(
        description="Hours between e-mails to admins about requests that wait; null: none are sent"
    )
    new_models: str = Field(description="What a sync makes of new models: open, restricted or hidden")
    banner_en: str | None = Field(description="Shown on all pages; null: none")
    banner_es: str | None = Field(description="In Spanish; null: as in English")
    banner_fr: str | None = Field(description="In French; null: as in English")
    display_currency: str | None = Field(description="ISO 4217; pages show amounts in it as well")
    display_currency_rate: str | None = Field(description="How much of that currency a US dollar is")

    @classmethod
    def of(cls, settings: "RuntimeSettings") -> Self:
        """The view of the settings, with costs in USD too."""
        values = settings.model_dump()
        for name, value in settings.model_dump().items():
            if name.endswith("_nano_usd") and value is not None:
                values[name.replace("_nano_usd", "_usd")] = usd_text(value)
        return cls(**values)
