"""`make bench`: measures, prints tables, and with `--write` puts them into docs/performance.md.

Whole it takes about 40 minutes, with `--quick` less than five. Sends to loopback only; ends all it started, also after
Ctrl-C.
"""

import argparse
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from deploy.embedded.processes import NotStarted
from loadtests.bench import page, tables
from loadtests.bench.plan import QUICK, STAGES, WHOLE, Plan
from loadtests.bench.results import Results
from loadtests.bench.run import Bench

ROOT: Final = Path(__file__).parents[2]
KEPT: Final = ROOT / ".cache" / "bench.json"


def options() -> argparse.ArgumentParser:
    """Those of the command."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="nginx, Envoy and ours, one run, less than five minutes")
    parser.add_argument("--runs", type=int, help="instead of three, or one")
    parser.add_argument("--seconds", type=float, help="of each load")
    parser.add_argument("--stages", help=f"some of: {', '.join(STAGES)}")
    parser.add_argument("--peers", help="some of: nginx, Envoy, Portkey, LiteLLM; or none")
    parser.add_argument("--limits", help="some of: 0, 3, 8, 14")
    parser.add_argument("--also", action="append", default=[], metavar="NAME=PATH", help="another commit's litemaas")
    parser.add_argument("--results", type=Path, default=KEPT, help="the file of the results")
    parser.add_argument("--again", action="store_true", help="measure nothing, read the file of the results")
    parser.add_argument("--write", action="store_true", help="put them into docs/performance.md")
    return parser


def plan_of(chosen: argparse.Namespace) -> Plan:
    """Raises ValueError if an option is not one of a plan's."""
    plan = QUICK if chosen.quick else WHOLE
    changes: dict[str, Any] = {name: getattr(chosen, name) for name in ("runs", "seconds") if getattr(chosen, name)}
    for name, known in (("stages", STAGES), ("peers", WHOLE.peers), ("limits", WHOLE.limits)):
        asked = getattr(chosen, name)
        if asked is not None:
            words = [word.strip() for word in asked.split(",") if word.strip() not in ("", "none")]
            by_text = {str(one): one for one in known}
            if unknown := set(words) - set(by_text):
                raise ValueError(f"--{name} are not known: {', '.join(sorted(unknown))}")
            changes[name] = tuple(by_text[word] for word in words)
    return replace(plan, **changes)


def _end(*_: object) -> None:
    # As Ctrl-C: all blocks that stop something are left.
    raise KeyboardInterrupt


def measure(chosen: argparse.Namespace) -> Results:
    """A run, whose results are kept in a file even if it is interrupted."""
    also = dict(text.partition("=")[::2] for text in chosen.also)
    bench = Bench(plan_of(chosen), {name: Path(path) for name, path in also.items()})
    try:
        bench.run()
    finally:
        chosen.results.parent.mkdir(parents=True, exist_ok=True)
        chosen.results.write_text(bench.results.to_json())
    return bench.results


def main() -> int:
    """1 if it could not be measured, or a call failed; 130 after Ctrl-C."""
    parser = options()
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, _end)
    try:
        results = Results.read(chosen.results) if chosen.again else measure(chosen)
    except ValueError as problem:
        parser.error(str(problem))
    except NotStarted as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write(f"\nInterrupted; what was measured is in {chosen.results}.\n")
        return 130
    for title, table in tables.sections(results):
        sys.stdout.write(f"{title}\n\n{table}\n\n")
    sys.stdout.write(page.about(results) + "\n")
    if chosen.write:
        page.write(results)
    return 1 if results.failed else 0


if __name__ == "__main__":
    sys.exit(main())
