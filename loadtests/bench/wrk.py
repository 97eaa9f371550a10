"""wrk as the client of whole answers: a closed loop in C, which leaves its core to the model server."""

import json
import math
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadtests.bench import installed
from loadtests.bench.answers import PATH
from loadtests.bench.client import WrongAnswer
from loadtests.bench.targets import Target

SCRIPT: Final = Path(__file__).with_name("post.lua")
SUMMARY: Final = "summary "
TIMEOUT_S: Final = 60


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk reports of a run; latencies in ms. `late` are answers after more than TIMEOUT_S."""

    calls: int
    seconds: float
    p50_ms: float
    p99_ms: float
    late: int = 0

    @property
    def calls_per_s(self) -> float:
        return self.calls / self.seconds


def parse(name: str, printed: str) -> Load:
    """Of what post.lua prints. Raises WrongAnswer if a call failed: the figures mean nothing then."""
    line = next((line for line in printed.splitlines() if line.startswith(SUMMARY)), None)
    if line is None:
        raise WrongAnswer(f"wrk reported nothing about {name}: {printed.strip()[-300:]}")
    found: Mapping[str, int] = json.loads(line.removeprefix(SUMMARY))
    if found["wrong"] or found["broken"]:
        raise WrongAnswer(f"{name}: {found['wrong']} calls with another status, {found['broken']} broken connections")
    if not found["requests"]:
        raise WrongAnswer(f"{name} answered no call in {found['duration_us'] / 1e6:.0f} s")
    return Load(
        calls=found["requests"],
        seconds=found["duration_us"] / 1e6,
        p50_ms=found["p50_us"] / 1e3,
        p99_ms=found["p99_us"] / 1e3,
        late=found["late"],
    )


class Wrk:
    """Runs it with one thread. The bodies are written into `folder`."""

    def __init__(self, folder: Path) -> None:
        self._program, self._env = installed.wrk()
        self._folder = folder

    def version(self) -> str:
        return installed.version([str(self._program), "-v"], self._env).split(" [")[0].removeprefix("wrk ")

    def run(self, target: Target, body: bytes, *, connections: int, seconds: float) -> Load:
        """Raises WrongAnswer. wrk takes whole seconds."""
        file = self._folder / f"body-{len(body)}.json"
        file.write_bytes(body)
        headers = [
            f"{name}: {value}" for name, value in ({"content-type": "application/json"} | dict(target.headers)).items()
        ]
        argv = [str(self._program), "-t1", f"-c{connections}", f"-d{math.ceil(seconds)}s", f"--timeout={TIMEOUT_S}s"]
        argv += ["-s", str(SCRIPT), target.url + PATH, "--", str(file), *headers]
        done = subprocess.run(
            argv, env=self._env, capture_output=True, text=True, timeout=seconds + TIMEOUT_S + 30, check=False
        )
        return parse(target.name, done.stdout + done.stderr)
