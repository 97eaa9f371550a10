"""`make distributed`: every part more than once, and each fails in turn under load. Exit code 1: a promise was broken.

`--only WORD …` runs the faults whose name has one of the words, `--write` puts the table into docs/failures.md.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from chaos.__main__ import say

from deploy.embedded.processes import NotStarted
from distributed.faults import FAULTS, measure
from distributed.run import Line, Run
from distributed.site import opened
from gateway.web.logs import configure_logs

PAGE: Final = Path(__file__).parents[2] / "docs" / "failures.md"
HEAD: Final = (
    "| what fails | failed calls through the load balancer | at one gateway each | of the admin API "
    "| all ready again | rows missing | doubled | slots leaked | beyond the limit, bound | drift |",
    "|---|---|---|---|---|---|---|---|---|---|",
)


def row_of(line: Line) -> str:
    """One line of the table."""
    assert line.through is not None
    assert line.direct is not None
    assert line.admin is not None
    seen = (line.through.text, line.direct.text, line.admin.text, f"{line.recovery_s:.1f} s")
    counts = (line.missing, line.doubles, line.slots, f"{line.over} ≤ {line.bound}", line.drift)
    came_back = " and came back" if not line.missing else ""
    name = line.fault + (f" ({line.lost_rows} rows were lost{came_back})" if line.lost_rows else "")
    return f"| {name} | " + " | ".join(map(str, (*seen, *counts))) + " |"


async def run_all(only: list[str], folder: Path) -> list[Line]:
    """Those faults whose name has one of these words in it."""
    lines = []
    async with opened(folder) as site:
        say("\n".join(HEAD))
        for fault in FAULTS:
            if not any(word in fault for word in only):
                continue
            began = time.monotonic()
            lines.append(await measure(Run(site, fault)))
            say(f"{row_of(lines[-1])} <!-- {time.monotonic() - began:.0f} s -->")
            if not lines[-1].holds:
                broken = lines[-1]
                say(f"BROKEN: stale {broken.stale}, unknown rows {broken.others}, tokens off {broken.tokens_off}")
            say("\n".join(f"<!-- {detail} -->" for detail in lines[-1].details))
    return lines


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=[""], nargs="*")
    parser.add_argument("--keep", type=Path, help="a folder for the logs of all processes, which is kept")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    configure_logs("error")
    try:
        if asked.keep:
            asked.keep.mkdir(parents=True)
            lines = asyncio.run(run_all(asked.only, asked.keep))
        else:
            with tempfile.TemporaryDirectory(prefix="litemaas-distributed-") as folder:
                lines = asyncio.run(run_all(asked.only, Path(folder)))
    except NotStarted as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    if asked.write:
        from contract.tables import with_rows

        PAGE.write_text(with_rows(PAGE.read_text(), "distributed", HEAD, FAULTS, map(row_of, lines)))
    return 0 if lines and all(line.holds for line in lines) else 1


if __name__ == "__main__":
    raise SystemExit(main())
