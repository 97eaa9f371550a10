"""Windows of a real Chromium on the portal. What goes wrong in one fails its test."""

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response, ViewportSize

from portal.browser.accessibility import violations

Theme = Literal["light", "dark"]
DESKTOP: Final = ViewportSize(width=1280, height=800)
PHONE: Final = ViewportSize(width=390, height=844)
LOGIN: Final = "/api/auth/login?provider=oidc&next=/home"
# What Chromium writes into the console for an answer that `_answered` knows with its status and address.
REPORTED_ELSEWHERE: Final = "Failed to load resource: the server responded with a status of"
# A navigation that another one replaced, or a download.
ABORTED: Final = "net::ERR_ABORTED"
SMALLEST_ERROR: Final = 400
NEXT_FRAME: Final = "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"


@dataclass(frozen=True, slots=True)
class Looks:
    """What a person's browser asks for."""

    language: str = "en"
    theme: Theme = "light"
    size: ViewportSize = field(default_factory=lambda: DESKTOP)
    has_script: bool = True

    def __str__(self) -> str:
        script = "" if self.has_script else ", without JavaScript"
        return f"{self.language}, {self.theme}, {self.size['width']} px{script}"


@dataclass(slots=True)
class Window:
    """A page in a context of its own (cookies, cache). `problems`: what the console, the network and the page's scripts
    reported that nobody expected."""

    page: Page
    site: str
    looks: Looks
    problems: list[str] = field(default_factory=list)
    expected_statuses: set[int] = field(default_factory=set)

    async def change_looks(self, looks: Looks) -> None:
        """Theme and size of the page that is shown; the language stays."""
        assert looks.language == self.looks.language
        await self.page.set_viewport_size(looks.size)
        await self.page.emulate_media(color_scheme=looks.theme)
        # Scripts hear of it before a frame is drawn.
        await self.page.evaluate(NEXT_FRAME)
        self.looks = looks

    async def open(self, path: str, *, status: int = 200) -> None:
        """The page at this path must answer with this status, after redirects."""
        self.expect(status)
        answer = await self.page.goto(self.site + path)
        assert answer is not None
        assert answer.status == status, f"{path}: {answer.status}"

    def expect(self, *statuses: int) -> None:
        """From now on, answers with these statuses are no problem."""
        self.expected_statuses |= set(statuses)

    def take_problems(self) -> list[str]:
        """What went wrong until now, for a test that expects it; it does not fail the test then."""
        taken, self.problems[:] = self.problems.copy(), []
        return taken

    @property
    def path(self) -> str:
        """Of the page that is shown, with its query."""
        return self.page.url.removeprefix(self.site)

    async def log_out(self) -> None:
        """By the menu of the person."""
        await self.page.locator("#user-menu > summary").click()
        await self.page.locator("form[action='/logout'] button").click()

    async def heading(self) -> str:
        """The text of its h1."""
        return (await self.page.locator("h1").inner_text()).strip()

    async def main_text(self) -> str:
        """Of the main part, as it is shown."""
        return " ".join((await self.page.locator("#main").inner_text()).split())

    async def check_accessibility(self) -> None:
        """axe finds nothing. It needs scripts itself."""
        assert self.looks.has_script
        found = await violations(self.page)
        assert found == [], f"{self.path} as {self.looks}:\n" + "\n".join(found)


class Windows:
    """All windows of a test."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._opened: list[tuple[BrowserContext, Window]] = []

    async def open(self, site: str, looks: Looks | None = None, **more: Any) -> Window:
        """A window in a new context. `site`: the address of the portal; `more`: of Playwright's `new_context`."""
        looks = looks or Looks()
        context = await self._browser.new_context(
            viewport=looks.size, locale=looks.language, color_scheme=looks.theme,
            java_script_enabled=looks.has_script, timezone_id="UTC", reduced_motion="reduce", **more,
        )  # fmt: skip
        if not looks.has_script:
            # Only a script can follow the system.
            await context.add_cookies([{"name": "litemaas_theme", "value": looks.theme, "url": site}])
        window = Window(await context.new_page(), site, looks)
        _listen(context, window)
        self._opened.append((context, window))
        return window

    async def close(self) -> None:
        """Fails with the problems of all windows."""
        for context, _ in self._opened:
            await context.close()
        problems = [problem for _, window in self._opened for problem in window.problems]
        assert problems == [], "\n".join(problems)


def _listen(context: BrowserContext, window: Window) -> None:
    def wrote(message: ConsoleMessage) -> None:
        # Chromium reports what the content security policy has stopped as an error.
        if message.type in ("error", "warning") and not message.text.startswith(REPORTED_ELSEWHERE):
            window.problems.append(f"{window.path}: the console says: {message.text}")

    def answered(answer: Response) -> None:
        if answer.status >= SMALLEST_ERROR and answer.status not in window.expected_statuses:
            window.problems.append(f"{window.path}: {answer.request.method} {answer.url} was answered {answer.status}")

    def failed(request: Request) -> None:
        if request.failure != ABORTED:
            window.problems.append(f"{window.path}: {request.method} {request.url} failed: {request.failure}")

    context.on("console", wrote)
    context.on("response", answered)
    context.on("requestfailed", failed)
    context.on("weberror", lambda error: window.problems.append(f"{window.path}: a script failed: {error.error}"))
