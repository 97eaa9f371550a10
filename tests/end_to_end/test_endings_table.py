"""Every endpoint, whole and streamed, in every way a call may end: ledger, Redis and the model server's count agree.

All cells run at once, each with an account of its own. docs/endpoints.md shows what they gave (`make endings`).
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import aiohttp
import pytest
from callers import make_caller
from contract.tables import with_table
from gateways import Backends, GatewayThread, Ledger, UpstreamLog

from end_to_end.asking import AT_ONCE, CHAT, COUNT_TOKENS, TRANSLATIONS, Route, asked
from end_to_end.cells import ENDINGS, ROWS, Row, Scene, Seen, try_cell
from end_to_end.conftest import MeasureDrift
from end_to_end.expected_cells import assert_agrees
from gateway.domain import breaker
from gateway.storage.postgres import Pool

pytestmark = pytest.mark.timeout(600)
PAGE: Final = Path(__file__).parents[2] / "docs" / "endpoints.md"
# LiteLLM does about seventy calls a second.
AT_A_TIME: Final = 24
SHOWN: Final = {"answered": list(ENDINGS)[:4], "refused": list(ENDINGS)[4:8], "broken": list(ENDINGS)[8:]}
Cells = Mapping[tuple[Row, str], Seen | BaseException]


@pytest.fixture(scope="module")
async def scene(
    backends: Backends, gateway: GatewayThread, http: aiohttp.ClientSession, pool: Pool,
    upstream_log: UpstreamLog, ledger: Ledger, drift: MeasureDrift,
) -> AsyncIterator[Scene]:  # fmt: skip
    # So many that no breaker opens: each call tries two of them.
    nobody = ",".join(f"http://127.0.0.1:{port}" for port in range(1, 24))
    with ExitStack() as stack:

        def start(**changes: object) -> str:
            return stack.enter_context(GatewayThread(backends.settings(**changes))).url

        urls = {
            "usual": gateway.url,
            "short_timeouts": start(first_byte_timeout_s=3),
            "listless": start(idle_timeout_s=1),
            "lost": start(litellm_urls=nobody),
        }
        urls["shut"] = start(litellm_urls="http://127.0.0.1:1")
        made = Scene(
            **urls, litellm_url=backends.litellm_url, litellm_key=backends.litellm_key, http=http, pool=pool,
            upstream_log=upstream_log, ledger=ledger, drift=drift,
        )  # fmt: skip
        await open_breaker(made)
        yield made


async def open_breaker(scene: Scene) -> None:
    caller = await make_caller(scene.pool, scene.shut, scene.http, (CHAT.model,))
    for _ in range(breaker.FAILURES_TO_OPEN):
        assert (await asked(caller, CHAT, "Hello")).status == 503


@pytest.fixture(scope="module")
async def cells(scene: Scene) -> Cells:
    places = asyncio.Semaphore(AT_A_TIME)

    async def run(row: Row, ending: str) -> Seen:
        async with places:
            return await try_cell(scene, row, ending)

    tried = [(row, ending) for ending in ENDINGS for row in ROWS]
    seen = await asyncio.gather(*(run(row, ending) for row, ending in tried), return_exceptions=True)
    return dict(zip(tried, seen, strict=True))


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.title.replace("`", ""))
def test_each_ending_of_each_endpoint_is_charged_as_expected(row: Row, ending: str, cells: Cells) -> None:
    seen = cells[row, ending]

    if isinstance(seen, BaseException):
        raise seen
    assert_agrees(row, ending, seen)


@pytest.fixture(scope="module")
async def not_streamed(scene: Scene) -> Sequence[tuple[str, str, str]]:
    """(endpoint, what the gateway says to `stream`, what LiteLLM itself makes of it)."""
    return await asyncio.gather(*(ask_for_stream(scene, route) for route in AT_ONCE))


async def ask_for_stream(scene: Scene, route: Route) -> tuple[str, str, str]:
    caller = await make_caller(scene.pool, scene.usual, scene.http, (route.model,))
    response = await asked(caller, route, "Hello", stream=True)
    here = f"{response.status} `{response.code}`" if response.status >= 400 else f"{response.status}, whole"
    headers = {"authorization": f"Bearer {scene.litellm_key}"}
    content = route.content("Hello", stream=True)
    async with scene.http.post(scene.litellm_url + route.path, headers=headers, **content) as answer:
        assert not answer.headers["content-type"].startswith("text/event-stream")
        body = await answer.read()
    there = f"{answer.status}, whole"
    if answer.status >= 400:
        there = f"{answer.status} `{body.decode()[:100]}`"
    elif b'"text":"data: ' in body:
        there += ", with the model's events as the text"
    return f"`{route.path}`", here, there


def test_a_stream_is_refused_on_routes_litellm_does_not_stream(not_streamed: Sequence[tuple[str, str, str]]) -> None:
    response = {path.strip("`"): here for path, here, _ in not_streamed}

    assert response.pop(COUNT_TOKENS.path) == "200, whole"
    assert set(response.values()) == {"400 `parameter_not_allowed`"}


async def test_litellm_has_no_translations(scene: Scene) -> None:
    headers = {"authorization": f"Bearer {scene.litellm_key}"}
    url = scene.litellm_url + TRANSLATIONS.path
    content = TRANSLATIONS.content("Hello")

    # LiteLLM answers before it has read the body. Asked with "Connection: close", as `scene.http` does, it would close
    # then, and the reset may overtake its answer.
    async with aiohttp.ClientSession() as http, http.post(url, headers=headers, **content) as answer:
        assert (answer.status, await answer.json()) == (404, {"detail": "Not Found"})


def test_the_page_shows_the_measured_cells(cells: Cells, not_streamed: Sequence[tuple[str, str, str]]) -> None:
    text = written = PAGE.read_text()
    for name, endings in SHOWN.items():
        written = with_table(written, name, table_of(cells, endings))
    lines = ["| endpoint | `stream` here | and at LiteLLM itself |", "|---|---|---|"]
    lines += [f"| {' | '.join(line)} |" for line in not_streamed]
    written = with_table(written, "not-streamed", "\n".join(lines))

    if os.environ.get("LITEMAAS_TEST_WRITES_PAGES"):
        PAGE.write_text(written)
    else:
        assert text == written, "run make endings"


def table_of(cells: Cells, endings: Sequence[str]) -> str:
    lines = [f"| endpoint | {' | '.join(endings)} |", "|---" * (len(endings) + 1) + "|"]
    for row in ROWS:
        shown = []
        for ending in endings:
            seen = cells[row, ending]
            assert isinstance(seen, Seen)
            shown.append(seen.cell)
        lines.append(f"| {row.title} | {' | '.join(shown)} |")
    return "\n".join(lines)
