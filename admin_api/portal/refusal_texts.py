"""The sentences with which operations refuse, in the person's language.

Operations write them in English, as the HTTP API answers them. The catalogue `operations` has each as a template with
{1}, {2} for the values in it (deploy/extract_refusals.py), by which a sentence is recognised here.
"""

import re
from functools import cache
from typing import Final, NamedTuple

from babel.messages.mofile import read_mo

from admin_api.portal.languages import FOLDER, LANGUAGES, translations

VALUE: Final = re.compile(r"\{\d+\}")
PLACES: Final = re.compile(r"(\{\d+\})")


class Template(NamedTuple):
    """An English sentence, and what it is in another language, with the same values."""

    pattern: re.Pattern[str]
    translation: str


def in_language(language: str, sentence: str) -> str:
    """The sentence in this language; as it is if no template is like it. A value that is a text of the portal itself,
    as a status, is translated too."""
    gettext = translations(language).gettext
    for pattern, translation in _templates(language):
        found = pattern.fullmatch(sentence)
        if found is not None:
            values = {f"{{{n}}}": gettext(value) if value else "" for n, value in enumerate(found.groups(), 1)}
            return "".join(values.get(part, part) for part in PLACES.split(translation))
    return sentence


@cache
def _templates(language: str) -> list[Template]:
    """Those with the most words first: a short one may be a part of a long one."""
    if language == LANGUAGES[0]:
        return []
    with (FOLDER / language / "LC_MESSAGES" / "operations.mo").open("rb") as file:
        found = [(str(message.id), str(message.string)) for message in read_mo(file) if message.id]
    found.sort(key=lambda pair: -len(VALUE.sub("", pair[0])))
    return [Template(_pattern(template), translation) for template, translation in found]


def _pattern(template: str) -> re.Pattern[str]:
    fixed = VALUE.split(template)
    return re.compile("(.*?)".join(re.escape(part) for part in fixed), re.DOTALL)
