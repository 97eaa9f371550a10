"""Every macro of templates/components makes the markup that PatternFly documents for its component."""

from functools import cache
from typing import Any

import pytest
from jinja2.nodes import Call, FromImport, Macro, Name
from lxml import etree

from admin_api.portal.rendering import TEMPLATES, environment
from admin_api.portal.styleguide import COMPONENTS, FOLDER, examples_of, states_of
from portal.deviations import DEVIATIONS
from portal.reference_blocks import Deviation, all_shapes, blocks, outline, parse, shape_of
from portal.references import REFERENCES

EXAMPLES = [(component, state) for component in COMPONENTS for state in states_of(component)]


def macros_of(component: str) -> set[str]:
    tree = environment("en").parse((TEMPLATES / "components" / f"{component}.html").read_text())
    return {macro.name for macro in tree.find_all(Macro) if not macro.name.startswith("_")}


def called_by(component: str) -> set[str]:
    tree = environment("en").parse((FOLDER / f"{component}.html").read_text())
    imported = {name if isinstance(name, str) else name[0] for one in tree.find_all(FromImport) for name in one.names}
    return imported & {call.node.name for call in tree.find_all(Call) if isinstance(call.node, Name)}


def changed(component: str, state: str, markup: str, *, is_theirs: bool) -> tuple[Any, set[Deviation]]:
    tree, used = parse(markup), set()
    for one in DEVIATIONS:
        if one.of_theirs == is_theirs and one.examples in ("*", component, f"{component}.{state}") and one.change(tree):
            used.add(one)
    return tree, used


@cache
def compared(component: str, state: str) -> tuple[list[str], set[Deviation]]:
    """What differs, and which deviations there are."""
    page, heading = REFERENCES[component][state]
    ours, of_ours = changed(component, state, examples_of(component, "en")[state], is_theirs=False)
    theirs, of_theirs = changed(component, state, blocks(page)[heading], is_theirs=True)
    known = all_shapes(theirs)
    shapes = [shape_of(element) for element in ours.iterchildren(tag=etree.Element)]
    assert shapes
    return [outline(shape) for shape in shapes if shape not in known], of_ours | of_theirs


def test_every_macro_has_an_example_and_every_example_a_reference() -> None:
    components = {path.stem for path in (TEMPLATES / "components").glob("*.html")}

    assert components == set(COMPONENTS) == set(REFERENCES)
    for component in components:
        assert macros_of(component) <= called_by(component), component
        assert set(states_of(component)) == set(REFERENCES[component]), component


@pytest.mark.parametrize(("component", "state"), EXAMPLES)
def test_an_example_is_what_patternfly_documents(component: str, state: str) -> None:
    different, _ = compared(component, state)

    assert not different, "\n".join(different)


def test_every_deviation_is_one() -> None:
    used = {one for component, state in EXAMPLES for one in compared(component, state)[1]}

    assert [one for one in DEVIATIONS if one not in used] == []


def test_a_class_that_patternfly_has_not_is_found() -> None:
    known = all_shapes(parse(blocks("Card")["Basic"]))
    card = examples_of("card", "en")["with_footer"]

    assert shape_of(parse(card)[0]) in known
    for right, wrong in (("pf-v6-c-card__body", "pf-v6-c-card__main"), ("<h2", "<h3"), ('class="pf-v6-c-card"', "")):
        assert right in card
        assert shape_of(parse(card.replace(right, wrong))[0]) not in known
