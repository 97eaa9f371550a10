"""Money is whole nano-USD (10^-9 US dollars); text is a decimal number of US dollars, exactly."""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Self

NANO_USD: Final = 10**9
# Amounts of one call beyond these are nonsense, or not worth their digits.
MAX_USD: Final = 1_000_000
MAX_DIGITS: Final = 64
LEAST_EXPONENT: Final = -40
# As a mistake of the unit would make it: thousandths, millionths or nano-USD taken for USD.
DOUBTFUL_FACTOR: Final = 1000


def decimal_text(number: Decimal) -> str:
    """Without an exponent and without zeros at the end: `0.000001`, `10`."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def usd_text(nano_usd: int) -> str:
    """Whole nano-USD as US dollars, exactly: `1_500_000_000` is `1.5`."""
    return decimal_text(Decimal(nano_usd).scaleb(-9))


@dataclass(frozen=True, slots=True, order=True)
class Money:
    """An amount of money. Where it is shown or taken, the unit is in its text (`25 USD`) or in the name of its field
    (`…_usd`, `…_nano_usd`)."""

    nano_usd: int

    @classmethod
    def parse(cls, usd: str) -> Self:
        """A decimal number of USD, without rounding. Raises ValueError, whose text says what the number must be."""
        try:
            number = Decimal(usd.strip())
        except InvalidOperation:
            raise ValueError("must be a decimal number, e.g. 0.45") from None
        # More digits would be a mistake or an attack, and not exact.
        if not number.is_finite() or number < 0 or abs(number.adjusted()) > 20 or len(number.as_tuple().digits) > 28:
            raise ValueError("must be a decimal number from 0, e.g. 0.45")
        nano = number * NANO_USD
        if nano != nano.to_integral_value():
            raise ValueError("may have at most 9 decimal places: the smallest amount is one nano-USD")
        return cls(int(nano))

    @property
    def usd(self) -> str:
        """As `usd_text`."""
        return usd_text(self.nano_usd)

    def __str__(self) -> str:
        return f"{self.usd} USD"

    def is_far_from(self, other: "Money") -> bool:
        """Whether one is more than a thousand times the other. Nothing is far from 0, which is 0 in every unit."""
        less, more = sorted((self.nano_usd, other.nano_usd))
        return less > 0 and more > less * DOUBTFUL_FACTOR


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
