"""Metrics are served on an address of their own, on loopback unless the operator names another (S11)."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import aiohttp
import httpx2
import pytest
from callers import make_caller
from gateways import Backends, wait_until
from workers import Workers, call_each

from deploy.embedded.processes import NotStarted, free_port
from deploy.embedded.programs import Program
from gateway.storage.postgres import Pool

# Another address of this machine: what listens on 127.0.0.1 only does not answer there.
ELSEWHERE: Final = "127.0.0.2"
PROGRAMS: Final = [
    ("gateway", ("--workers", "1"), "litemaas_ledger_batches"),
    ("gateway", ("--workers", "2"), "litemaas_ledger_batches"),
    ("admin-api", (), "litemaas_admin_requests"),
]
Start = Callable[..., Program]


@pytest.fixture
def start(backends: Backends, tmp_path: Path) -> Iterator[Start]:
    started = []

    def start_one(name: str, *arguments: str, **changes: str) -> Program:
        program = Program(tmp_path / str(len(started)), name, free_port(), *arguments)
        program.env = backends.environment(
            LITEMAAS_ADMIN_TOKEN="0123456789abcdef" * 2,
            LITEMAAS_MODEL_SYNC_INTERVAL_S="0",
            LITEMAAS_STATE_DIR=str(tmp_path / "state"),
            **changes,
        )
        started.append(program)
        return program.start()

    yield start_one
    for program in started:
        program.stop()


def get(url: str, host: str | None = None) -> httpx2.Response:
    if host is not None:
        url = url.replace("127.0.0.1", host)
    return httpx2.get(url, trust_env=False)


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.mark.parametrize(("name", "arguments", "metric"), PROGRAMS)
def test_s11_the_port_of_callers_has_no_metrics(
    name: str, arguments: tuple[str, ...], metric: str, start: Start
) -> None:
    program = start(name, *arguments)

    scraped = get(program.metrics_url)
    public = [get(program.url + path) for path in ("/metrics", "/metrics/", "/v1/metrics", "/api/v1/metrics")]

    assert scraped.status_code == 200
    assert scraped.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert f"# TYPE {metric}_total counter" in scraped.text
    assert [answer.status_code for answer in public] == [404] * 4
    assert not [answer for answer in public if "litemaas_" in answer.text]
    # Nothing but the metrics is there, and it is on loopback only.
    assert get(program.metrics_url.replace("/metrics", "/health/live")).status_code == 404
    with pytest.raises(httpx2.ConnectError):
        get(program.metrics_url, ELSEWHERE)


def test_s11_an_operator_may_have_them_on_all_interfaces(start: Start) -> None:
    port = free_port()
    start("admin-api", LITEMAAS_METRICS_LISTEN=f"0.0.0.0:{port}")

    assert get(f"http://127.0.0.1:{port}/metrics", ELSEWHERE).status_code == 200


def test_s11_metrics_may_be_off(start: Start) -> None:
    program = start("admin-api", LITEMAAS_METRICS_LISTEN="off")

    assert get(program.url + "/metrics").status_code == 404
    with pytest.raises(httpx2.ConnectError):
        get(program.metrics_url)


@pytest.mark.parametrize("name", ["gateway", "admin-api"])
def test_a_port_that_is_taken_is_named_in_one_sentence(name: str, start: Start, tmp_path: Path) -> None:
    with taken_port() as port, pytest.raises(NotStarted):
        start(name, LITEMAAS_METRICS_LISTEN=f"127.0.0.1:{port}")

    (line,) = (tmp_path / "0" / f"{name}.log").read_text().splitlines()
    assert line == (
        f"litemaas: LITEMAAS_METRICS_LISTEN: cannot listen on 127.0.0.1, port {port} (Address already in use). Name "
        "another port, or off."
    )


async def test_a_scrape_is_answered_while_no_worker_is(
    backends: Backends, pool: Pool, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """The parent of the workers serves them: what workers that hang did is seen."""
    workers = Workers(backends, tmp_path, LITEMAAS_STATE_DIR=str(tmp_path / "state"), TMPDIR=str(tmp_path))

    async def are_counted() -> bool:
        text = (await asyncio.to_thread(get, workers.program.metrics_url)).text
        return 'litemaas_calls_total{ending="completed",endpoint="chat_completions",status="200"} 4.0' in text

    stopped: set[int] = set()
    try:
        await workers.start()
        caller = await make_caller(pool, workers.url, http, ["demo-chat"])
        await asyncio.to_thread(call_each, workers, caller, times=2)
        await wait_until(are_counted, "the calls of both workers to be counted")
        stopped = workers.pids
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        assert await are_counted()
        with pytest.raises(TimeoutError):
            async with http.get(workers.url + "/health/live", timeout=aiohttp.ClientTimeout(total=0.5)):
                pass
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        workers.program.stop()
    with pytest.raises(httpx2.ConnectError):
        get(workers.program.metrics_url)
