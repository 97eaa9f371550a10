"""The sentences with which operations, and the gateway, refuse, in the person's language.

They write them in English, as the HTTP API and the gateway answer them. The catalogues `operations` and `gateway` have
each as a template with {1}, {2} for the values in it (deploy/extract_refusals.py), by which a sentence is recognised
here.
"""

import re
from functools import cache
from typing import Final, NamedTuple

from babel.messages.mofile import read_mo

from admin_api.portal.languages import FOLDER, LANGUAGES, translations
from admin_api.portal.texts import marked

VALUE: Final = re.compile(r"\{\d+\}")
PLACES: Final = re.compile(r"(\{\d+\})")
# A reason that follows a value directly, in parentheses.
REASON: Final = r"(| \(.*\))"
CATALOGUES: Final = ("operations", "gateway")
# Texts of the gateway that are values of its sentences.
PARTS: Final = (
    marked("is available"),
    marked("is disabled by an admin"),
    marked("is unlisted: LiteLLM no longer has it"),
    marked("waits for an admin's approval"),
    marked("has expired"),
    marked("is suspended"),
    marked("is cancelled"),
    marked("is denied"),
    marked("an unknown address"),
    marked("true or false"),
    marked("a string"),
    marked("a text"),
    marked("an object"),
    marked("the id of a response"),
    marked("a text or a list of items"),
    marked("a text, or a list of texts"),
    marked("a text or a list of text blocks"),
    marked("a list of messages, each an object with a role and content"),
    marked("what it takes is known only at its end."),
    marked("the answer may have any length. Set the maximum of its tokens."),
    marked("nobody knows the tokens of an attachment. An operator sets LITEMAAS_ATTACHMENT_TOKENS."),
)


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
    found = []
    for catalogue in CATALOGUES:
        with (FOLDER / language / "LC_MESSAGES" / f"{catalogue}.mo").open("rb") as file:
            found += [(str(message.id), str(message.string)) for message in read_mo(file) if message.id]
    found.sort(key=lambda pair: -len(VALUE.sub("", pair[0])))
    return [Template(_pattern(template), translation) for template, translation in found]


def _pattern(template: str) -> re.Pattern[str]:
    """Of two values that follow each other directly the second one is a reason."""
    first, *others = VALUE.split(template)
    written, before = re.escape(first), "-"
    for part in others:
        written += (REASON if before == "" else "(.*?)") + re.escape(part)
        before = part
    return re.compile(written, re.DOTALL)
