"""Parses and checks the fields of a limit: level, kind, window, amount, burst, what is reserved."""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final, cast, get_args

from admin_api.operations.validation import InvalidInput, check_word, invalid, invalid_now, unconfirmed
from gateway.domain.errors import GatewayError
from gateway.domain.limits import (
    BUCKET_KINDS,
    KINDS,
    LEVELS,
    MAX_AMOUNT,
    MAX_BUCKET_CAPACITY,
    WINDOWED_KINDS,
    Kind,
    Level,
    ReserveMode,
    amount_text,
    is_money,
)
from gateway.domain.money import Money
from gateway.domain.windows import WINDOW_KINDS, WindowKind

UNLIMITED: Final = "unlimited"
AMOUNT_FIELDS: Final = ("amount", "amount_usd", "amount_nano_usd")
MAX_BURST: Final = 1000
# The column is numeric(8, 3).
BURST_STEP: Final = Decimal("0.001")
MAX_DIGITS: Final = 40
RESERVE_MODES: Final = get_args(ReserveMode)


def check_level(level: str) -> Level:
    """Raises GatewayError `validation_failed`."""
    return cast("Level", check_word("level", level, LEVELS))


def check_kind(kind: str) -> Kind:
    """Raises GatewayError `validation_failed`."""
    return cast("Kind", check_word("kind", kind, KINDS))


def check_window(kind: Kind, window: str | None) -> WindowKind | None:
    """The window, which some kinds need and others must not have. Raises GatewayError `validation_failed`."""
    if kind not in WINDOWED_KINDS:
        if window is not None:
            raise invalid("window", f"A limit of kind {kind} has no window.")
        return None
    if window is None:
        raise invalid("window", f"A limit of kind {kind} needs a window, one of {', '.join(WINDOW_KINDS)}.")
    return cast("WindowKind", check_word("window", window, WINDOW_KINDS))


@dataclass(frozen=True, slots=True, kw_only=True)
class AmountInput:
    """An amount as it was given: exactly one of the fields. `amount` is a count or `unlimited`, never money."""

    amount: int | str | None = None
    amount_usd: str | None = None
    amount_nano_usd: int | None = None

    def of_stored_kind(self, kind: Kind) -> int | None:
        """As `of_kind`, for a limit that is stored: what another kind takes is not wrong in itself."""
        try:
            return self.of_kind(kind)
        except InvalidInput as error:
            if any(self._is_of_kind(other) for other in KINDS):
                raise invalid_now(str(error.param), error.message) from None
            raise

    def check(self) -> None:
        """Raises InvalidInput for what is an amount of no kind."""
        if not any(self._is_of_kind(kind) for kind in KINDS):
            self.of_kind("requests" if self.amount is not None else "cost")

    def _is_of_kind(self, kind: Kind) -> bool:
        try:
            self.of_kind(kind)
        except InvalidInput:
            return False
        return True

    def of_kind(self, kind: Kind) -> int | None:
        """A count, nano-USD for kind cost, or None for `unlimited`. Raises GatewayError `validation_failed`."""
        given = [name for name in AMOUNT_FIELDS if getattr(self, name) is not None]
        if len(given) != 1:
            raise invalid("amount", f"Give one of {', '.join(AMOUNT_FIELDS)}; {UNLIMITED} is an amount.")
        if self.amount is not None:
            return parse_amount(kind, str(self.amount))
        if not is_money(kind):
            raise invalid(given[0], f"{given[0]} is for kind cost. A limit of kind {kind} has an amount.")
        return self.amount_nano_usd if self.amount_usd is None else parse_usd("amount_usd", self.amount_usd)


def parse_amount(kind: Kind, text: str) -> int | None:
    """A whole number, or `unlimited` (None). Raises GatewayError `validation_failed`, also for a number of money, which
    needs a field that names its unit."""
    number = text.strip()
    if number.lower() == UNLIMITED:
        return None
    if is_money(kind):
        message = f"A number of kind {kind} needs its unit: give amount_usd (e.g. 25.00) or amount_nano_usd."
        raise invalid("amount", message)
    if not (number.isascii() and number.isdigit() and len(number) <= MAX_DIGITS):
        raise invalid("amount", "amount must be a whole number from 0, or 'unlimited'.")
    return int(number)


def parse_usd(field: str, text: str) -> int:
    """A decimal number of USD as nano-USD, without rounding. Raises GatewayError `validation_failed`."""
    try:
        return Money.parse(text).nano_usd
    except ValueError as exc:
        raise invalid(field, f"{field} {exc}.") from None


def check_change(kind: Kind, old: int | None, new: int | None, *, confirmed: bool) -> None:
    """Raises GatewayError `validation_failed` for a change of money by more than a thousandfold that is not confirmed:
    the unit may be mistaken."""
    if not confirmed and is_doubtful(kind, old, new):
        raise doubt("amount_usd", f"from {amount_text(kind, old)} to {amount_text(kind, new)}")


def is_doubtful(kind: Kind, old: int | None, new: int | None) -> bool:
    """Whether the change needs a confirmation."""
    return is_money(kind) and old is not None and new is not None and Money(old).is_far_from(Money(new))


def doubt(field: str, change: str) -> GatewayError:
    """The error for changes that need a confirmation."""
    return unconfirmed(f"{field} would change {change}, more than a thousandfold.")


def parse_decimal(field: str, text: str) -> Decimal:
    """A decimal number from 0. Raises GatewayError `validation_failed`."""
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        raise invalid(field, f"{field} must be a decimal number, e.g. 0.45.") from None
    # More digits would be a mistake or an attack, and not exact.
    if not number.is_finite() or number < 0 or abs(number.adjusted()) > 20 or len(number.as_tuple().digits) > 28:
        raise invalid(field, f"{field} must be a decimal number from 0, e.g. 0.45.")
    return number


def check_amount(kind: Kind, amount: int, burst: Decimal) -> int:
    """Checks that the counters can represent the amount. Raises GatewayError `validation_failed`."""
    if not 0 <= amount <= MAX_AMOUNT:
        field = "amount_usd" if is_money(kind) else "amount"
        raise invalid(field, f"{field} must be from 0 to {amount_text(kind, MAX_AMOUNT)}.")
    if kind in BUCKET_KINDS and amount * burst > MAX_BUCKET_CAPACITY:
        raise invalid("amount", f"amount x burst of kind {kind} must be at most {MAX_BUCKET_CAPACITY}.")
    return amount


def check_burst(kind: Kind, burst: Decimal) -> Decimal:
    """A factor from 1, for token buckets. Raises GatewayError `validation_failed`."""
    if not burst.is_finite() or not 1 <= burst <= MAX_BURST or burst != burst.quantize(BURST_STEP):
        raise invalid("burst", f"burst must be a factor from 1 to {MAX_BURST} with at most 3 decimal places.")
    if kind not in BUCKET_KINDS and burst != 1:
        raise invalid("burst", f"A limit of kind {kind} has no burst. Only {' and '.join(BUCKET_KINDS)} have one.")
    return burst


def check_reserve(reserve: str) -> ReserveMode:
    """Raises GatewayError `validation_failed`."""
    return cast("ReserveMode", check_word("reserve", reserve, RESERVE_MODES))
