"""The cost of the access log per call: CPU time of two gateways, one with it and one without, in the same minutes.

Run it beside `make demo` (`make access-log-cost`). The gateways take turns, batch by batch, so that other load of the
machine affects both; only their ratio is meaningful.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import aiohttp

from loadtests.overhead import ROOT, call, cpu_s, free_port, make_key, wait_ready

BATCH = 320
AT_ONCE = 32


def main() -> None:
    """Prints the ratio of each pair of batches, and their median."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--state", type=Path, default=ROOT / ".demo" / "state.json")
    options.add_argument("--batches", type=int, default=20)
    chosen = options.parse_args()
    state = json.loads(chosen.state.read_text())
    key = make_key({**os.environ, **state["env"]}, "demo@example.com", state["model"], 8)
    gateways = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for setting in ("off", "on"):
                port = free_port()
                env = {**os.environ, **state["env"], "LITEMAAS_LITELLM_URLS": state["model_server_url"]}
                env |= {"LITEMAAS_STATE_DIR": f"{folder}/{setting}", "LITEMAAS_ACCESS_LOG": setting}
                serve = f"import uvicorn; uvicorn.run('gateway.main:create_app', factory=True, port={port}, "
                serve += "access_log=False, log_level='error')"
                with Path(f"{folder}/{setting}.log").open("wb") as out:
                    process = subprocess.Popen([sys.executable, "-c", serve], env=env, stdout=out)
                gateways[setting] = (process, f"http://127.0.0.1:{port}")
            ratios = asyncio.run(_compare(gateways, key, state["model"], chosen.batches))
            lines = Path(f"{folder}/on.log").read_bytes().count(b"\n")
        finally:
            for process, _ in gateways.values():
                process.terminate()
                process.wait()
    print(f"on / off, median of {len(ratios)}: {statistics.median(ratios):.3f} ({lines} lines)")
    print("quartiles:", ", ".join(f"{ratio:.3f}" for ratio in statistics.quantiles(ratios, n=4)))


async def _compare(
    gateways: dict[str, tuple[subprocess.Popen[bytes], str]], key: str, model: str, batches: int
) -> list[float]:
    messages = [{"role": "user", "content": "Say something short. [tokens=8] [delay=0] [rate=0]"}]
    body = {"model": model, "messages": messages}
    ratios = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as session:

        async def batch(setting: str) -> float:
            process, url = gateways[setting]
            before = cpu_s(process.pid)

            async def some() -> None:
                for _ in range(BATCH // AT_ONCE):
                    await call(session, url, key, body)

            await asyncio.gather(*(some() for _ in range(AT_ONCE)))
            # Asynchronous writes after the calls are part of their cost.
            await asyncio.sleep(0.3)
            return cpu_s(process.pid) - before

        for _, url in gateways.values():
            await wait_ready(url)
        for number in range(batches + 1):
            order = ("off", "on") if number % 2 else ("on", "off")
            used = {setting: await batch(setting) for setting in order}
            if number:  # the first one warms up
                ratios.append(used["on"] / used["off"])
    return ratios


if __name__ == "__main__":
    main()
