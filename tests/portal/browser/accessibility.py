"""axe-core on a page: https://github.com/dequelabs/axe-core/blob/develop/doc/API.md"""

from functools import cache
from typing import Any, Final

from playwright.async_api import JSHandle, Page

from portal.browser.install import AXE

# Of WCAG 2.2 and before, A and AA, and what axe recommends besides.
TAGS: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
# Without `preload` it does not fetch the style sheets again: only rules for the way a phone is held need them.
RUN: Final = """async ({part, tags, seen}) => {
  const items = [...document.querySelectorAll("#sidebar li")].filter((one) => one.checkVisibility());
  const context = part ?? {exclude: items.filter((one) => seen.includes(one.outerHTML))};
  const {violations} = await axe.run(
    context, {runOnly: {type: "tag", values: tags}, resultTypes: ["violations"], preload: false});
  return {violations, items: part ? [] : items.map((one) => one.outerHTML)};
}"""
# Else axe, and a picture, see a colour on its way from one to another.
# Where one ends, what inherits from it may begin another, some only in the next frame: until two frames have none.
END_TRANSITIONS: Final = """async () => {
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  for (let still = 0; still < 2; await frame()) {
    const running = document.getAnimations().filter((one) => one.effect.getComputedTiming().endTime !== Infinity);
    running.forEach((one) => one.finish());
    still = running.length ? 0 : still + 1;
  }
}"""
MAX_SHOWN: Final = 5


@cache
def _source() -> str:
    return AXE.read_text()


async def violations(page: Page, part: JSHandle | None = None, seen: set[str] | None = None) -> list[str]:
    """A sentence for each rule that the page as it stands breaks, or this part of it, with the elements.

    `seen`: the entries of the navigation that were looked at before, in the same look. Each page has the same ones:
    they are left out, and those of this page are added.
    """
    seen = set() if seen is None else seen
    if not await page.evaluate("() => 'axe' in window"):
        await page.evaluate(_source())
    await page.evaluate(END_TRANSITIONS)
    report = await page.evaluate(RUN, {"part": part, "tags": list(TAGS), "seen": list(seen)})
    seen |= set(report["items"])
    return [_sentence(one) for one in report["violations"]]


def _sentence(violation: dict[str, Any]) -> str:
    nodes = violation["nodes"]
    shown = [f"{' '.join(map(str, node['target']))}: {node['html'][:200]}" for node in nodes[:MAX_SHOWN]]
    details = [one["message"] for one in nodes[0]["any"] + nodes[0]["all"] + nodes[0]["none"]]
    return f"{violation['id']} ({len(nodes)}): {violation['help']}\n  " + "\n  ".join(shown + details[:2])
