"""CSV for spreadsheets of other languages: which file each locale reads, and cells that are never formulas (A12)."""

import csv
import io
from decimal import Decimal

import pytest

from admin_api.operations.csv_formats import PLAIN, CSVFormat, csv_format_of
from admin_api.schemas.csv_cells import FORMULA, header, lines
from gateway.domain.errors import GatewayError

COMMA = CSVFormat(";", ",", has_byte_order_mark=True)
POINT = CSVFormat(",", ".", has_byte_order_mark=True)


@pytest.mark.parametrize(
    ("locale", "expected"),
    [
        (None, PLAIN),
        ("en", POINT),
        ("en-GB", POINT),
        ("en-DE", COMMA),
        ("es", COMMA),
        ("es-ES", COMMA),
        ("es_AR", COMMA),
        ("es-MX", POINT),
        ("es-419", POINT),
        ("fr", COMMA),
        ("FR-ca", COMMA),
        ("de", COMMA),
        ("de-CH", CSVFormat(";", ".", has_byte_order_mark=True)),
        ("pt-BR", COMMA),
        ("zh-Hant-TW", POINT),
        ("sr-Latn-RS", COMMA),
    ],
)
def test_a12_each_locale_has_its_separator_and_decimal_sign(locale: str | None, expected: CSVFormat) -> None:
    assert csv_format_of(locale) == expected


@pytest.mark.parametrize("locale", ["", "xx", "e", "espanol", "es-", "es-MX-x", "es\n", "en;q=1", "*", "es;", "١٢"])
def test_a12_another_word_is_refused_with_the_languages(locale: str) -> None:
    with pytest.raises(GatewayError, match=r"as es or es-MX: bg, ca, .*, zh\.") as caught:
        csv_format_of(locale)
    assert (caught.value.code, caught.value.param) == ("validation_failed", "locale")


@pytest.mark.parametrize("csv_format", [PLAIN, COMMA, POINT])
def test_a12_cells_come_back_as_they_were_whatever_they_hold(csv_format: CSVFormat) -> None:
    texts = ["a;b", "a,b", 'say "hi"', "two\nlines", "two\r\nlines", ";", "1,5", "é ü €"]
    made = lines([texts], csv_format).decode()

    assert list(csv.reader(io.StringIO(made, newline=""), delimiter=csv_format.separator)) == [texts]


@pytest.mark.parametrize("csv_format", [PLAIN, COMMA, POINT])
@pytest.mark.parametrize("begun", [*FORMULA, " =", "\u00a0=", "  -", "\u3000@"])
def test_a12_no_text_is_a_formula(csv_format: CSVFormat, begun: str) -> None:
    for text in (f"{begun}cmd|' /C calc'!A0", f"{begun}1;=2", begun):
        ((cell, other),) = csv.reader(
            io.StringIO(lines([[text, "x"]], csv_format).decode(), newline=""), delimiter=csv_format.separator
        )
        assert (cell, other) == (f"'{text}", "x")


def test_a12_numbers_have_the_decimal_sign_and_stay_numbers() -> None:
    row = [Decimal("0.000000001"), Decimal("-12.5"), Decimal(3), -7, 0, None, True, "12.5"]

    assert lines([row], COMMA).decode() == "0,000000001;-12,5;3;-7;0;;true;12.5\r\n"
    assert lines([row], POINT).decode() == "0.000000001,-12.5,3,-7,0,,true,12.5\r\n"
    assert lines([[Decimal("-0.5"), "a,b"]], CSVFormat(",", ",")).decode() == '"-0,5","a,b"\r\n'


def test_a12_the_file_begins_with_a_byte_order_mark_only_for_a_locale() -> None:
    assert header(["day", "calls"], COMMA) == b"\xef\xbb\xbfday;calls\r\n"
    assert header(["day", "calls"], POINT) == b"\xef\xbb\xbfday,calls\r\n"
    assert header(["day", "calls"], PLAIN) == b"day,calls\r\n"
