"""Every component of the pages in each of its states, for those who build pages."""

from typing import Final

from admin_api.operations.actors import require_reader
from admin_api.portal.rendering import Page
from admin_api.portal.styleguide import COMPONENTS, examples_of
from admin_api.portal.visits import Theme, Visit

# Of which there is one on every page, and so on this one.
ON_EVERY_PAGE: Final = ("masthead", "nav")


async def show(visit: Visit) -> Page:
    """In the person's language, in the light or the dark theme."""
    require_reader(visit.actor)
    shown = {name: examples_of(name, visit.language) for name in COMPONENTS if name not in ON_EVERY_PAGE}
    theme: Theme = "dark" if visit.query("theme") == "dark" else "light"
    return Page("admin_styleguide.html", visit.messages.gettext("Styleguide"), {"shown": shown}, theme=theme)
