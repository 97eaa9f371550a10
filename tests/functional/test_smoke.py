"""A short k6 run of `loadtests/k6/smoke.js` against a gateway, with its thresholds."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from callers import Caller
from gateways import Ledger, RedisState

ROOT = Path(__file__).parents[2]
FORWARDED = 260


async def test_the_k6_smoke_test_passes(
    make: Callable[..., Awaitable[Caller]], ledger: Ledger, redis_state: RedisState, tmp_path: Path
) -> None:
    caller, refused = await make(), await make()
    await refused.limit("requests", 0, window="day")
    env = {
        **os.environ,
        "GATEWAY_URL": caller.url,
        "API_KEY": caller.key,
        "REFUSED_KEY": refused.key,
        "MODEL": "demo-chat",
        "K6_NO_USAGE_REPORT": "true",
    }
    k6 = Path(sys.executable).parent / "k6"
    summary = tmp_path / "summary.json"

    arguments = ["run", "--quiet", "--no-color", "--summary-export", str(summary), "loadtests/k6/smoke.js"]
    process = await asyncio.create_subprocess_exec(
        k6, *arguments, env=env, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    response, _ = await asyncio.wait_for(process.communicate(), 60)

    assert process.returncode == 0, response.decode()
    assert json.loads(summary.read_text())["metrics"]["checks"]["fails"] == 0
    assert len(await ledger.rows(caller.account_id, FORWARDED)) == FORWARDED
    await redis_state.wait_until_settled(caller.account_id)
