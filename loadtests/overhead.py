"""The overhead of the gateway: latency at c = 1 and CPU time per call at c = 32, with the demo's model server.

Run it beside `make demo` (`make overhead`). Via the gateway minus direct, the same client, interleaved: never a span
inside the server, which would hide its queues. Only loopback, a fixed number of calls; absolute times mean little on a
shared machine, CPU a call and differences of one run more.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).parents[1]
LITEMAAS = ROOT / ".venv" / "bin" / "litemaas"
HUGE = 10**9
# (level, kind, window): with the two of the subscription, eight limits on four levels.
LIMITS = (
    ("key", "rpm", None),
    ("key", "tpm", None),
    ("key", "concurrency", None),
    ("key_model", "tpm", None),
    ("user", "rpm", None),
    ("user", "tokens", "day"),
)


def cli(env: dict[str, str], *arguments: str) -> Any:
    """The JSON output of a `litemaas` command."""
    done = subprocess.run([str(LITEMAAS), *arguments, "--json"], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"litemaas {' '.join(arguments)}: {done.stderr.strip()}")
    return json.loads(done.stdout or "null")


def make_key(env: dict[str, str], user: str, model: str, limits: int) -> str:
    """Creates a key with 0 limits, or with 8 on four levels."""
    made = cli(env, "keys", "create", "--user", user, "--model", model)
    subscription = next(row for row in cli(env, "subscriptions", "list")["rows"] if row["model"] == model)
    for kind in ("requests", "tokens"):
        amount = str(HUGE) if limits else "unlimited"
        target = ("--level", "subscription", "--id", str(subscription["id"]))
        cli(env, "limits", "set", *target, "--kind", kind, "--window", "month", "--amount", amount)
    for level, kind, window in LIMITS if limits else ():
        target = ["--level", level, "--id", "1" if level == "user" else str(made["id"])]
        target += ["--model", model] if level == "key_model" else []
        target += ["--window", window] if window else []
        cli(env, "limits", "set", *target, "--kind", kind, "--amount", str(HUGE))
    return str(made["key"])


def cpu_s(pid: int) -> float:
    """User and system time of a process, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def call(session: aiohttp.ClientSession, url: str, key: str, body: dict[str, Any]) -> float:
    """Seconds of one call; exits if the status is not 200."""
    started = time.perf_counter()
    async with session.post(url + "/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"}) as r:
        await r.read()
        if r.status != 200:
            raise SystemExit(f"{url} answered {r.status}: {await r.text()}")
    return time.perf_counter() - started


async def measure(pid: int, direct: str, gateway: str, key: str, model: str, calls: int) -> dict[str, float]:
    """Latencies in ms, CPU in µs a call."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Say something short. [tokens=8] [delay=0] [rate=0]"}],
    }
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as session:
        for _ in range(50):
            await call(session, gateway, key, body)
        without, through = [], []
        for _ in range(calls):
            without.append(await call(session, direct, key, body))
            through.append(await call(session, gateway, key, body))
        before = cpu_s(pid)

        async def some(count: int) -> None:
            for _ in range(count):
                await call(session, gateway, key, body)

        each = max(1, 2 * calls // 32)
        await asyncio.gather(*(some(each) for _ in range(32)))
        cpu_us = (cpu_s(pid) - before) / (32 * each) * 1e6
    added = [a - b for a, b in zip(through, without, strict=True)]
    cut = statistics.quantiles(added, n=100)
    return {"added_p50_ms": statistics.median(added) * 1e3, "added_p99_ms": cut[98] * 1e3, "cpu_us_c32": cpu_us}


def free_port() -> int:
    """An unused port."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def main() -> None:
    """Starts one gateway worker of its own in front of the demo's model server, and prints a table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--state", type=Path, default=ROOT / ".demo" / "state.json")
    options.add_argument("--calls", type=int, default=1000)
    chosen = options.parse_args()
    state = json.loads(chosen.state.read_text())
    port = free_port()
    env = {**os.environ, **state["env"], "LITEMAAS_LITELLM_URLS": state["model_server_url"]}
    env["LITEMAAS_STATE_DIR"] = str(chosen.state.parent / "overhead")
    program = f"import uvicorn; uvicorn.run('gateway.main:create_app', factory=True, port={port}, access_log=False)"
    gateway = subprocess.Popen([sys.executable, "-c", program], env=env, stderr=subprocess.DEVNULL)
    try:
        asyncio.run(wait_ready(f"http://127.0.0.1:{port}"))
        for limits in (0, 8):
            key = make_key(env, "demo@example.com", state["model"], limits)
            direct, url = state["model_server_url"], f"http://127.0.0.1:{port}"
            result = asyncio.run(measure(gateway.pid, direct, url, key, state["model"], chosen.calls))
            print(limits, "limits:", ", ".join(f"{name} {value:.2f}" for name, value in result.items()), flush=True)
    finally:
        gateway.terminate()
        gateway.wait()


async def wait_ready(url: str) -> None:
    """Waits until the gateway is ready."""
    async with aiohttp.ClientSession() as session:
        for _ in range(100):
            try:
                async with session.get(url + "/health/ready") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.2)
    raise SystemExit("The gateway did not become ready.")


if __name__ == "__main__":
    main()
