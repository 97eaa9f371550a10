"""`make chaos`: every fault, and a table of the counts. Exit code 1: a count differs.

`--only WORD …` runs those whose name has one of the words, `--short` does less of each, and `--write` puts their lines
into docs/ledger.md.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from chaos.counts import Line
from chaos.faults import FAULTS, FULL, SHORT, measure
from chaos.site import opened
from gateway.web.logs import configure_logs

PAGE = Path(__file__).parents[2] / "docs" / "ledger.md"
HEAD = (
    "| fault | rounds | calls | rows | missing | doubles | reaped | tokens off | others | failed | drift |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
)


def row_of(line: Line) -> str:
    """One line of the table."""
    name = line.fault + (f" ({line.note})" if line.note else "")
    counts = (line.rounds, line.calls, line.rows, line.missing, line.doubles, line.reaped, line.tokens_off)
    return f"| {name} | " + " | ".join(map(str, (*counts, line.others, line.failed, line.drift))) + " |"


async def run_all(only: list[str], *, is_short: bool) -> list[Line]:
    """Every fault whose name has one of these words in it."""
    lines = []
    with tempfile.TemporaryDirectory(prefix="litemaas-chaos-") as folder:
        async with opened(Path(folder), has_litellm=not is_short) as site:
            for name, fault in FAULTS.items():
                if not any(word in name for word in only):
                    continue
                if site.litellm is None and fault.__name__ == "litellm_killed":
                    continue
                began = time.monotonic()
                lines.append(await measure(site, SHORT if is_short else FULL, name))
                say(f"{row_of(lines[-1])} <!-- {time.monotonic() - began:.0f} s -->")
                if not lines[-1].is_exact:
                    say("\n".join(lines[-1].details))
    return lines


def say(text: str) -> None:
    """At once, also into a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=[""], nargs="*")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    configure_logs("error")
    say("\n".join(HEAD))
    lines = asyncio.run(run_all(asked.only, is_short=asked.short))
    if asked.write:
        from contract.tables import with_rows

        PAGE.write_text(with_rows(PAGE.read_text(), "chaos", HEAD, FAULTS, map(row_of, lines)))
    return 0 if lines and all(line.is_exact for line in lines) else 1


if __name__ == "__main__":
    raise SystemExit(main())
