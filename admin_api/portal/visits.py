"""Who looks at a page, and what pages need to know of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from gettext import NullTranslations
from typing import TYPE_CHECKING, Any, Final, Literal, cast, get_args
from urllib.parse import urlencode

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from admin_api.operations.actors import Actor
from admin_api.operations.display import NOTHING, Display, read_display
from admin_api.operations.people.users import find_self
from admin_api.portal.formatters import Formats
from admin_api.portal.languages import choose_language, translations
from admin_api.portal.refusal_texts import in_language
from admin_api.storage.users import User
from admin_api.web import csrf
from admin_api.web.authenticate import authenticate_page
from admin_api.web.cookies import read_cookie, set_cookie

if TYPE_CHECKING:
    from admin_api.settings import Settings
    from admin_api.storage.usage.readers import UsageStore
    from gateway.storage.postgres import Pool

Theme = Literal["auto", "light", "dark"]
THEMES: Final = get_args(Theme)
THEME_KEPT_S: Final = 365 * 24 * 3600
MAX_FIELD: Final = 10_000


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of a person who has logged in."""

    request: Request
    actor: Actor
    user: User
    formats: Formats
    form: FormData | None = None
    display: Display = NOTHING

    @property
    def pool(self) -> "Pool":
        """For operations."""
        pool: Pool = self.request.app.state.pool
        return pool

    @property
    def usage_store(self) -> "UsageStore":
        """What usage questions are answered from."""
        store: UsageStore = self.request.app.state.usage_store
        return store

    @property
    def settings(self) -> "Settings":
        """The deployment's."""
        settings: Settings = self.request.app.state.settings
        return settings

    @property
    def language(self) -> str:
        """`en`, `es` or `fr`."""
        return self.formats.language

    @property
    def banner(self) -> str | None:
        """What admins have to say to everybody."""
        return self.display.banner(self.language)

    @property
    def messages(self) -> NullTranslations:
        """The texts in the person's language."""
        return translations(self.language)

    def in_language(self, sentence: str) -> str:
        """What an operation says in English, in the person's language."""
        return in_language(self.language, sentence)

    @property
    def form_token(self) -> str:
        """The hidden field of every form."""
        return csrf.form_token(self.settings.encryption_keys, self.actor.session_id or 0)

    def query(self, name: str) -> str | None:
        """A parameter of the address; None where it is absent or empty."""
        return self.request.query_params.get(name, "").strip()[:MAX_FIELD] or None

    def choice(self, name: str, choices: Iterable[str]) -> str:
        """The parameter of the address if it is one of these, else the first of them."""
        known = list(choices)
        value = self.query(name)
        return value if value is not None and value in known else known[0]

    def paging(self, next_cursor: str | None, path: str | None = None) -> dict[str, str | None]:
        """`next_path` and `first_path`, as `pagination` takes them: the address of this page with another cursor, and
        without one; None where there is no such page, or this is it. `path` is that of the page, if a form that stands
        on it was posted to another one."""
        given = self.request.query_params.multi_items() if path is None else []
        kept = [(name, value) for name, value in given if value and name != "cursor"]

        def at(query: list[tuple[str, str]]) -> str:
            return f"{path or self.request.url.path}?{urlencode(query)}".removesuffix("?")

        return {
            "next_path": at([*kept, ("cursor", next_cursor)]) if next_cursor else None,
            "first_path": at(kept) if self.query("cursor") else None,
        }

    def field(self, name: str) -> str | None:
        """A field of the form; None where it is absent or empty."""
        value: Any = self.form.get(name) if self.form is not None else None
        return value.strip()[:MAX_FIELD] or None if isinstance(value, str) else None

    def fields(self, name: str) -> list[str]:
        """All values of a field that may be there several times."""
        values = self.form.getlist(name) if self.form is not None else []
        return [value[:MAX_FIELD] for value in values if isinstance(value, str)]


async def begin_visit(request: Request) -> Visit:
    """Raises GatewayError as `authenticate_page` does."""
    actor = await authenticate_page(request)
    user = await find_self(request.app.state.pool, actor)
    form = await request.form() if request.method == "POST" else None
    language = choose_language(user.locale, request.headers.get("accept-language", ""))
    display = await read_display(request.app.state.pool)
    formats = Formats(language, user.time_zone, display.currency, display.rate)
    return Visit(request, actor, user, formats, form, display)


def keep_theme(answer: Response, settings: "Settings", theme: Theme) -> None:
    """In this browser, for a year."""
    set_cookie(answer, settings, "theme", theme, max_age=THEME_KEPT_S)


def theme_of(request: Request) -> Theme:
    """As the person chose in this browser; `auto` follows the system."""
    kept = read_cookie(request, "theme")
    return cast("Theme", kept) if kept in THEMES else "auto"
