"""The same callers with LiteLLM's limit in tokens per minute and with ours: `make compare-limits`, five minutes.

One LiteLLM, one model server: half of the callers call LiteLLM with a key it limits (limited_keys.py), the
others a gateway in front of it with a key we limit. All obey `retry-after`, in real time. What was used is read
from the model server's own record of calls. Loopback only.
"""

import argparse
import asyncio
import math
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from deploy.embedded.demo import MODEL, Demo
from deploy.embedded.litellm import LiteLLM
from deploy.embedded.model_server.chat import TOKENS_PER_MESSAGE
from deploy.embedded.processes import free_port
from deploy.embedded.programs import Program

HOOK: Final = Path(__file__).with_name("limited_keys.py")
SMALL_LIMIT, AT_ONCE = 180, 30
LIMIT, CLIENTS = 6_000, 24
COMPLETION_MEAN, PROMPT_TOKENS, TOKENS_PER_S = 60.0, 20, 10
MAXIMUM: Final = 512
DISCONNECTS: Final = 0.05
WORDS: Final = (
    "what",
    "does",
    "this",
    "long",
    "line",
    "of",
    "text",
    "say",
    "about",
    "every",
    "small",
    "part",
    "of",
    "it",
)


@dataclass(frozen=True, slots=True)
class Target:
    """The target of calls: LiteLLM or our gateway. `mark` finds its calls in the model server's record."""

    name: str
    url: str
    key: str
    mark: str
    maximum: int | None = None


@dataclass(slots=True)
class Count:
    """What the callers of one target saw."""

    admitted: int = 0
    refused: int = 0
    # LiteLLM's connection to the model server breaks sometimes.
    failed: int = 0


def body(target: Target, prompt: int, tokens: int, *, rate: float = 0) -> dict[str, Any]:
    """A body with a number of prompt and completion tokens."""
    directives = [f"[tokens={tokens}]", f"[rate={rate}]", "[delay=0.05]", f"[mark={target.mark}]"]
    text = [WORDS[n % len(WORDS)] for n in range(prompt - TOKENS_PER_MESSAGE - len(directives))]
    asked = {"model": MODEL, "messages": [{"role": "user", "content": " ".join([*text, *directives])}]}
    return asked | ({"max_tokens": target.maximum} if target.maximum else {})


async def ask(
    http: aiohttp.ClientSession, target: Target, what: dict[str, Any], count: Count, leave_after_s: float | None = None
) -> float | None:
    """One call, to its end or until the caller disconnects; returns the seconds to wait if it was refused."""
    headers = {"authorization": f"Bearer {target.key}"}
    async with http.post(f"{target.url}/v1/chat/completions", json=what, headers=headers) as answer:
        if answer.status == 429:
            count.refused += 1
            stated_ms = answer.headers.get("retry-after-ms")
            return int(stated_ms) / 1000 if stated_ms else float(answer.headers["retry-after"])
        if answer.status != 200:
            count.failed += 1
            return 1.0
        count.admitted += 1
        try:
            async with asyncio.timeout(leave_after_s):
                await answer.read()
        except TimeoutError:
            answer.close()
        return None


async def call_until(
    http: aiohttp.ClientSession, target: Target, count: Count, ends: float, chance: random.Random
) -> None:
    """One caller: sequential calls that obey `retry-after`."""
    await asyncio.sleep(chance.uniform(0, 2))
    while time.monotonic() < ends:
        tokens = max(1, round(chance.lognormvariate(math.log(COMPLETION_MEAN) - 0.5, 1.0)))
        rate = max(TOKENS_PER_S, tokens / 60)
        leave = chance.random() * tokens / rate if chance.random() < DISCONNECTS else None
        what = body(target, PROMPT_TOKENS, tokens, rate=rate)
        while (wait_s := await ask(http, target, what, count, leave)) is not None:
            await asyncio.sleep(wait_s)
            if time.monotonic() >= ends:
                return


async def upstream_log(http: aiohttp.ClientSession, demo: Demo, target: Target) -> list[tuple[float, int]]:
    """(start of a call, billed tokens) of all calls of this target."""
    asked = {"mark": target.mark, "limit": "100000"}
    async with http.get(f"{demo.model_server.url}/_calls", params=asked) as answer:
        calls = await answer.json()
    return [(c["started_at"], c["prompt_tokens"] + c["completion_tokens"]) for c in calls]


def worst_minute(calls: Sequence[tuple[float, int]]) -> int:
    """Most tokens of calls that began within any 60 s."""
    calls = sorted(calls)
    return max(sum(tokens for at, tokens in calls if began <= at < began + 60) for began, _ in calls)


async def measure_burst(http: aiohttp.ClientSession, demo: Demo, targets: Sequence[Target]) -> None:
    """30 calls of 18 tokens at once on a limit of 180."""
    print(f"\n{AT_ONCE} calls of 18 tokens at once, {SMALL_LIMIT} tokens a minute\n")
    print("| | admitted | used of 180 |\n|---|---|---|")
    for target in targets:
        count = Count()
        await asyncio.gather(*(ask(http, target, body(target, 10, 8), count) for _ in range(AT_ONCE)))
        used = sum(tokens for _, tokens in await upstream_log(http, demo, target))
        print(f"| {target.name} | {count.admitted} | {used} |", flush=True)


async def measure_closed_loop(
    http: aiohttp.ClientSession, demo: Demo, targets: Sequence[Target], minutes: float
) -> None:
    """All targets concurrently, each with its own callers."""
    print(f"\n{CLIENTS} callers for {minutes:g} minutes on {LIMIT} tokens a minute\n")
    counts = {target.mark: Count() for target in targets}
    began, ends = time.time(), time.monotonic() + 60 * minutes
    callers = [
        call_until(http, target, counts[target.mark], ends, random.Random(n))
        for target in targets
        for n in range(CLIENTS)
    ]
    await asyncio.gather(*callers)
    print("| | used of the limit | first minute | after it | most in any 60 s | calls | failed | refusals per call |")
    print("|---|---|---|---|---|---|---|---|")
    for target in targets:
        calls, count = await upstream_log(http, demo, target), counts[target.mark]
        first = sum(tokens for at, tokens in calls if at < began + 60)
        later = sum(tokens for at, tokens in calls if began + 60 <= at < began + 60 * minutes)
        cells = (
            target.name,
            f"{(first + later) / LIMIT / minutes:.0%}",
            f"{first / LIMIT:.0%}",
            f"{later / LIMIT / (minutes - 1):.0%}",
            f"{worst_minute(calls) / LIMIT:.0%}",
            str(count.admitted),
            str(count.failed),
            f"{count.refused / count.admitted:.1f}",
        )
        print("| " + " | ".join(cells) + " |", flush=True)


def new_key(demo: Demo, tokens_per_minute: int | None) -> dict[str, Any]:
    """A key of a new user, without the default limits of subscriptions."""
    email = f"caller{random.getrandbits(40):x}@example.com"
    demo.command_line.run("users", "create", "--email", email, "--json")
    made = demo.command_line.read("subscriptions", "create", "--user", email, "--model", MODEL)
    for kind in ("requests", "tokens"):
        target = ("--level", "subscription", "--id", str(made["id"]))
        demo.command_line.run("limits", "set", *target, "--kind", kind, "--window", "month", "--amount", "unlimited")
    key = demo.command_line.read("keys", "create", "--user", email, "--model", MODEL)
    if tokens_per_minute is not None:
        set_limit(demo, key, tokens_per_minute)
    return dict(key)


def set_limit(demo: Demo, key: dict[str, Any], tokens_per_minute: int) -> None:
    """Of the key, in tokens a minute."""
    target = ("--level", "key", "--id", str(key["id"]))
    demo.command_line.run("limits", "set", *target, "--kind", "tpm", "--amount", str(tokens_per_minute))


async def compare(demo: Demo, minutes: float) -> None:
    """Both tables."""
    ours, theirs = demo.gateway.url, demo.litellm.url
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=600)) as http:
        small = [
            Target("LiteLLM", theirs, f"sk-tpm-{SMALL_LIMIT}-a", "la"),
            Target("LiteLLM, max_tokens 8", theirs, f"sk-tpm-{SMALL_LIMIT}-b", "lb", 8),
            Target("ours, nothing known yet", ours, new_key(demo, SMALL_LIMIT)["key"], "oa"),
            Target("ours, max_tokens 8", ours, new_key(demo, SMALL_LIMIT)["key"], "ob", 8),
        ]
        known = new_key(demo, None)
        warm_up = Target("", ours, known["key"], "ow")
        await asyncio.gather(*(ask(http, warm_up, body(warm_up, 10, 8), Count()) for _ in range(40)))
        set_limit(demo, known, SMALL_LIMIT)
        await asyncio.sleep(2)
        small.append(Target("ours, after 40 such calls", ours, known["key"], "oc"))
        await measure_burst(http, demo, small)
        large = [
            Target("LiteLLM", theirs, f"sk-tpm-{LIMIT}-c", "lc"),
            Target(f"LiteLLM, max_tokens {MAXIMUM}", theirs, f"sk-tpm-{LIMIT}-d", "ld", MAXIMUM),
            Target("ours", ours, new_key(demo, LIMIT)["key"], "od"),
            Target(f"ours, max_tokens {MAXIMUM}", ours, new_key(demo, LIMIT)["key"], "oe", MAXIMUM),
        ]
        await measure_closed_loop(http, demo, large, minutes)


def main() -> None:
    """Starts everything, compares, stops everything."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=3)
    minutes = options.parse_args().minutes
    with tempfile.TemporaryDirectory() as folder:
        demo = Demo(Path(folder), free_port(), free_port())
        demo.litellm = LiteLLM(
            demo.folder / "litellm",
            demo.model_server.url,
            port=demo.litellm.port,
            api_key=demo.litellm.api_key,
            custom_auth=HOOK,
        )
        # One worker, for a reproducible table: each worker learns separately.
        demo.gateway = Program(demo.folder / "logs", "gateway", demo.gateway.port, "--workers", "1")
        try:
            demo.start()
            asyncio.run(compare(demo, minutes))
        finally:
            demo.stop()


if __name__ == "__main__":
    main()
