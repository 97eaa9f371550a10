"""Money is whole nano-USD (10^-9 US dollars); text is a decimal number of US dollars, exactly."""

from decimal import Decimal


def decimal_text(number: Decimal) -> str:
    """Without an exponent and without zeros at the end: `0.000001`, `10`."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def usd_text(nano_usd: int) -> str:
    """Whole nano-USD as US dollars, exactly: `1_500_000_000` is `1.5`."""
    return decimal_text(Decimal(nano_usd).scaleb(-9))
