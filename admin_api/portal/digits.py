"""Whole numbers and exact amounts as Babel writes them, at a tenth of its time: a page about usage has thousands."""

from decimal import Decimal
from functools import cache
from typing import Final, NamedTuple

from babel import numbers

from admin_api.portal.languages import locale
from gateway.domain.money import NANO_USD

# An amount is exact: two decimals at least, and what more it has down to one nano-USD.
MIN_DECIMALS: Final = 2
MONEY_DECIMALS: Final = "00#######"


class _Signs(NamedTuple):
    """What a language writes between digits, and before and after an amount of US dollars."""

    minus: str
    group: str
    decimal: str
    before: str
    after: str


def write_number(language: str, value: int) -> str:
    """With the separators of the language: `1,234`, `1.234`, `1 234`."""
    signs = _signs_of(language)
    return f"{signs.minus if value < 0 else ''}{_grouped(signs, value)}"


def write_nano_usd(language: str, amount: int) -> str:
    """Whole nano-USD as US dollars, exactly."""
    signs = _signs_of(language)
    whole, rest = divmod(abs(amount), NANO_USD)
    fraction = f"{rest:09d}".rstrip("0").ljust(MIN_DECIMALS, "0")
    minus = signs.minus if amount < 0 else ""
    return f"{minus}{signs.before}{_grouped(signs, whole)}{signs.decimal}{fraction}{signs.after}"


def write_usd(language: str, amount: Decimal) -> str:
    """The same of any amount, by Babel: it may have more decimals, and is rounded."""
    known = locale(language)
    pattern = known.currency_formats["standard"].pattern.split(";")[0].replace("0.00", f"0.{MONEY_DECIMALS}")
    return str(numbers.format_currency(amount, "USD", format=pattern, locale=known, currency_digits=False))


def _grouped(signs: _Signs, value: int) -> str:
    return f"{abs(value):,}".replace(",", signs.group)


@cache
def _signs_of(language: str) -> _Signs:
    known = locale(language)
    decimal = numbers.get_decimal_symbol(known)
    before, after = write_usd(language, Decimal(0)).split(f"0{decimal}00")
    return _Signs(numbers.get_minus_sign_symbol(known), numbers.get_group_symbol(known), decimal, before, after)
