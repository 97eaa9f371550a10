"""Renders pages: one Jinja environment a language, everything escaped, nothing undefined."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from admin_api.portal.flashes import Flash, keep_flash, take_flash
from admin_api.portal.formatters import Formats
from admin_api.portal.languages import LANGUAGES, translations
from admin_api.portal.navigation import is_current, sections_for
from admin_api.portal.static_files import address_of
from admin_api.portal.visits import Theme, Visit, keep_theme, theme_of

TEMPLATES: Final = Path(__file__).with_name("templates")


@dataclass(frozen=True, slots=True)
class Page:
    """A template below pages/, and what it shows. `title` is the page's h1 and the window's title, translated."""

    template: str
    title: str
    context: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    # Instead of the person's own.
    theme: Theme | None = None
    # Of another time zone than the person's own.
    formats: Formats | None = None


@dataclass(frozen=True, slots=True)
class Redirect:
    """After a form: the page to go to, and what to say there, once."""

    path: str
    flash: Flash | None = None
    # To be kept by this browser.
    theme: Theme | None = None


@cache
def environment(language: str) -> Environment:
    """Templates with the texts of this language."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        # A page has a hundred imports, each of which would look at the file.
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    made.install_gettext_translations(translations(language), newstyle=True)  # type: ignore[attr-defined]  # by the extension
    made.globals |= {"zip": zip, "address_of": address_of, "is_current": is_current, "languages": LANGUAGES}
    return made


def render_page(visit: Visit, page: Page | Redirect | Response) -> Response:
    """The whole page, or for htmx its main part. What is no page goes out as it is."""
    if isinstance(page, Response):
        return page
    if isinstance(page, Redirect):
        answer: Response = RedirectResponse(page.path, 303)
        if page.flash is not None:
            keep_flash(answer, visit.settings, visit.actor.session_id, page.flash)
        if page.theme is not None:
            keep_theme(answer, visit.settings, page.theme)
        return answer
    flash = take_flash(visit.request, visit.actor.session_id)
    context = page.context | {
        "visit": visit,
        "formats": page.formats or visit.formats,
        "title": page.title,
        "flash": flash,
        "sections": sections_for(visit.actor),
        "path": visit.request.url.path,
        "theme": page.theme or theme_of(visit.request),
        "request_id": str(visit.request.state.request_id),
    }
    templates = environment(visit.language)
    main = Markup(templates.get_template(f"pages/{page.template}").render(context))  # noqa: S704  made by Jinja, escaped
    headers = visit.request.headers
    is_part = "hx-request" in headers and headers.get("hx-request-type") != "full"
    text = templates.get_template("part.html" if is_part else "layout.html").render(context | {"main": main})
    answer = HTMLResponse(text, page.status, headers={"vary": "hx-request, hx-request-type"})
    if flash is not None:
        keep_flash(answer, visit.settings, visit.actor.session_id, None)
    return answer


def render_before_login(request: Request, template: str, formats: Formats, status: int, **context: Any) -> HTMLResponse:
    """A page for who has not logged in."""
    context |= {
        "formats": formats,
        "theme": theme_of(request),
        "language": formats.language,
        "request_id": str(request.state.request_id),
    }
    return HTMLResponse(environment(formats.language).get_template(f"pages/{template}").render(context), status)
