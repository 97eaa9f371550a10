"""`/api/v1/admin/settings`, and `/api/v1/display` for everybody."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import ConfigDict, Field, model_validator

from admin_api.operations import runtime_settings
from admin_api.operations.display import read_display
from admin_api.operations.runtime_settings import RuntimeSettings
from admin_api.routes.dependencies import Admin, AppPool, AsOf, LoggedIn, Reader, bound_fields
from admin_api.routes.responses import CHANGED, ERRORS, TAGGED
from admin_api.schemas.runtime_settings import DisplayView, RuntimeSettingsView
from admin_api.storage.users import Locale
from admin_api.web.etags import tag

router = APIRouter(prefix="/api/v1/admin/settings", tags=["settings"], responses=ERRORS)
display_router = APIRouter(prefix="/api/v1/display", tags=["settings"], responses=ERRORS)


class SettingsChange(RuntimeSettings):
    """Settings to be changed, as GET shows them; those left out stay unchanged. null: none, or unlimited."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    _bound_fields = model_validator(mode="before")(bound_fields)

    user_default_monthly_cost_usd: Annotated[str | None, Field(max_length=64, description="For example 25.00")] = None
    key_default_monthly_cost_usd: Annotated[str | None, Field(max_length=64, description="For example 25.00")] = None
    key_maximum_monthly_cost_usd: Annotated[str | None, Field(max_length=64, description="For example 25.00")] = None

    confirm: Annotated[bool, Field(description="Money may change by more than a thousandfold")] = False

    def given(self) -> dict[str, Any]:
        """The settings that are given."""
        return self.model_dump(include=self.model_fields_set - {"confirm"})


@router.get("", responses=TAGGED)
async def show_settings(actor: Reader, pool: AppPool, response: Response) -> RuntimeSettingsView:
    """Defaults and ceilings of keys and subscriptions, thresholds of alerts, and who may use new models."""
    return tagged(response, await runtime_settings.show_settings(pool, actor))


@router.put("", responses=TAGGED | CHANGED)
async def update_settings(
    actor: Admin, pool: AppPool, response: Response, body: SettingsChange, as_of: AsOf
) -> RuntimeSettingsView:
    """Changes the settings that are given. Existing keys and subscriptions stay unchanged: use bulk limits."""
    changed = await runtime_settings.update_settings(pool, actor, body.given(), as_of=as_of, confirmed=body.confirm)
    return tagged(response, changed)


@display_router.get("")
async def show_display(
    _: LoggedIn, pool: AppPool, locale: Annotated[Locale, Query(description="Language of the banner")] = "en"
) -> DisplayView:
    """What admins have set for all pages: a banner, and a currency to show amounts in besides US dollars."""
    display = await read_display(pool)
    return DisplayView(banner=display.banner(locale), currency=display.currency, currency_rate=display.rate)


def tagged(response: Response, settings: RuntimeSettings) -> RuntimeSettingsView:
    """The view of the settings; sets the ETag of the answer."""
    tag(response, settings.model_dump())
    return RuntimeSettingsView.of(settings)
