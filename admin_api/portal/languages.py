"""The languages of the portal, and which one a person gets."""

import re
from functools import cache
from gettext import GNUTranslations, NullTranslations
from pathlib import Path
from typing import Final

from babel import Locale

FOLDER: Final = Path(__file__).with_name("locales")
# The first is that of the texts in the code.
LANGUAGES: Final = ("en", "es", "fr")
NAMES: Final = {"en": "English", "es": "Español", "fr": "Français"}
_RANGE: Final = re.compile(r"\s*([A-Za-z]{1,8}|\*)(?:-[A-Za-z0-9-]*)?\s*(?:;\s*q=([01](?:\.\d{0,3})?))?\s*")


@cache
def translations(language: str) -> NullTranslations:
    """The texts in this language. Raises FileNotFoundError where they were not compiled."""
    if language == LANGUAGES[0]:
        return NullTranslations()
    with (FOLDER / language / "LC_MESSAGES" / "messages.mo").open("rb") as file:
        return GNUTranslations(file)


@cache
def locale(language: str) -> Locale:
    """How numbers and dates are written."""
    return Locale.parse(language)


def choose_language(own: str | None, accepted: str) -> str:
    """The person's own choice, else the best of `Accept-Language` (RFC 9110, section 12.5.4), else English."""
    if own in LANGUAGES:
        return own
    best, best_weight = LANGUAGES[0], 0.0
    for part in accepted.split(",")[:20]:
        found = _RANGE.fullmatch(part)
        if found is None or found[1].lower() not in LANGUAGES:
            continue
        weight = float(found[2] or 1)
        if weight > best_weight:
            best, best_weight = found[1].lower(), weight
    return best
