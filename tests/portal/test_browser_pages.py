"""Every page in Chromium: axe finds nothing, nothing is cut off, the console is empty.

`make test` sees two looks of each; `make portal` all of them, in every language, and keeps pictures.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from admin_api.portal.languages import LANGUAGES
from gateway.storage.postgres import Pool
from portal.browser.accessibility import violations
from portal.browser.windows import PHONE, Looks, Window, all_looks
from portal.conftest import NewVisitor, NewWindow
from portal.examples import every_page

# The folder for pictures; then every look is tried.
PICTURES: Final = os.environ.get("LITEMAAS_TEST_PICTURES")
# Only pages whose path begins with it.
ONLY: Final = os.environ.get("LITEMAAS_TEST_PAGES", "/")
LOOKS: Final = all_looks(list(LANGUAGES)) if PICTURES else [Looks("en"), Looks("es", "dark", PHONE)]
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


@pytest.mark.timeout(300)
@pytest.mark.parametrize("looks", LOOKS, ids=str)
async def test_every_page_is_whole_and_accessible(
    new_visitor: NewVisitor, new_window: NewWindow, pool: Pool, looks: Looks
) -> None:
    visitor = await new_visitor(language=looks.language, is_admin=True)
    statuses = dict.fromkeys((await every_page(visitor, pool)).values(), 200) | ERRORS
    window = await new_window(looks=looks)
    outside = await new_window(looks=looks, has_logged_in=False)

    found = []
    for path, status in {**statuses, "/login": 200}.items():
        if not path.startswith(ONLY):
            continue
        shown = outside if path == "/login" else window
        await shown.open(path, status=status)
        found += [f"{path}: {one}" for one in await _what_is_wrong(shown)]

    assert found == [], "\n".join(found)


async def _what_is_wrong(window: Window) -> list[str]:
    if PICTURES:
        await _take_picture(window, Path(PICTURES))
    found = await violations(window.page)
    found += [f"cut off: {one}" for one in await window.page.evaluate(CUT_OFF)]
    if window.looks.size != PHONE:
        size = window.looks.size
        await window.page.set_viewport_size({"width": size["width"] // ZOOM, "height": size["height"] // ZOOM})
        found += [f"cut off at {ZOOM * 100} %: {one}" for one in await window.page.evaluate(CUT_OFF)]
        await window.page.set_viewport_size(size)
    return found


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
    await window.page.screenshot(path=folder / f"{name}.{device}.{looks.theme}.{looks.language}.png")
    await window.page.set_viewport_size(looks.size)
