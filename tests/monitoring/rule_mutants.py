"""`make rule-mutants`: changes one threshold, factor or wait of the alerts at a time; a test of promtool must notice.

Two to four minutes.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import yaml

from deploy.embedded.venvs import ROOT
from tests.monitoring.prometheus_package import PROMTOOL, install

FOLDER: Final = ROOT / "deploy" / "prometheus"
ALERTS: Final = "alerts.yml"
QUIET: Final = "quiet_test.yml"
# A number of an expression that is no part of a name, a window or another number.
NUMBER: Final = re.compile(r"(?<![\w.])(?!0(?![.\d]))\d+(?:\.\d+)?(?![\w.])")
PROCESSES: Final = 2


class Mutant(NamedTuple):
    """A changed copy of all alerts."""

    alert: str
    what: str
    text: str


def mutants() -> Iterator[Mutant]:
    parts = re.split(r"(?m)^(?=      - alert: )", (FOLDER / ALERTS).read_text())
    for number, part in enumerate(parts):
        if (named := re.match(r"      - alert: (\w+)", part)) is None:
            continue
        for what, changed in _changes(part):
            yield Mutant(named[1], what, "".join([*parts[:number], changed, *parts[number + 1 :]]))


def _changes(part: str) -> Iterator[tuple[str, str]]:
    begin, end = part.index("expr:"), part.index("labels:")
    for found in NUMBER.finditer(part, begin, part.find("for: ") if "for: " in part else end):
        for factor in (0.5, 2):
            changed = f"{float(found[0]) * factor:.10g}"
            yield f"{found[0]} → {changed}", part[: found.start()] + changed + part[found.end() :]
    if (wait := re.search(r" {8}for: (\d+)m\n", part)) is not None:
        yield "without its wait", part.replace(wait[0], "")
        yield "waits four times", part.replace(wait[0], f"        for: {int(wait[1]) * 4}m\n")
    for compared, changed in ((" > 0)", " >= 0)"), (" == 0", " == 1"), (" == 1", " == 0"), (" > 0\n", " >= 0\n")):
        if compared in part:
            yield f"{compared.strip()} → {changed.strip()}", part.replace(compared, changed)


def survives(mutant: Mutant) -> bool:
    """Whether all tests of the alert pass, and no other test fails."""
    with TemporaryDirectory() as folder:
        for path in FOLDER.glob("*.yml"):
            (Path(folder) / path.name).write_text(path.read_text())
        (Path(folder) / ALERTS).write_text(mutant.text)
        return all(_passes(Path(folder), path.name, mutant.alert) for path in sorted(FOLDER.glob("*_test.yml")))


def _passes(folder: Path, name: str, alert: str) -> bool:
    tests = yaml.safe_load((folder / name).read_text())
    if name != QUIET:
        tests["tests"] = [test for test in tests["tests"] if test["name"].split(",")[0] == alert]
    (folder / name).write_text(yaml.safe_dump(tests))
    return subprocess.run([PROMTOOL, "test", "rules", name], cwd=folder, capture_output=True).returncode == 0


def main() -> int:
    install()
    every = list(mutants())
    with ThreadPoolExecutor(PROCESSES) as pool:
        survivors = [one for one, survived in zip(every, pool.map(survives, every), strict=True) if survived]
    for one in survivors:
        sys.stderr.write(f"No test notices: {one.alert}: {one.what}\n")
    sys.stderr.write(f"{len(every) - len(survivors)} of {len(every)} changes were noticed.\n")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
