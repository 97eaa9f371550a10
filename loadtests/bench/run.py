"""A whole run: starts what a plan needs, measures it stage by stage, and stops it."""

import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import uvloop

from deploy.embedded.processes import NotStarted
from loadtests.bench import installed, stages
from loadtests.bench.client import WrongAnswer
from loadtests.bench.gateway import Gateway, Site
from loadtests.bench.model_servers import FixedAnswers, PacedServer
from loadtests.bench.peers import all_peers
from loadtests.bench.plan import MAIN_JSON, MAIN_STREAMS, MANY_STREAMS, JsonLoad, Plan, StreamLoad
from loadtests.bench.requests import json_body
from loadtests.bench.results import Key, Results
from loadtests.bench.targets import DIRECT, Proxy, Target
from loadtests.bench.waits import measure_waits
from loadtests.bench.wrk import Wrk
from loadtests.processes import choose_cores, load_average, processor, started_on

WARM_UP_S: Final = 1.5
WARM_UP_CONNECTIONS: Final = 16
WAITING_LIMITS: Final = 8
# Their difference is small.
IN_TURNS: Final = ("ours, 0 limits", "ours, 8 limits")
MAIN_LOADS: Final = (MAIN_JSON.name, MAIN_STREAMS.name, stages.ONE)


class Bench:
    """One run of a plan, into `results`. `also` are the commands of other commits, by the names of their gateways."""

    def __init__(self, plan: Plan, also: Mapping[str, Path] | None = None) -> None:
        self.plan = plan
        self.results = Results()
        self._also = dict(also or {})
        self._began = time.monotonic()
        self._proxy_cores, self._own_cores = choose_cores()

    def run(self) -> None:
        """Stops all it started, also when it is interrupted."""
        os.sched_setaffinity(0, self._own_cores)
        self._describe()
        with tempfile.TemporaryDirectory(prefix="litemaas-bench-") as name, ExitStack() as running:
            folder = Path(name)
            folder.chmod(0o755)  # Postgres's own account enters it
            paced = PacedServer(folder / "paced")
            running.callback(paced.discard)
            paced.start()
            sites = self._start_sites(folder, running, paced.url)
            proxies = [*self._peers(folder), *self._gateways(sites)]
            if {"latency", "json", "turns", "half"} & set(self.plan.stages):
                self._measure_whole_answers(folder, running, proxies)
            if {"first event", "streams"} & set(self.plan.stages):
                if MANY_STREAMS in self.plan.streams:
                    proxies.append(Gateway(sites[0], [WAITING_LIMITS], workers=2, loads=[MANY_STREAMS.name]))
                self._measure_streams(proxies, paced.url)
            if "waits" in self.plan.stages and WAITING_LIMITS in self.plan.limits:
                self._say("waits for Redis and Postgres")
                self._try(measure_waits(self.results, sites[0], paced.url, WAITING_LIMITS))
        self.results.about["load_average_after"] = load_average()
        self.results.about["took_s"] = round(time.monotonic() - self._began)

    def _describe(self) -> None:
        self.results.about |= {
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "processor": processor(),
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.release()}",
            "load_average_before": load_average(),
            "versions": {"Python": installed.python_build(Path(sys.executable).parent)},
            "plan": asdict(self.plan),
        }

    def _say(self, what: str) -> None:
        sys.stderr.write(f"{time.monotonic() - self._began:6.0f} s  {what}\n")
        sys.stderr.flush()

    def _start_sites(self, folder: Path, running: ExitStack, model_server_url: str) -> list[Site]:
        sites = [Site(folder / "site")]
        sites += [Site(folder / f"site-{n}", command, name) for n, (name, command) in enumerate(self._also.items())]
        for site in sites:
            self._say(f"{site.name}: Postgres, Valkey and keys with limits")
            running.callback(site.stop)
            site.start(model_server_url, self.plan.limits)
        return sites

    def _peers(self, folder: Path) -> list[Proxy]:
        peers = all_peers(folder)
        return [peers[name] for name in self.plan.peers]

    def _gateways(self, sites: Sequence[Site]) -> list[Proxy]:
        gateways: list[Proxy] = [Gateway(site, self.plan.limits) for site in sites]
        if self.plan.logless:
            gateways.append(Gateway(sites[0], self.plan.limits, access_log=False, loads=MAIN_LOADS))
        return gateways

    @contextmanager
    def _started(self, proxies: Sequence[Proxy], model_server_url: str) -> Iterator[list[Target]]:
        """What the proxies serve; one that cannot be started is noted, and missing."""
        started: list[Proxy] = []
        with ExitStack() as running:
            for proxy in proxies:
                try:
                    self.results.about["versions"].setdefault(proxy.name.partition(",")[0], proxy.version())
                    running.callback(proxy.stop)
                    with started_on(self._cores_of(proxy)):
                        proxy.launch(model_server_url)
                    started.append(proxy)
                except NotStarted as problem:
                    self._miss(proxy.name, problem)
            targets: list[Target] = []
            for proxy in started:
                try:
                    proxy.wait()
                    targets += proxy.targets()
                except NotStarted as problem:
                    self._miss(proxy.name, problem)
            yield targets

    def _cores_of(self, proxy: Proxy) -> set[int]:
        is_wide = isinstance(proxy, Gateway) and proxy.workers > 1
        return self._proxy_cores | self._own_cores if is_wide else self._proxy_cores

    def _miss(self, name: str, problem: NotStarted) -> None:
        self._say(f"{name} is not measured: {problem}")
        # Without where its log was.
        self.results.missing[name] = str(problem).partition(";")[0].rstrip(".") + "."

    def _measure_whole_answers(self, folder: Path, running: ExitStack, proxies: Sequence[Proxy]) -> None:
        try:
            wrk = Wrk(folder)
            self.results.about["versions"]["wrk"] = wrk.version()
            fixed = FixedAnswers(folder / "fixed")
            running.callback(fixed.discard)
            fixed.start()
        except NotStarted as problem:
            self._miss("whole answers", problem)
            return
        direct = Target(DIRECT, fixed.url)
        with self._started(proxies, fixed.url) as targets:
            self._say("warming up")
            body = json_body(MAIN_JSON.body_bytes)

            def is_usable(target: Target) -> bool:
                return self._try(wrk.run, target, body, connections=WARM_UP_CONNECTIONS, seconds=WARM_UP_S)

            targets = [target for target in targets if is_usable(target)]
            for number in range(1, self.plan.runs + 1):
                self._say(f"whole answers, run {number} of {self.plan.runs}")
                self._measure_run(wrk, direct, targets)

    def _measure_run(self, wrk: Wrk, direct: Target, targets: Sequence[Target]) -> None:
        if "latency" in self.plan.stages:
            self._try(stages.measure_latency(self.results, [direct, *targets], self.plan.latency_calls))
        for load in self.plan.json if "json" in self.plan.stages else ():
            self._measure_load(wrk, direct, targets, load)
        in_turns = [target for target in targets if target.name in IN_TURNS]
        if "turns" in self.plan.stages and len(in_turns) > 1:
            self._try(stages.measure_in_turns, self.results, wrk, in_turns, MAIN_JSON, self.plan.turns)
        for target in targets if "half" in self.plan.stages else ():
            capacity = self.results.values(Key("json", target.name, MAIN_JSON.name), "calls_per_s")
            if capacity and target.loads is None:
                measured = stages.measure_half(self.results, target, direct, capacity[-1], self.plan.seconds)
                self._try(measured)

    def _measure_load(self, wrk: Wrk, direct: Target, targets: Sequence[Target], load: JsonLoad) -> None:
        without = Key("json", DIRECT, load.name)
        if not self._try(stages.measure_json, self.results, wrk, direct, load, self.plan.seconds, None):
            return
        for target in targets:
            if target.takes(load.name):
                self._try(stages.measure_json, self.results, wrk, target, load, self.plan.seconds, without)

    def _measure_streams(self, proxies: Sequence[Proxy], model_server_url: str) -> None:
        direct = Target(DIRECT, model_server_url)
        with self._started(proxies, model_server_url) as targets:
            self._say("warming up")
            targets = [target for target in targets if self._try(stages.warm_up_streams(target))]
            in_turn = [target for target in targets if target.takes(stages.ONE)]
            for number in range(1, self.plan.runs + 1):
                self._say(f"streams, run {number} of {self.plan.runs}")
                if "first event" in self.plan.stages:
                    calls = self.plan.latency_calls // 2
                    self._try(stages.measure_first_event(self.results, [direct, *in_turn], calls))
                for load in self.plan.streams if "streams" in self.plan.stages else ():
                    self._measure_stream_load(direct, targets, load)

    def _measure_stream_load(self, direct: Target, targets: Sequence[Target], load: StreamLoad) -> None:
        seconds, without = self.plan.seconds, Key("streams", DIRECT, load.name)
        if not self._try(stages.measure_streams(self.results, direct, load, seconds, None)):
            return
        for target in targets:
            if target.takes(load.name):
                self._try(stages.measure_streams(self.results, target, load, seconds, without))

    def _try(self, what: Coroutine[Any, Any, None] | Callable[..., object], *arguments: Any, **named: Any) -> bool:
        """Whether it could be measured; if not, why is kept."""
        try:
            if isinstance(what, Coroutine):
                uvloop.run(what)
            else:
                what(*arguments, **named)
        except WrongAnswer as problem:
            self._say(str(problem))
            self.results.failed.append(str(problem))
            return False
        return True
