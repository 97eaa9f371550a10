"""The examples of templates/styleguide: each component of templates/components in each of its states. The page
/admin/styleguide shows them, and a test compares them with PatternFly's own markup."""

from collections.abc import Mapping
from typing import Final

from jinja2.nodes import Macro
from markupsafe import Markup

from admin_api.portal.rendering import TEMPLATES, environment

FOLDER: Final = TEMPLATES / "styleguide"
COMPONENTS: Final = tuple(sorted(path.stem for path in FOLDER.glob("*.html")))


def states_of(component: str) -> list[str]:
    """The names of its examples, in the order in which they stand."""
    source = (FOLDER / f"{component}.html").read_text()
    return [macro.name for macro in environment("en").parse(source).find_all(Macro)]


def examples_of(component: str, language: str) -> Mapping[str, Markup]:
    """By state, with texts in this language."""
    module = environment(language).get_template(f"styleguide/{component}.html").make_module()
    return {state: getattr(module, state)() for state in states_of(component)}
