"""`make pictures`: the README's pictures of the portal, from a demo that runs with `make demo SAMPLE=1`."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from deploy.embedded.programs import ROOT
from portal.browser.chromium import running_chromium
from portal.browser.windows import Window, Windows

FOLDER: Final = ROOT / "docs" / "portal"
# Who logs in, and what they look at: the picture's name and the page.
PICTURES: Final[Mapping[str, Sequence[tuple[str, str]]]] = {
    "ana.ruiz@example.com": (
        ("home", "/home"),
        ("models", "/models"),
        ("usage", "/usage?period=last-30-days&by=model&metric=cost"),
    ),
    "admin@example.com": (("admin", "/admin"),),
}


async def take_all(site: str) -> None:
    """Writes every picture, and fails if a page reports a problem."""
    async with running_chromium() as browser:
        windows = Windows(browser)
        for address, pages in PICTURES.items():
            window = await windows.open(site)
            await log_in(window, address)
            for name, path in pages:
                await window.open(path)
                await window.page.screenshot(path=FOLDER / f"{name}.png")
                sys.stdout.write(f"{name}.png: {path} as {address}\n")
        await windows.close()


async def log_in(window: Window, address: str) -> None:
    """At the demo's identity provider, which asks for no password."""
    await window.open("/login")
    await window.page.get_by_role("link", name="Log in with").first.click()
    await window.page.locator("input[name=sub]").fill(address)
    await window.page.locator("button, input[type=submit]").first.click()
    await window.page.wait_for_url(f"{window.site}/home")
    # Of the provider's page, which loads a style sheet from elsewhere.
    window.take_problems()


def main() -> int:
    """1 without a demo."""
    state = Path(os.environ.get("LITEMAAS_DEMO_DIR") or ROOT / ".demo") / "state.json"
    if not state.exists():
        sys.stderr.write("No demo is running: start one with `make demo SAMPLE=1`, and call this while it serves.\n")
        return 1
    FOLDER.mkdir(parents=True, exist_ok=True)
    asyncio.run(take_all(json.loads(state.read_text())["admin_url"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
