"""Every page in Chromium: axe finds nothing, nothing is cut off, the console is empty.

What a page opens is looked at too. `make test` sees two looks of each page, in one of the languages, and each kind of
dialog once; `make portal` all of them, and keeps pictures.
"""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from playwright.async_api import ViewportSize

from admin_api.portal.languages import LANGUAGES
from gateway.storage.postgres import Pool
from portal.browser.accessibility import END_TRANSITIONS, violations
from portal.browser.openers import Opener, find_openers, stays_hidden
from portal.browser.windows import DESKTOP, PHONE, Looks, Theme, Window
from portal.conftest import NewVisitor, NewWindow
from portal.examples import every_page

# The folder for pictures; then every look is tried.
PICTURES: Final = os.environ.get("LITEMAAS_TEST_PICTURES")
# Only pages whose path begins with it.
ONLY: Final = os.environ.get("LITEMAAS_TEST_PAGES", "/")
# The page is loaded in the first one, and changes to the others.
LOOKS: Final[Sequence[tuple[Theme, ViewportSize]]] = (
    [("light", DESKTOP), ("dark", DESKTOP), ("light", PHONE), ("dark", PHONE)]
    if PICTURES
    else [("light", DESKTOP), ("dark", PHONE)]
)
ERRORS: Final[Mapping[str, int]] = {"/models/none": 404, "/usage?period=someday": 422}
# A page that is twice as large has half the space: WCAG 1.4.4 and 1.4.10.
ZOOM: Final = 2
# Elements that stand out of the window, or of a box that hides what does not fit. What scrolls by itself may be wider.
CUT_OFF: Final = """() => {
  const mayScroll = "pre, .pf-v6-c-scroll-inner-wrapper, .litemaas-scroll, .pf-v6-screen-reader";
  const scrolls = (one) => one && (one.matches(mayScroll) || scrolls(one.parentElement));
  return [...document.querySelectorAll("#main *, #masthead *, .pf-v6-c-login *")].filter((one) => {
    const box = one.getBoundingClientRect();
    const isOutside = box.right > innerWidth + 1 || box.left < -1;
    return isOutside && one.checkVisibility() && box.width > 1 && box.height > 1 && !scrolls(one);
  }).map((one) => one.outerHTML.slice(0, 120)).slice(0, 3);
}"""


@dataclass(slots=True)
class Seen:
    """What axe has looked at in one look, that other pages have too: entries of the navigation, kinds of dialogs."""

    items: set[str] = field(default_factory=set)
    kinds: set[str] = field(default_factory=set)


# Each page in one of the languages, or in all.
@pytest.mark.timeout(3600 if PICTURES else 600)
@pytest.mark.parametrize("languages", [[one] for one in LANGUAGES] if PICTURES else [list(LANGUAGES)], ids=str)
async def test_every_page_is_whole_and_accessible(
    new_visitor: NewVisitor, new_window: NewWindow, pool: Pool, languages: Sequence[str]
) -> None:
    visitor = await new_visitor(is_admin=True)
    statuses = {**dict.fromkeys((await every_page(visitor, pool)).values(), 200), **ERRORS}
    windows = {one: await new_window(looks=Looks(one)) for one in languages}
    outside = await new_window(looks=Looks(languages[0]), has_logged_in=False)
    # By theme and size.
    seen: defaultdict[str, Seen] = defaultdict(Seen)

    found = []
    for path, status in {**statuses, "/login": 200}.items():
        if not path.startswith(ONLY):
            continue
        shown = outside if path == "/login" else windows[languages[len(path) % len(languages)]]
        language = shown.looks.language
        await shown.change_looks(Looks(language, *LOOKS[0]))
        await shown.open(path, status=status)
        assert await shown.page.locator("html").get_attribute("lang") == language
        for theme, size in LOOKS:
            looks = Looks(language, theme, size)
            await shown.change_looks(looks)
            found += [f"{path} as {looks}: {one}" for one in await _what_is_wrong(shown, seen[f"{theme} {size}"])]

    assert found == [], "\n".join(found)


async def _what_is_wrong(window: Window, seen: Seen) -> list[str]:
    if PICTURES:
        await _take_picture(window, Path(PICTURES))
    openers = await find_openers(window.page)
    found = await violations(window.page, seen=seen.items)
    found += [f"cut off: {one}" for one in await window.page.evaluate(CUT_OFF)]
    found += [f"nothing shows it: {one}" for one in await stays_hidden(window.page, openers)]
    for opener in openers:
        if PICTURES or opener.kind not in seen.kinds:
            seen.kinds.add(opener.kind)
            found += await _what_is_opened(window, opener)
    if window.looks.size != PHONE:
        size = window.looks.size
        await window.page.set_viewport_size({"width": size["width"] // ZOOM, "height": size["height"] // ZOOM})
        found += [f"cut off at {ZOOM * 100} %: {one}" for one in await window.page.evaluate(CUT_OFF)]
        await window.page.set_viewport_size(size)
    return found


async def _what_is_opened(window: Window, opener: Opener) -> list[str]:
    part = await opener.open()
    found = await violations(window.page, part)
    await opener.close()
    return [f"{opener.name}: {one}" for one in found]


async def _take_picture(window: Window, folder: Path) -> None:
    """Of the whole page, in a file named after it and its look."""
    looks = window.looks
    device = "phone" if looks.size == PHONE else "desktop"
    name = window.path.strip("/").replace("/", "-").replace("?", "-") or "start"
    # The page scrolls within itself: the window becomes as high as all that it shows.
    height = await window.page.evaluate(
        "() => { const m = document.getElementById('main'); return m ? m.scrollHeight + 100 : 0 }"
    )
    await window.page.set_viewport_size({**looks.size, "height": max(height, looks.size["height"])})
    await window.page.evaluate(END_TRANSITIONS)
    await window.page.screenshot(path=folder / f"{name}.{device}.{looks.theme}.{looks.language}.png")
    await window.page.set_viewport_size(looks.size)
