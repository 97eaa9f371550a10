"""JSON of limits."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field

from admin_api.schemas.shapes import DecimalText, View
from gateway.domain.limits import Kind, Level, ReserveMode, SetBy, amount_fields
from gateway.domain.windows import WindowKind

if TYPE_CHECKING:
    from admin_api.operations.limits.bulk import Preview
    from admin_api.operations.limits.limits import LimitChange
    from admin_api.operations.limits.states import LimitWithState
    from admin_api.storage.bulk_limits import BulkTarget
    from admin_api.storage.limits import LimitRow


def _all_fields(name: str, kind: Kind, amount: int | None) -> dict[str, Any]:
    return {name: None, f"{name}_usd": None, f"{name}_nano_usd": None} | amount_fields(name, kind, amount)


def _fields_of(row: "LimitRow") -> dict[str, Any]:
    fields = {name: getattr(row, name) for name in (*row.__slots__, "team")}
    return fields | _all_fields("amount", row.kind, row.amount)


class LimitView(View):
    """A limit. `amount` is a count; kind cost has `amount_usd` and `amount_nano_usd` instead. `user_email` is the user
    of the limit or of its key."""

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
    team: str | None = Field(description="Of level user: the team in which it holds; null: the personal account")
    kind: Kind
    window: WindowKind | None
    amount: int | None
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
        return cls.model_validate(_fields_of(row))


class SetLimitView(LimitView):
    """A limit that was set, and the amount that held before, null in all units: there was no limit. For a temporary one
    that is the amount of an earlier temporary one, or else of the permanent one."""

    replaced_amount: int | None
    replaced_amount_usd: str | None
    replaced_amount_nano_usd: int | None

    @classmethod
    def of_change(cls, row: "LimitRow", replaced: "LimitRow | None") -> Self:
        """The limit, and the one that it replaced."""
        return cls.model_validate(
            _fields_of(row) | _all_fields("replaced_amount", row.kind, replaced.amount if replaced else None)
        )


class UnlimitedView(View):
    """There is no limit any more; the amount that held before is null in all units if there was none."""

    id: None = None
    amount: Literal["unlimited"] = "unlimited"
    replaced_amount: int | None
    replaced_amount_usd: str | None
    replaced_amount_nano_usd: int | None

    @classmethod
    def of(cls, change: "LimitChange") -> Self:
        """A limit that was removed."""
        old = change.replaced
        amounts = {} if old is None else amount_fields("replaced_amount", old.kind, old.amount)
        return cls(**(dict.fromkeys(("replaced_amount", "replaced_amount_usd", "replaced_amount_nano_usd")) | amounts))


class LimitWithStateView(LimitView):
    """A limit and what remains of it now, money in USD and nano-USD; null while a temporary limit replaces it."""

    used: int | None
    used_usd: str | None = None
    used_nano_usd: int | None = None
    reserved: int | None
    reserved_usd: str | None = None
    reserved_nano_usd: int | None = None
    remaining: int | None
    remaining_usd: str | None = None
    remaining_nano_usd: int | None = None
    resets_at: datetime | None

    @classmethod
    def with_state(cls, one: "LimitWithState") -> Self:
        """One row."""
        left: dict[str, Any] = one.left or {}
        shown = _fields_of(one.row) | {"resets_at": left.get("resets_at")}
        for name in ("used", "reserved", "remaining"):
            shown |= {field: left.get(field) for field in (name, f"{name}_usd", f"{name}_nano_usd")}
        return cls.model_validate(shown)


class ChangeView(View):
    """One target: its amount now (null: no limit), its new amount (null: no limit), and the amount of a temporary limit
    (null: none). Money has fields that name its unit."""

    account_id: int
    api_key_id: int | None
    subscription_id: int | None
    user_id: int | None
    label: str
    limit_id: int | None
    amount: int | None
    amount_usd: str | None
    amount_nano_usd: int | None
    new_amount: int | None
    new_amount_usd: str | None
    new_amount_nano_usd: int | None
    boost_amount: int | None
    boost_amount_usd: str | None
    boost_amount_nano_usd: int | None

    @classmethod
    def of(cls, target: "BulkTarget", kind: Kind, amount: int | None) -> Self:
        """A target that would have `amount`."""
        names = ("account_id", "api_key_id", "subscription_id", "user_id", "label", "limit_id")
        return cls(
            **{name: getattr(target, name) for name in names},
            **_all_fields("amount", kind, target.amount),
            **_all_fields("new_amount", kind, amount),
            **_all_fields("boost_amount", kind, target.boost_amount),
        )


class PreviewView(View):
    """A change of many limits: how many would change to the amount (null in all units: no limit), how many have it
    already, and the first of those that would change. `doubtful` of them change money by more than a thousandfold:
    apply needs `confirm`."""

    kind: Kind
    amount: int | None
    amount_usd: str | None
    amount_nano_usd: int | None
    changes: int
    unchanged: int
    doubtful: int
    token: str
    rows: list[ChangeView]

    @classmethod
    def of(cls, preview: "Preview") -> Self:
        """With 1,000 rows at most."""
        return cls(
            kind=preview.kind,
            **_all_fields("amount", preview.kind, preview.amount),
            changes=len(preview.targets),
            unchanged=preview.unchanged,
            doubtful=preview.doubtful,
            token=preview.token,
            rows=[ChangeView.of(target, preview.kind, preview.amount) for target in preview.targets[:1000]],
        )
