"""What a key may have: defaults for what is left out, ceilings for what owners wish.

An owner's key gets each ceiling as an admin's limit, and what its owner wished as a limit of the owner's: both hold, so
neither leaving a value out nor removing his own later takes anybody past the ceiling.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from admin_api.operations.actors import Actor
from admin_api.operations.limits.limits import LimitWish, apply_limit
from admin_api.operations.runtime_settings import SavedSettings
from admin_api.operations.validation import invalid
from admin_api.storage import api_keys
from gateway.domain.errors import GatewayError
from gateway.domain.limits import Kind
from gateway.domain.windows import WindowKind

if TYPE_CHECKING:
    from admin_api.storage.accounts import Account
    from admin_api.storage.limits import Target
    from gateway.storage.postgres import Executor


class Ruled(NamedTuple):
    """A limit of a key that settings have a default and a ceiling for."""

    kind: Kind
    window: WindowKind | None
    field: str  # of KeyWish, and the end of the settings' names


RULED: Final = (
    Ruled("rpm", None, "rpm"),
    Ruled("tpm", None, "tpm"),
    Ruled("concurrency", None, "concurrency"),
    Ruled("cost", "month", "monthly_cost_nano_usd"),
)


def ceiling_of(settings: SavedSettings, kind: Kind, window: WindowKind | None) -> int | None:
    """The most an owner may set; None where there is no ceiling."""
    for ruled in RULED:
        if (ruled.kind, ruled.window) == (kind, window):
            most: int | None = getattr(settings, f"key_maximum_{ruled.field}")
            return most
    return None


def limits_of(settings: SavedSettings, wish: object, *, by_owner: bool) -> Iterator[LimitWish]:
    """The limits a new key begins with; `wish` has a field for each of RULED. Raises GatewayError
    `validation_failed` for a wish above its ceiling."""
    for kind, window, field in RULED:
        wished, most = getattr(wish, field), getattr(settings, f"key_maximum_{field}")
        amount = getattr(settings, f"key_default_{field}") if wished is None else wished
        if not by_owner:
            most = None
        if most is not None:
            if amount is not None and amount > most:
                raise invalid(field, f"{field} is {most} at most; ask an admin for more.")
            yield LimitWish(kind=kind, window=window, amount=most, reason="ceiling of this deployment")
        if amount is not None and amount != most:
            yield LimitWish(kind=kind, window=window, amount=amount, set_by="owner" if by_owner else "admin")


async def apply_key_limits(
    executor: "Executor", actor: Actor, target: "Target", settings: SavedSettings, wish: object, *, by_owner: bool
) -> None:
    """Sets what `limits_of` says, in the caller's transaction."""
    for limit in limits_of(settings, wish, by_owner=by_owner):
        await apply_limit(executor, actor, target, limit)


def check_expiry(
    settings: SavedSettings, expires_at: datetime | None, *, by_owner: bool, is_new: bool
) -> datetime | None:
    """When the key ends; a new one without a time gets the default. Raises GatewayError `validation_failed` for an
    owner's time beyond the ceiling, or none where there is one."""
    now = datetime.now(UTC)
    most = settings.key_maximum_expiry_days if by_owner else None
    if expires_at is None and is_new:
        days = settings.key_default_expiry_days or most
        return None if days is None else now + timedelta(days=days)
    if most is not None and (expires_at is None or expires_at > now + timedelta(days=most)):
        raise invalid("expires_at", f"expires_at is {most} days from now at most.")
    return expires_at


async def check_room(executor: "Executor", account: "Account", settings: SavedSettings) -> None:
    """Whether the account, which is locked, may have one more key. Raises GatewayError `conflict`."""
    most = settings.user_maximum_keys if account.kind == "personal" else settings.team_maximum_keys
    if most is None:
        return
    active = await api_keys.count_active_keys(executor, account.id)
    if active >= most:
        message = f"'{account.name}' has {active} keys that work, and may have {most}: revoke one first."
        raise GatewayError("conflict", message, details={"active_keys": active, "maximum_keys": most})
