"""How spreadsheets read CSV, by the language and region they are set to: separator, decimal sign, byte order mark."""

import re
from dataclasses import dataclass
from typing import Final

from admin_api.operations.validation import invalid

# BCP 47: a language, then perhaps a script and a region.
TAG: Final = re.compile("([A-Za-z]{2})(?:[-_][A-Za-z]{4})?(?:[-_]([A-Za-z]{2}|[0-9]{3}))?")
# By their decimal sign, as in Unicode's CLDR 47 (numbers, Latin digits).
POINT: Final = ("en", "ja", "ko", "zh")
COMMA: Final = (
    "bg", "ca", "cs", "da", "de", "el", "es", "et", "eu", "fi", "fr", "gl", "hr", "hu", "id", "it", "lt", "lv", "nb",
    "nl", "nn", "pl", "pt", "ro", "ru", "sk", "sl", "sr", "sv", "tr", "uk", "vi",
)  # fmt: skip
# Regions with the other sign than their language.
OTHER: Final = {
    "de": "CH LI",
    "en": "AT BE CZ DE DK EE ES FI FR GE HU ID IT LT LV NL NO PL PT RO SE SI SK UA ZA",
    "es": "419 BR BZ CU DO GT HN MX NI PA PE PR SV US",
    "fr": "RW",
    "it": "CH",
}
# With a point, but semicolons between cells.
SEMICOLON: Final = ("CH", "LI")


@dataclass(frozen=True, slots=True)
class CSVFormat:
    """As RFC 4180 unless a locale is given. The byte order mark says to a spreadsheet that the file is UTF-8."""

    separator: str = ","
    decimal_sign: str = "."
    has_byte_order_mark: bool = False


PLAIN: Final = CSVFormat()
# The parameter of it.
LOCALE: Final = (
    "Language of the spreadsheet that opens the CSV, as es or es-MX: byte order mark, separator and decimal sign are "
    "those that it reads. Other formats do not change"
)


def csv_format_of(locale: str | None) -> CSVFormat:
    """`es`, `es-MX` or `es_MX`. Raises GatewayError `validation_failed` for a language that is not listed."""
    if locale is None:
        return PLAIN
    found = TAG.fullmatch(locale)
    language = found[1].lower() if found else ""
    if found is None or language not in (*POINT, *COMMA):
        languages = ", ".join(sorted((*POINT, *COMMA)))
        raise invalid("locale", f"locale must be a language, with or without a region, as es or es-MX: {languages}.")
    region = (found[2] or "").upper()
    is_other = region in OTHER.get(language, "").split()
    if (language in COMMA) is not is_other:
        return CSVFormat(";", ",", has_byte_order_mark=True)
    return CSVFormat(";" if region in SEMICOLON else ",", ".", has_byte_order_mark=True)
