"""How fast the catalogue is in Chromium at the end of a home's line, on a slow computer, and how much is transferred.

`make portal-speed` writes the figures into docs/portal.md. Here only the bytes are a test.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final, Self

import pytest
from factories import make_model
from playwright.async_api import CDPSession, expect

from gateway.storage.postgres import Pool
from portal.browser.hands import IS_LOADED
from portal.browser.windows import Window
from portal.conftest import NewWindow

WRITES: Final = bool(os.environ.get("LITEMAAS_TEST_WRITES_PAGES"))
DOC: Final = Path(__file__).parents[2] / "docs" / "portal.md"
BEGIN: Final = "<!-- speed: begin -->\n"
END: Final = "<!-- speed: end -->\n"
MODELS: Final = 200
RUNS: Final = 5 if WRITES else 1
BITS_PER_S: Final = 20_000_000
LATENCY_MS: Final = 30
CPU_DIVISOR: Final = 2
# Promised in docs/portal.md.
MAX_FIRST_BYTES: Final = 300_000
MAX_LATER_BYTES: Final = 30_000
FIRST_PAINT: Final = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"


@dataclass(slots=True)
class Load:
    """One page that was loaded: bytes over the network with headers, and ms from the click to its first content."""

    first_content_ms: float
    transferred: int


@pytest.mark.timeout(300)
async def test_the_catalogue_is_small(new_window: NewWindow, pool: Pool) -> None:
    for n in range(MODELS):
        await make_model(pool, f"vendor-{n % 7}/model-with-a-usual-name-{n:03}")

    firsts, wholes, parts = [], [], []
    for _ in range(RUNS):
        window = await new_window(has_logged_in=False)
        await window.open("/api/auth/login?provider=oidc&next=/api/v1/users/me")
        line = await _slow_line(window)
        firsts.append(await _load(window, line, "/models"))
        wholes.append(await _load(window, line, "/models?search=usual"))
        parts.append(await _filter(window, line))
        await window.page.context.close()

    assert max(one.transferred for one in firsts) < MAX_FIRST_BYTES
    assert max(one.transferred for one in (*wholes, *parts)) < MAX_LATER_BYTES
    if WRITES:
        _write({"first": firsts, "another page": wholes, "a filter, in place": parts})


async def _slow_line(window: Window) -> CDPSession:
    """The throttles of Chromium's own developer tools: https://chromedevtools.github.io/devtools-protocol/"""
    line = await window.page.context.new_cdp_session(window.page)
    await line.send("Network.enable")
    rate = BITS_PER_S / 8
    conditions = {"offline": False, "latency": LATENCY_MS, "downloadThroughput": rate, "uploadThroughput": rate}
    await line.send("Network.emulateNetworkConditions", conditions)
    await line.send("Emulation.setCPUThrottlingRate", {"rate": CPU_DIVISOR})
    return line


async def _load(window: Window, line: CDPSession, path: str) -> Load:
    with _Transfers(line) as transfers:
        await window.open(path)
        await window.page.wait_for_load_state("networkidle")
        painted = await window.page.wait_for_function(FIRST_PAINT)
    return Load(await painted.json_value(), transfers.total)


async def _filter(window: Window, line: CDPSession) -> Load:
    """A filter that is changed on the page: only its main part is loaded."""
    with _Transfers(line) as transfers:
        began = await window.page.evaluate("performance.now()")
        await window.page.locator("#mode").select_option("chat")
        await expect(window.page).to_have_url(re.compile("mode=chat"))
        await window.page.wait_for_function(IS_LOADED)
        ended = await window.page.evaluate("performance.now()")
    return Load(ended - began, transfers.total)


class _Transfers:
    """Bytes over the network, with headers."""

    def __init__(self, line: CDPSession) -> None:
        self._line = line
        self._bytes_of: dict[str, float] = {}

    @property
    def total(self) -> int:
        return round(sum(self._bytes_of.values()))

    def _finished(self, event: dict[str, Any]) -> None:
        self._bytes_of[event["requestId"]] = event["encodedDataLength"]

    def __enter__(self) -> Self:
        self._line.on("Network.loadingFinished", self._finished)
        return self

    def __exit__(self, *_: object) -> None:
        self._line.remove_listener("Network.loadingFinished", self._finished)


def _write(measured: Mapping[str, list[Load]]) -> None:
    rows = ["| load | first content, median | slowest | transferred |", "|---|---|---|---|"]
    for name, loads in measured.items():
        times = [one.first_content_ms for one in loads]
        size = max(one.transferred for one in loads)
        rows.append(f"| {name} | {median(times):.0f} ms | {max(times):.0f} ms | {size / 1000:.1f} KB |")
    text = DOC.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    DOC.write_text(before + BEGIN + "\n".join(rows) + "\n" + END + after)
