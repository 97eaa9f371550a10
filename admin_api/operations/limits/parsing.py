"""Parses and checks the fields of a limit: kind, window, amount, burst."""

from decimal import Decimal, InvalidOperation
from typing import Final, cast

from admin_api.operations.validation import check_word, invalid
from gateway.domain.limits import BUCKET_KINDS, KINDS, MAX_AMOUNT, MAX_BUCKET_CAPACITY, WINDOWED_KINDS, Kind, is_money
from gateway.domain.money import NANO_USD
from gateway.domain.windows import WINDOW_KINDS, WindowKind

UNLIMITED: Final = "unlimited"
MAX_BURST: Final = 1000
# The column is numeric(8, 3).
BURST_STEP: Final = Decimal("0.001")
MAX_DIGITS: Final = 40


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


def parse_amount(kind: Kind, text: str) -> int | None:
    """A whole number, a decimal number of USD for kind cost (returned in nano-USD), or `unlimited` (None)."""
    if text.strip().lower() == UNLIMITED:
        return None
    if is_money(kind):
        return parse_usd("amount", text)
    number = text.strip()
    if not (number.isascii() and number.isdigit() and len(number) <= MAX_DIGITS):
        raise invalid("amount", "amount must be a whole number from 0, or 'unlimited'.")
    return int(number)


def parse_usd(field: str, text: str) -> int:
    """A decimal number of USD as nano-USD, without rounding. Raises GatewayError `validation_failed`."""
    usd = parse_decimal(field, text)
    nano = usd * NANO_USD
    if nano != nano.to_integral_value():
        raise invalid(field, f"{field} may have at most 9 decimal places: the smallest amount is one nano-USD.")
    return int(nano)


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
        unit = " nano-USD" if is_money(kind) else ""
        raise invalid("amount", f"amount must be from 0 to {MAX_AMOUNT}{unit}.")
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
