"""JSON of limits."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field

from admin_api.schemas.shapes import DecimalText, View
from gateway.domain.limits import Kind, Level, ReserveMode, SetBy, is_money
from gateway.domain.money import usd_text
from gateway.domain.windows import WindowKind

if TYPE_CHECKING:
    from admin_api.operations.limits.bulk import Preview
    from admin_api.operations.limits.states import LimitWithState
    from admin_api.storage.limits import LimitRow


class LimitView(View):
    """A limit. `amount` is a count; for kind cost it is whole nano-USD, which are shown in USD too. `user_email` is the
    user of the limit or of its key."""

    id: int
    account_id: int
    account_name: str
    level: Level
    api_key_id: int | None
    key_name: str | None
    key_last_four: str | None
    model: str | None = Field(validation_alias="model_name", description="Of level key_model, or of the subscription")
    subscription_id: int | None
    user_id: int | None
    user_email: str | None
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
        if not is_money(row.kind):
            return view
        return view.model_copy(update={"amount_usd": usd_text(row.amount), "amount_nano_usd": row.amount})


class LimitWithStateView(LimitView):
    """A limit and what remains of it now, in the unit of `amount`; null while a temporary limit replaces it."""

    used: int | None
    reserved: int | None
    remaining: int | None
    resets_at: datetime | None

    @classmethod
    def with_state(cls, one: "LimitWithState") -> Self:
        """One row."""
        left: dict[str, Any] = one.left or {}
        shown: dict[str, Any] = {name: getattr(one.row, name) for name in one.row.__slots__}
        shown |= {name: left.get(name) for name in ("used", "reserved", "remaining", "resets_at")}
        if is_money(one.row.kind):
            shown |= {"amount_usd": usd_text(one.row.amount), "amount_nano_usd": one.row.amount}
        return cls.model_validate(shown)


class ChangeView(View):
    """One target: its amount now (null: no limit), and the amount of a temporary limit (null: none)."""

    account_id: int
    api_key_id: int | None
    subscription_id: int | None
    user_id: int | None
    label: str
    limit_id: int | None
    amount: int | None
    boost_amount: int | None


class PreviewView(View):
    """A change of many limits: how many would change to `amount` (null: no limit), how many have it already, and the
    first of those that would change."""

    amount: int | None
    changes: int
    unchanged: int
    token: str
    rows: list[ChangeView]

    @classmethod
    def of(cls, preview: "Preview") -> Self:
        """With 1,000 rows at most."""
        rows = [ChangeView.model_validate(target) for target in preview.targets[:1000]]
        return cls(
            amount=preview.amount,
            changes=len(preview.targets),
            unchanged=preview.unchanged,
            token=preview.token,
            rows=rows,
        )
