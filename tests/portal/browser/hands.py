"""How a person uses a page: with a mouse, or by keyboard alone. A story is written once, for both."""

from dataclasses import dataclass
from typing import Final, Protocol

from playwright.async_api import Locator, expect

from portal.browser.windows import Window

# More than any page has.
MAX_STOPS: Final = 300
# No part of the page is being loaded by htmx.
IS_LOADED: Final = "() => !document.querySelector('.htmx-request, .htmx-swapping, .htmx-settling')"
# What may show the focus, on an element, on what frames it (three around it) or their pseudo-elements.
STOP: Final = """(wanted) => {
  const stop = document.activeElement;
  const before = window.litemaasStop;
  window.litemaasStop = stop;
  if (stop === document.body) return {isOutside: true};
  const names = ["outlineStyle", "outlineWidth", "outlineColor", "boxShadow", "backgroundColor", "color",
    "borderTopColor", "borderTopWidth", "borderBottomColor", "borderBottomWidth", "textDecorationLine", "clipPath",
    "translate"];
  const looksOf = (one, part) => names.map((name) => getComputedStyle(one, part)[name]);
  const frames = [stop];
  while (frames.length < 4 && frames.at(-1).parentElement) frames.push(frames.at(-1).parentElement);
  const looks = () => JSON.stringify(frames.flatMap(
    (one) => [null, "::before", "::after"].map((part) => looksOf(one, part))));
  const focused = looks();
  // To leave a date and come back would begin with its first part again.
  const isDate = stop.type === "date";
  const box = stop.getBoundingClientRect();
  if (!isDate) stop.blur();
  const plain = isDate ? "" : looks();
  if (!isDate) stop.focus({focusVisible: true, preventScroll: true});
  const later = Node.DOCUMENT_POSITION_FOLLOWING | Node.DOCUMENT_POSITION_CONTAINED_BY;
  return {
    isOutside: false,
    isWanted: stop === wanted,
    text: stop.outerHTML.slice(0, 200),
    // A date has several stops in one element.
    isAfter: !before || before === stop || before === document.body || !document.contains(before)
      || Boolean(before.compareDocumentPosition(stop) & later),
    isInView: box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0
      && box.left < innerWidth,
    isShown: focused !== plain,
  };
}"""


class Hand(Protocol):
    """Mouse or keyboard."""

    async def press(self, target: Locator) -> None:
        """A link, a button or a check box."""

    async def write(self, target: Locator, text: str) -> None:
        """Replaces what is in a field."""

    async def choose(self, target: Locator, value: str) -> None:
        """An option of a select, by its value."""


class Mouse:
    """And fields are filled at once."""

    async def press(self, target: Locator) -> None:
        await target.click()

    async def write(self, target: Locator, text: str) -> None:
        await target.fill(text)

    async def choose(self, target: Locator, value: str) -> None:
        await target.select_option(value)


@dataclass(slots=True)
class Keyboard:
    """Goes on from where the focus is, by Tab alone. At each stop the element must be in view, show that it has the
    focus, and come later in the document than the stop before."""

    window: Window

    async def press(self, target: Locator) -> None:
        await self._go_to(target)
        is_check_box = await target.get_attribute("type") == "checkbox"
        await self.window.page.keyboard.press("Space" if is_check_box else "Enter")

    async def write(self, target: Locator, text: str) -> None:
        await self._go_to(target)
        await self.window.page.keyboard.press("ControlOrMeta+A")
        await self.window.page.keyboard.type(text)

    async def choose(self, target: Locator, value: str) -> None:
        await self._go_to(target)
        options = await target.evaluate("one => [...one.options].map(option => option.value)")
        await self.window.page.keyboard.press("Home")
        # Each step may load the page's main part again, in which the field has the focus as before.
        for option in options[1 : options.index(value) + 1]:
            await self.window.page.keyboard.press("ArrowDown")
            await expect(target).to_have_value(option)
            await self.window.page.wait_for_function(IS_LOADED)
            await expect(target).to_be_focused()

    async def _go_to(self, target: Locator) -> None:
        wanted = await target.element_handle()
        times_outside = 0
        for _ in range(MAX_STOPS):
            await self.window.page.keyboard.press("Tab")
            stop = await self.window.page.evaluate(STOP, wanted)
            if stop["isOutside"]:
                # From the last element the focus goes to the browser, then to the first one.
                times_outside += 1
                assert times_outside == 1, f"{self.window.path}: no Tab leads to {target}"
                continue
            for promise in ("isAfter", "isInView", "isShown"):
                assert stop[promise], f"{self.window.path}: {promise} is false of {stop['text']}"
            if stop["isWanted"]:
                return
        raise AssertionError(f"{self.window.path}: {MAX_STOPS} stops, and none is {target}")
