"""Runs a script, looks at the workers meanwhile, and gathers what all sides say afterwards."""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
import redis.asyncio
from accounting import ModelRecord, compare_rollups, read_drift, read_rows, wait_until_still
from gateways import RedisState

from deploy.embedded.processes import Child
from gateway.storage.postgres import Pool, new_pool
from loadtests.k6 import outcome
from loadtests.k6.demo import AT_ONCE, CHAT, EMBEDDING, LoadUser, RunningDemo
from loadtests.k6.memory import Memory
from loadtests.k6.outcome import Admitted, Attempt, Seen

FOLDER: Final = Path(__file__).parent
K6: Final = Path(sys.executable).with_name("k6")
SAMPLES: Final = 300
# Calls in flight at the end, and k6's own begin and end.
GRACE_S: Final = 120
# Less than until the reaper looks for leases that nobody closed.
LEASES_S: Final = 20.0
# Written each 0.1 s by the workers, and read once the rows are there.
LINES_S: Final = 1.0


@dataclass(slots=True)
class Result:
    """`problems`: sentences on what is wrong."""

    script: str
    seconds: int
    memory: Memory
    summary: Mapping[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What all sides say after the scripts, what the limits admitted, and what is wrong."""

    seen: Seen
    admitted: Sequence[Admitted]
    problems: Sequence[str]


class LoadRun:
    """Scripts against a demo with one user, and one comparison for all of them."""

    def __init__(self, demo: RunningDemo, user: LoadUser, prefix: str, folder: Path) -> None:
        self.demo = demo
        self.user = user
        self.attempts: list[Attempt] = []
        self._prefix = prefix
        self._folder = folder
        self._workers = demo.workers
        self._log_begins = {path: path.stat().st_size for path in demo.logs}

    def environment(self, seconds: int, **changes: str) -> dict[str, str]:
        """Of a script."""
        return {
            **os.environ,
            "GATEWAY_URL": self.demo.state["gateway_url"],
            "API_KEY": self.user.keys[""],
            "RPM_KEY": self.user.keys["rpm"],
            "AT_ONCE_KEY": self.user.keys["at_once"],
            "MODEL": CHAT,
            "EMBEDDING_MODEL": EMBEDDING,
            "RUN": self._prefix,
            "SECONDS": str(seconds),
            "K6_NO_USAGE_REPORT": "true",
            "NO_COLOR": "1",
            **changes,
        }

    async def run(self, script: str, seconds: int, **changes: str) -> Result:
        """Its problems are those of k6: failed thresholds."""
        result = Result(script, seconds, Memory(self._workers, seconds))
        console, summary, log = (self._folder / f"{script}.{end}" for end in ("jsonl", "summary.json", "log"))
        for path in (console, summary):
            path.unlink(missing_ok=True)
        argv = [str(K6), "run", "--quiet", "--no-color", "--log-format", "raw", "--console-output", str(console)]
        argv += ["--summary-export", str(summary), "--address", "", str(FOLDER / f"{script}.js")]
        k6 = Child("k6", argv, log=log, env=self.environment(seconds, **changes))
        try:
            async with asyncio.timeout(seconds + GRACE_S):
                while k6.exit_code is None:
                    result.memory.sample()
                    await asyncio.sleep(max(0.1, seconds / SAMPLES))
        finally:
            k6.stop()
        result.memory.sample()
        if summary.exists():
            result.summary = json.loads(summary.read_text())
        if k6.exit_code:
            result.problems += [f"k6 ended with code {k6.exit_code}", *crossed(result.summary), *_said(log)]
        if console.exists():
            self.attempts += [msgspec.json.decode(line, type=Attempt) for line in console.read_bytes().splitlines()]
        return result

    async def compare(self) -> Outcome:
        """After the last script."""
        state, account = self.demo.state, self.user.account_id
        async with new_pool(state["database_url"], size=2) as pool, aiohttp.ClientSession() as http:
            record = ModelRecord(http, state["model_server_url"], self._prefix)
            answered = {attempt.id for attempt in self.attempts if attempt.status == 200 and attempt.id}
            problems = []
            try:
                await wait_until_still(pool, state["redis_url"], account, answered, leases_s=LEASES_S)
            except TimeoutError as late:
                problems.append(str(late))
            await asyncio.sleep(LINES_S)
            await record.read()
            rows = await read_rows(pool, account)
            seen = Seen(self.attempts, list(self._access_lines()), rows, list(record.calls.values()))
            problems += outcome.differences(seen)
            admitted = self._admitted(seen)
            problems += [problem for one in admitted for problem in one.problems]
            problems += await self._of_stores(pool)
        problems += [f"{number} × in a log: {what}" for what, number in self._errors().items()]
        if self.demo.workers != self._workers:
            problems.append(f"the workers were {sorted(self._workers)} and are {sorted(self.demo.workers)}")
        return Outcome(seen, admitted, problems)

    def _admitted(self, seen: Seen) -> list[Admitted]:
        found = [
            outcome.by_rate(seen, "rpm", a_minute=self.user.rpm),
            outcome.by_calls_at_once(seen, self.user.key_ids["at_once"], limit=AT_ONCE),
        ]
        return [one for one in found if one.admitted or one.least]

    async def _of_stores(self, pool: Pool) -> list[str]:
        url, account = self.demo.state["redis_url"], self.user.account_id
        async with redis.asyncio.from_url(url) as client:
            leases = await RedisState(client).open_leases(account)
        problems = [f"{len(leases)} leases are left in Valkey: {', '.join(map(str, leases[:5]))}"] if leases else []
        for drift in await read_drift(pool, url, account):
            if drift.difference:
                problems.append(f"Valkey counts {drift.counted} for {drift.field}, the ledger {drift.ledger}")
        differing = (await compare_rollups(pool)).differences
        return problems + [f"rows and rollups differ: {one}" for one in differing[:5]]

    def _new_lines(self, path: Path) -> Iterator[str]:
        with path.open("rb") as log:
            log.seek(self._log_begins[path])
            yield from (line.decode(errors="replace") for line in log)

    def _access_lines(self) -> Iterator[Mapping[str, Any]]:
        for text in self._new_lines(self.demo.logs[0]):
            if '"event":"call"' in text:
                line = msgspec.json.decode(text)
                if line["account_id"] == self.user.account_id:
                    yield line

    def _errors(self) -> Mapping[str, int]:
        found: Counter[str] = Counter()
        for path in self.demo.logs:
            found += outcome.error_lines(self._new_lines(path))
        return found


def crossed(summary: Mapping[str, Any]) -> list[str]:
    """The thresholds that failed, and the checks."""
    metrics = summary.get("metrics", {})
    failed = [
        f"threshold {name}: {rule}"
        for name, metric in metrics.items()
        for rule, is_crossed in metric.get("thresholds", {}).items()
        if is_crossed
    ]
    checks = summary.get("root_group", {}).get("checks", {})
    return failed + [f"check {name}: {c['fails']} failed" for name, c in _by_name(checks) if c["fails"]]


def _by_name(checks: Any) -> Sequence[tuple[str, Mapping[str, Any]]]:
    found = checks.values() if isinstance(checks, dict) else checks
    return [(one["name"], one) for one in found]


def _said(log: Path) -> list[str]:
    return [line for line in log.read_text(errors="replace").splitlines() if "level=error" in line][:5]
