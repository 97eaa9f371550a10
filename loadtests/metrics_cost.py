"""What counting a call costs: the tallies of this version, and the same values counted one by one by prometheus-client.

Both in one process, in turns, CPU time of the thread (`make metrics-cost`): once as one worker counts, once as several
do, whose values are in files they share.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

CALLS = 20_000
FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def main() -> None:
    """One line for each way."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--here", action="store_true", help="in this process; without it, both ways in one each")
    chosen = options.parse_args()
    if chosen.here:
        _measure(chosen.rounds)
        return
    command = [sys.executable, "-m", "loadtests.metrics_cost", "--here", "--rounds", str(chosen.rounds)]
    environment = {name: value for name, value in os.environ.items() if name != FOLDER}
    print("one worker", flush=True)
    subprocess.run(command, check=True, env=environment)
    with tempfile.TemporaryDirectory() as folder:
        print("several workers", flush=True)
        subprocess.run(command, check=True, env=environment | {FOLDER: folder})


def _measure(rounds: int) -> None:
    # Imported late: the client chooses where values are kept when it is imported.
    from gateway import metrics
    from gateway.domain.usage_rows import UsageRow
    from gateway.endpoints.registry import ENDPOINTS
    from gateway.relay import Relay
    from gateway.tallies import Tallies

    row = UsageRow(
        request_id=UUID(int=1), started_at=datetime(2026, 11, 1, tzinfo=UTC), account_id=1, user_id=1, api_key_id=1,
        subscription_id=1, model_id=1, model_asked="model", endpoint="chat_completions", streamed=False, status=200,
        ending="completed", prompt_tokens=10, completion_tokens=3, cached_tokens=0, cache_write_tokens=0,
        reasoning_tokens=0, cost_nano_usd=70, price_id=1, counted_requests=1, counted_tokens=13, counted_nano_usd=70,
        first_byte_ms=20, total_ms=300, estimated=False,
    )  # fmt: skip
    tallies = Tallies()

    async def send(_: object) -> None:
        pass

    relay = Relay(send, ENDPOINTS[0], "request")
    model = ("model", "provider")
    once = (
        metrics.CALLS.labels("chat_completions", "200", "completed"),
        metrics.MODEL_CALLS.labels(*model, "completed"),
    )
    amounts = (
        (metrics.TOKENS.labels("input"), 10), (metrics.MODEL_TOKENS.labels(*model, "input"), 10),
        (metrics.TOKENS.labels("output"), 3), (metrics.MODEL_TOKENS.labels(*model, "output"), 3),
        (metrics.COST, 70), (metrics.MODEL_COST.labels(*model), 70),
    )  # fmt: skip
    seconds = (
        (metrics.FIRST_BYTE.labels("chat_completions"), 0.02), (metrics.MODEL_FIRST_BYTE.labels(*model), 0.02),
        (metrics.CALL_SECONDS.labels("chat_completions"), 0.3), (metrics.MODEL_SECONDS.labels(*model), 0.3),
        (metrics.OWN_SECONDS.labels("chat_completions"), 0.002),
        (metrics.REDIS_SECONDS.labels("reserve"), 0.0004), (metrics.REDIS_SECONDS.labels("settle"), 0.0004),
    )  # fmt: skip

    def added_up() -> None:
        tallies.call("chat_completions", row, "model", "provider", 0.002)
        tallies.script("reserve", 0.0004)
        tallies.script("settle", 0.0004)

    def one_by_one() -> None:
        for counter in once:
            counter.inc()
        for counter, amount in amounts:
            counter.inc(amount)
        for histogram, value in seconds:
            histogram.observe(value)

    def clocks() -> None:
        # Of a whole answer: for LiteLLM, for its body twice (the second time it has ended), for the caller.
        for _ in range(4):
            relay.waits()
            relay.goes_on()

    def batch(count: Callable[[], None]) -> float:
        began_at = time.thread_time_ns()
        for _ in range(CALLS):
            count()
        if count is added_up:
            tallies.write()
        return (time.thread_time_ns() - began_at) / CALLS / 1000

    turns = [(batch(added_up), batch(one_by_one), batch(clocks)) for _ in range(rounds + 1)][1:]
    names = ("added up, written once", "one by one", "clocks of the own share")
    for name, values in zip(names, zip(*turns, strict=True), strict=True):
        low, middle, high = statistics.quantiles(values, n=4)
        print(f"  {name:24} {middle:5.2f} µs a call (quartiles {low:.2f}, {high:.2f})", flush=True)
    print(f"  added up / one by one, median: {statistics.median(a / b for a, b, _ in turns):.2f}", flush=True)


if __name__ == "__main__":
    main()
