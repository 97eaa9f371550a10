"""axe-core on a page: https://github.com/dequelabs/axe-core/blob/develop/doc/API.md"""

from functools import cache
from typing import Any, Final

from playwright.async_api import Page

from portal.browser.install import AXE

# Of WCAG 2.2 and before, A and AA, and what axe recommends besides.
TAGS: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
# Without `preload` it does not fetch the style sheets again: only rules for the way a phone is held need them.
RUN: Final = """(tags) => axe.run(
  document, {runOnly: {type: "tag", values: tags}, resultTypes: ["violations"], preload: false})"""
# Else axe sees a colour on its way from one to another.
END_TRANSITIONS: Final = """() => document.getAnimations()
  .filter((one) => one.effect.getComputedTiming().endTime !== Infinity).forEach((one) => one.finish())"""
MAX_SHOWN: Final = 5


@cache
def _source() -> str:
    return AXE.read_text()


async def violations(page: Page) -> list[str]:
    """A sentence for each rule that the page as it stands breaks, with the elements."""
    await page.evaluate(_source())
    await page.evaluate(END_TRANSITIONS)
    report = await page.evaluate(RUN, list(TAGS))
    return [_sentence(one) for one in report["violations"]]


def _sentence(violation: dict[str, Any]) -> str:
    nodes = violation["nodes"]
    shown = [f"{' '.join(map(str, node['target']))}: {node['html'][:200]}" for node in nodes[:MAX_SHOWN]]
    details = [one["message"] for one in nodes[0]["any"] + nodes[0]["all"] + nodes[0]["none"]]
    return f"{violation['id']} ({len(nodes)}): {violation['help']}\n  " + "\n  ".join(shown + details[:2])
