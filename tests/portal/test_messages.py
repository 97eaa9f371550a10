"""The catalogues have every text of the code and the templates, translated, and nothing else."""

import re
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

import admin_api.portal
from admin_api.portal.languages import LANGUAGES, translations

FOLDER = Path(admin_api.portal.__file__).parent
METHODS = [("**.py", "python"), ("templates/**.html", "jinja2")]
KEYWORDS = {"_": None, "gettext": None, "ngettext": (1, 2), "marked": None}
PARAMETER = re.compile(r"%\(\w+\)s")


def ids(catalog: Catalog) -> set[object]:
    return {message.id for message in catalog if message.id}


@pytest.fixture(scope="module")
def texts() -> set[object]:
    found = extract_from_dir(FOLDER, METHODS, {"**.html": {"silent": "false"}}, keywords=KEYWORDS)
    return {text for _, _, text, _, _ in found}


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_every_text_is_translated(texts: set[object], language: str) -> None:
    with (FOLDER / "locales" / language / "LC_MESSAGES" / "messages.po").open("rb") as file:
        catalog = read_po(file, locale=language)

    assert ids(catalog) == texts, "run `make messages`, then translate"
    for message in catalog:
        if not message.id:
            continue
        assert not message.fuzzy, message.id
        strings = message.string if isinstance(message.string, tuple) else (message.string,)
        source = message.id if isinstance(message.id, str) else message.id[1]
        for string in strings:
            assert string, message.id
            assert set(PARAMETER.findall(string)) == set(PARAMETER.findall(source)), message.id


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_compiled_texts_are_those_of_the_catalogue(language: str) -> None:
    translated = translations(language).gettext("Models")

    assert translated == {"en": "Models", "es": "Modelos", "fr": "Modèles"}[language]
