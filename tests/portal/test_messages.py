"""The catalogues have every text of the code and the templates, translated, and nothing else."""

import ast
import re
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

import admin_api.portal
import gateway
from admin_api.portal.languages import LANGUAGES, translations
from admin_api.portal.pages.refusal_advice import OF_LIMIT
from admin_api.portal.refusal_texts import PARTS, in_language
from deploy.extract_refusals import SAID_BY_NUMBERS, all_templates, gateway_templates, templates_in
from gateway.authenticate import HOW_TO_SEND
from gateway.domain.model_status import SAYS

FOLDER = Path(admin_api.portal.__file__).parent
METHODS = [("**.py", "python"), ("templates/**.html", "jinja2")]
KEYWORDS = {"_": None, "gettext": None, "ngettext": (1, 2), "marked": None}
PARAMETER = re.compile(r"%\(\w+\)s|\{\d+\}")


def ids(catalog: Catalog) -> set[object]:
    return {message.id for message in catalog if message.id}


@pytest.fixture(scope="module")
def texts() -> set[object]:
    found = extract_from_dir(FOLDER, METHODS, {"**.html": {"silent": "false"}}, keywords=KEYWORDS)
    return {text for _, _, text, _, _ in found}


@pytest.fixture(scope="module")
def sentences() -> set[str]:
    return all_templates(FOLDER.parent)


@pytest.fixture(scope="module")
def of_gateway() -> set[str]:
    return gateway_templates(Path(gateway.__file__).parent)


@pytest.mark.parametrize("language", LANGUAGES[1:])
@pytest.mark.parametrize("domain", ["messages", "operations", "gateway"])
def test_every_text_is_translated(
    texts: set[object], sentences: set[object], of_gateway: set[object], domain: str, language: str
) -> None:
    with (FOLDER / "locales" / language / "LC_MESSAGES" / f"{domain}.po").open("rb") as file:
        catalog = read_po(file, locale=language)

    assert ids(catalog) == {"messages": texts, "operations": sentences, "gateway": of_gateway}[domain], (
        "run `make messages`, then translate"
    )
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


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_every_refusal_is_recognised_with_its_values(sentences: set[str], of_gateway: set[str], language: str) -> None:
    for template in sentences | of_gateway:
        english = re.sub(r"\{(\d+)\}", r"<value \1>", re.sub(r"(\}){(\d+)\}", r"\1 (<value \2>)", template))

        translated = in_language(language, english)

        assert translated != english, template
        assert set(re.findall("<value .>", translated)) == set(re.findall("<value .>", english)), template


def test_a_refusal_is_said_in_the_language_with_its_values_and_states() -> None:
    sentence = "The subscription of 'Ana's team. {1}' to 'a-model' is suspended. It must be active."

    assert in_language("es", sentence).startswith("La suscripción de «Ana's team. {1}» a «a-model» está ")
    assert in_language("en", sentence) == sentence
    assert in_language("fr", "A sentence of nobody's.") == "A sentence of nobody's."


def test_pages_say_every_refusal_that_is_made_of_numbers() -> None:
    (file,) = SAID_BY_NUMBERS
    tree = ast.parse((Path(gateway.__file__).parent / file).read_text())
    made = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "GatewayError"]

    assert {ast.literal_eval(node.args[0]) for node in made} == set(OF_LIMIT)


def test_texts_within_a_refusal_of_the_gateway_are_said_in_the_language_too() -> None:
    wordings = set()
    for file in Path(gateway.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "read" and len(node.args) == 4:
                wordings |= {node.args[3].value} if isinstance(node.args[3], ast.Constant) else set()

    assert len(wordings) > 5
    assert wordings | set(SAYS.values()) <= set(PARTS)
    waits = "The subscription to 'a (b)' is suspended (Over (its) budget)."
    assert in_language("es", waits) == "La suscripción a «a (b)» está suspendida (Over (its) budget)."
    assert in_language("fr", "The model 'a' is disabled by an admin.") == (
        "Le modèle « a » est désactivé par un administrateur."
    )
    assert in_language("es", "'store' must be true or false.") == "«store» debe ser true o false."


def test_a_constant_of_several_words_is_a_part_of_the_sentence() -> None:
    code = """
WORD = "word"
NAMES = ", ".join(("a", "b"))
WORDS = f"{NAMES} or the last of them"
def check():
    raise invalid("day", f"{WORD} must be {WORDS}.")
"""
    assert templates_in(code) == [(6, "{1} must be {2} or the last of them.")]
    assert in_language("es", f"No API key was sent. {HOW_TO_SEND}").endswith(
        "Envíe su clave de API como «Authorization: Bearer sk-lm-…»."
    )


def test_a_refusal_whose_sentence_cannot_be_found_is_an_error() -> None:
    assert templates_in("raise invalid('name', f'{a} of {b} is not {c!r}.')") == [(1, "{1} of {2} is not {3}.")]
    with pytest.raises(ValueError, match="line 2: the sentence of a refusal is no literal"):
        templates_in("def check(sentence):\n    raise GatewayError('conflict', sentence)")
