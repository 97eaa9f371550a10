"""Defaults and ceilings of keys.

An owner's key gets each ceiling as an admin's limit, and the requested value as an owner's limit. Both apply, so owners
cannot exceed a ceiling by leaving a value out or by removing their own limit later.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from admin_api.operations.actors import Actor
from admin_api.operations.limits.limits import LimitInput, apply_limit
from admin_api.operations.runtime_settings import RuntimeSettings
from admin_api.operations.validation import invalid_now
from admin_api.storage import api_keys
from gateway.domain.errors import GatewayError
from gateway.domain.limits import Kind, amount_text
from gateway.domain.windows import WindowKind

if TYPE_CHECKING:
    from admin_api.storage.accounts import Account
    from admin_api.storage.limits import LimitRow, Target
    from gateway.storage.postgres import Executor


class Ruled(NamedTuple):
    """A limit for which settings have a default and a ceiling."""

    kind: Kind
    window: WindowKind | None
    field: str  # of KeyInput, and the end of the settings' names


RULED: Final = (
    Ruled("rpm", None, "rpm"),
    Ruled("tpm", None, "tpm"),
    Ruled("concurrency", None, "concurrency"),
    Ruled("cost", "month", "monthly_cost_nano_usd"),
)


def ceiling_of(settings: RuntimeSettings, kind: Kind, window: WindowKind | None) -> int | None:
    """The most an owner may set; None where there is no ceiling."""
    for ruled in RULED:
        if (ruled.kind, ruled.window) == (kind, window):
            maximum: int | None = getattr(settings, f"key_maximum_{ruled.field}")
            return maximum
    return None


def limits_of(settings: RuntimeSettings, input_: object, *, by_owner: bool) -> Iterator[LimitInput]:
    """The limits of a new key. `input_` has a field for each of RULED. Raises GatewayError `validation_failed` for a
    value above its ceiling."""
    for kind, window, field in RULED:
        requested, maximum = getattr(input_, field), getattr(settings, f"key_maximum_{field}")
        amount = getattr(settings, f"key_default_{field}") if requested is None else requested
        if not by_owner:
            maximum = None
        if maximum is not None:
            if amount is not None and amount > maximum:
                name = field.replace("_nano_usd", "_usd")
                raise invalid_now(name, f"{name} must be at most {amount_text(kind, maximum)}. Ask an admin for more.")
            yield LimitInput(kind=kind, window=window, amount=maximum, reason="ceiling of this deployment")
        if amount is not None and amount != maximum:
            yield LimitInput(kind=kind, window=window, amount=amount, set_by="owner" if by_owner else "admin")


async def apply_key_limits(
    executor: "Executor", actor: Actor, target: "Target", settings: RuntimeSettings, input_: object, *, by_owner: bool
) -> "list[LimitRow]":
    """Sets the limits of `limits_of`, in the caller's transaction."""
    inputs = limits_of(settings, input_, by_owner=by_owner)
    return [(await apply_limit(executor, actor, target, limit)).limit for limit in inputs]


def check_expiry(
    settings: RuntimeSettings, expires_at: datetime | None, *, by_owner: bool, is_new: bool
) -> datetime | None:
    """When the key expires; the default for a new key without a time. Raises GatewayError `validation_failed` if an
    owner's time exceeds the ceiling, or is missing although there is a ceiling."""
    now = datetime.now(UTC)
    maximum = settings.key_maximum_expiry_days if by_owner else None
    if expires_at is None and is_new:
        days = settings.key_default_expiry_days or maximum
        return None if days is None else now + timedelta(days=days)
    if maximum is not None and (expires_at is None or expires_at > now + timedelta(days=maximum)):
        raise invalid_now("expires_at", f"expires_at must be at most {maximum} days from now.")
    return expires_at


async def check_room(executor: "Executor", account: "Account", settings: RuntimeSettings) -> None:
    """Checks that the account, which must be locked, may have one more key. Raises GatewayError `conflict`."""
    maximum = settings.user_maximum_keys if account.kind == "personal" else settings.team_maximum_keys
    if maximum is None:
        return
    active = await api_keys.count_active_keys(executor, account.id)
    if active >= maximum:
        message = f"'{account.name}' has {active} active keys of at most {maximum}. Revoke one first."
        raise GatewayError("conflict", message, details={"active_keys": active, "maximum_keys": maximum})
