"""What a page can open: menus, dialogs, sections, popovers, tooltips, and the navigation of a small screen.

They are found by how HTML and ARIA say that something opens, so that one which is new is found too; and what stays
hidden although all of them were opened is found as well.
"""

from dataclasses import dataclass
from typing import Final

from playwright.async_api import JSHandle, Page

from portal.browser.accessibility import END_TRANSITIONS

# Seen, and in reach of a mouse and of the keyboard.
IS_SEEN: Final = """(one) =>
  one.checkVisibility({visibilityProperty: true, opacityProperty: true}) && !one.closest("[inert]")"""
# Sections that go on below their button. They are opened together, and the page is looked at with all of them.
OPEN_SECTIONS: Final = """() => {
  for (const one of document.querySelectorAll("details.pf-v6-c-expandable-section")) one.open = true;
}"""
# Each button with the part of the page that it opens.
FIND: Final = """(isSeen) => {
  const partOf = (button) => {
    if (button.matches("summary")) return button.nextElementSibling;
    if (button.matches("[popovertarget]")) return button.popoverTargetElement;
    if (button.matches("[aria-controls]")) return document.getElementById(button.getAttribute("aria-controls"));
    return document.getElementById(button.getAttribute("aria-describedby"))?.closest("[role=tooltip]");
  };
  const buttons = document.querySelectorAll(
    "summary, [popovertarget]:not([popovertargetaction]), [aria-expanded], [aria-haspopup], [aria-describedby]");
  return [...buttons].filter(isSeen).map((button) => ({button, part: partOf(button)}))
    .filter(({part}) => part && !isSeen(part));
}"""
# Alike are those with elements of the same classes, however many of each.
KIND: Final = """({part}) => {
  const name = (one) => `${one.tagName.toLowerCase()}.${[...one.classList].join(".")}`;
  return [...new Set([part, ...part.querySelectorAll("*")].map(name))].sort().join(" ");
}"""
NAME: Final = (
    "({button}) => button.innerText.trim() || button.getAttribute('aria-label') || button.outerHTML.slice(0, 80)"
)
# Hidden for good: what pages without a script show, a table's head on a phone, where each cell has its text, and what
# is read out with a chart. What a script shows in another state is `hidden`: tests of that state look at it.
STAYS_HIDDEN: Final = """({pairs, isSeen}) => {
  const known = "[hidden], .litemaas-no-script, thead, desc, option, datalist, script, style, title";
  const isKnown = (one) => one.closest(known) || pairs.some(({part}) => part.contains(one));
  const found = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const one = texts.currentNode.parentElement;
    if (texts.currentNode.data.trim() && !isSeen(one) && !isKnown(one)) found.add(one.outerHTML.slice(0, 120));
  }
  return [...found];
}"""


@dataclass(slots=True)
class Opener:
    """A button and what it opens, in the page (`pair`). `kind` is the same for those that are built the same."""

    page: Page
    pair: JSHandle
    kind: str
    name: str

    async def open(self) -> JSHandle:
        """As a person with a keyboard does; the part of the page that is seen then."""
        button = (await self.pair.get_property("button")).as_element()
        assert button is not None
        await button.focus()
        # A tooltip is there by the focus alone.
        if not await self.is_open():
            await button.press("Enter")
        assert await self.is_open(), f"{self.name}: Enter opens nothing"
        return await self.pair.get_property("part")

    async def close(self) -> None:
        await self.page.keyboard.press("Escape")
        assert not await self.is_open(), f"{self.name}: Escape does not close it"

    async def is_open(self) -> bool:
        await self.page.evaluate(END_TRANSITIONS)
        is_seen: bool = await self.pair.evaluate(f"({{part}}) => ({IS_SEEN})(part)")
        return is_seen


async def find_openers(page: Page) -> list[Opener]:
    """Of what is closed, apart from sections: they are open afterwards."""
    await page.evaluate(OPEN_SECTIONS)
    found = await page.evaluate_handle(f"() => ({FIND})({IS_SEEN})")
    pairs = (await found.get_properties()).values()
    return [Opener(page, one, await one.evaluate(KIND), await one.evaluate(NAME)) for one in pairs]


async def stays_hidden(page: Page, openers: list[Opener]) -> list[str]:
    """Elements with a text that are hidden, and that none of these opens."""
    run = f"(pairs) => ({STAYS_HIDDEN})({{pairs, isSeen: {IS_SEEN}}})"
    found: list[str] = await page.evaluate(run, [one.pair for one in openers])
    return found
