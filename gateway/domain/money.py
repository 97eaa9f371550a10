"""Money is whole nano-USD (10^-9 US dollars); text is a decimal number of US dollars, exactly."""

from decimal import Decimal, InvalidOperation
from typing import Any, Final

NANO_USD: Final = 10**9
# Amounts of one call beyond these are nonsense, or not worth their digits.
MAX_USD: Final = 1_000_000
MAX_DIGITS: Final = 64
LEAST_EXPONENT: Final = -40


def decimal_text(number: Decimal) -> str:
    """Without an exponent and without zeros at the end: `0.000001`, `10`."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def usd_text(nano_usd: int) -> str:
    """Whole nano-USD as US dollars, exactly: `1_500_000_000` is `1.5`."""
    return decimal_text(Decimal(nano_usd).scaleb(-9))


def nano_usd_rounded_up(usd: Any) -> int | None:
    """An amount in US dollars, never less than its decimal digits say. None: it can be no amount."""
    text = usd if isinstance(usd, str) else repr(usd) if isinstance(usd, int | float) else ""
    try:
        exact = Decimal(text) if len(text) <= MAX_DIGITS else None
    except InvalidOperation:
        return None
    if exact is None or not exact.is_finite() or not 0 <= exact <= MAX_USD:
        return None
    if exact and exact.adjusted() < LEAST_EXPONENT:
        return 1
    numerator, denominator = exact.as_integer_ratio()
    return -(-numerator * NANO_USD // denominator)
