"""Limits, as shown."""

from datetime import datetime
from typing import TYPE_CHECKING, Self

from pydantic import Field

from admin_api.views.shapes import DecimalText, View, usd_text
from gateway.domain.limits import Kind, Level, ReserveMode, SetBy
from gateway.domain.windows import WindowKind

if TYPE_CHECKING:
    from gateway.storage.limits import LimitRow


class LimitView(View):
    """A limit. `amount` is a count, for kind cost whole nano-USD, which are then told as money too."""

    id: int
    account_id: int
    level: Level
    api_key_id: int | None
    model: str | None = Field(validation_alias="model_name")
    subscription_id: int | None
    user_id: int | None
    kind: Kind
    window: WindowKind | None
    amount: int
    amount_usd: str | None = None
    amount_nano_usd: int | None = None
    burst: DecimalText
    reserve: ReserveMode
    shadow: bool
    set_by: SetBy
    expires_at: datetime | None
    reason: str | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: "LimitRow") -> Self:
        """One row."""
        view = cls.model_validate(row)
        if row.kind != "cost":
            return view
        return view.model_copy(update={"amount_usd": usd_text(row.amount), "amount_nano_usd": row.amount})
