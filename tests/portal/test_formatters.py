"""Numbers, money and times by language and zone; money is exact."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from babel import numbers
from hypothesis import given
from hypothesis import strategies as st

from admin_api.portal.digits import write_usd
from admin_api.portal.formatters import Formats
from admin_api.portal.languages import LANGUAGES, choose_language

MOMENT = datetime(2026, 11, 29, 23, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("language", "number", "money", "share"),
    [
        ("en", "1,234,567", "$1,234.50", "42%"),
        ("es", "1.234.567", "1.234,50\xa0US$", "42\xa0%"),
        ("fr", "1\u202f234\u202f567", "1\u202f234,50\xa0$US", "42\xa0%"),
    ],
)
def test_by_language(language: str, number: str, money: str, share: str) -> None:
    formats = Formats(language, "UTC")

    assert (formats.number(1_234_567), formats.usd("1234.5"), formats.percent(0.42)) == (number, money, share)


def test_by_zone() -> None:
    assert Formats("en", "Europe/Madrid").moment(MOMENT).startswith("Nov 30, 2026")
    assert "12:30" in Formats("en", "Europe/Madrid").moment(MOMENT)
    assert 'datetime="2026-11-29T23:30:00+00:00"' in Formats("en", "Europe/Madrid").time(MOMENT)


@given(st.integers(0, 10**18), st.sampled_from(LANGUAGES))
def test_money_is_exact_to_the_nano_usd(nano_usd: int, language: str) -> None:
    shown = Formats(language, "UTC").nano_usd(nano_usd)

    separator = "." if language == "en" else ","
    digits = "".join(one for one in shown if one.isdigit() or one == separator)
    assert Decimal(digits.replace(separator, ".")) * 10**9 == nano_usd


@given(st.integers(-(10**19), 10**19), st.sampled_from(LANGUAGES))
def test_digits_are_written_as_babel_writes_them(value: int, language: str) -> None:
    """Of numbers, of whole nano-USD, and of amounts with a digit more."""
    formats = Formats(language, "UTC")

    assert formats.number(value) == numbers.format_decimal(value, locale=language)
    assert formats.nano_usd(value) == write_usd(language, Decimal(value) / 10**9)
    assert formats.usd(Decimal(value) / 10**9) == formats.nano_usd(value)
    assert formats.usd(Decimal(value) / 10**10) == write_usd(language, Decimal(value) / 10**10)


@pytest.mark.parametrize(
    ("own", "accepted", "language"),
    [
        ("fr", "es", "fr"),
        (None, "es-MX,es;q=0.9,en;q=0.8", "es"),
        (None, "de,fr;q=0.4,en;q=0.3", "fr"),
        (None, "de", "en"),
        (None, "", "en"),
        (None, "es;q=0,en;q=0.1", "en"),
        (None, "nonsense;;;;q=x", "en"),
    ],
)
def test_the_language_is_chosen(own: str | None, accepted: str, language: str) -> None:
    assert choose_language(own, accepted) == language
