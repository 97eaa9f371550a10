"""A person with a window and a hand, who knows their language."""

import re
from dataclasses import dataclass
from typing import Any

from playwright.async_api import Locator, Page, expect

from admin_api.portal.languages import translations
from portal.browser.hands import Hand, Keyboard, Mouse
from portal.browser.windows import Window


@dataclass(slots=True)
class Person:
    """Texts are looked for in the language of their window."""

    window: Window
    hand: Hand

    @classmethod
    def at(cls, window: Window) -> "Person":
        """With scripts by keyboard alone, without by mouse."""
        return cls(window, Keyboard(window) if window.looks.has_script else Mouse())

    @property
    def page(self) -> Page:
        return self.window.page

    def text(self, message: str, **values: Any) -> str:
        """In the person's language."""
        return translations(self.window.looks.language).gettext(message) % values

    def button(self, text: str) -> Locator:
        return self.page.locator("#main").get_by_role("button", name=self.text(text), exact=True)

    def link(self, text: str) -> Locator:
        return self.page.locator("#main").get_by_role("link", name=self.text(text), exact=True)

    def field(self, text: str) -> Locator:
        """One that must be filled in has a star after its text."""
        label = re.compile(rf"^{re.escape(self.text(text))}\s*\*?$")
        return self.page.locator("#main").get_by_label(label)

    async def go_to(self, path: str, heading: str) -> None:
        """By the navigation."""
        await self.hand.press(self.page.locator(f"nav a[href='{path}']"))
        await expect(self.page.locator("h1")).to_have_text(self.text(heading))

    async def press(self, target: Locator) -> None:
        await self.hand.press(target)

    async def sees(self, message: str, **values: Any) -> None:
        """A text of the catalogue, in the main part."""
        await expect(self.page.locator("#main").get_by_text(self.text(message, **values))).to_be_visible()

    async def log_in(self) -> None:
        """From the first page, by the only identity provider."""
        await self.window.open("/")
        await self.press(self.page.locator("a[href^='/api/auth/login']"))
        await expect(self.page).to_have_url(self.window.site + "/home")

    async def log_out(self) -> None:
        await self.press(self.page.locator("#user-menu > summary"))
        await self.press(self.page.locator("form[action='/logout'] button"))
        await expect(self.page).to_have_url(self.window.site + "/login?out=1")
