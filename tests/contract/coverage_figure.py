"""How many lines of `gateway` and `admin_api` the tests ran, in whichever process: `make test COVERAGE=1` asks at its
end, and `make coverage` puts the figure into README.md. Which lines did not run is in UNCOVERED."""

import argparse
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from coverage import Coverage

ROOT: Final = Path(__file__).parents[2]
CONFIG: Final = ROOT / "pyproject.toml"
README: Final = ROOT / "README.md"
MEASURED: Final = ROOT / ".cache" / "coverage"
UNCOVERED: Final = MEASURED / "uncovered.txt"
# The figure is of one day, what CI demands is always true.
SENTENCE: Final = re.compile(
    r"At least (?P<least>\d+) % of the lines of `gateway` and `admin_api` run in the tests"
    r"(: (?P<measured>\d+\.\d) % on \d{4}-\d\d-\d\d)?\."
)


def least(config: Path = CONFIG) -> float:
    return float(str(Coverage(config_file=str(config)).get_option("report:fail_under")))


def measure() -> float:
    """The percentage, of what all processes have written."""
    measured = Coverage(config_file=str(CONFIG))
    if any(MEASURED.glob("data.*")):
        measured.combine()
        measured.save()
    else:
        measured.load()
    with UNCOVERED.open("w") as file:
        return measured.report(file=file, show_missing=True, skip_covered=True, sort="cover")


def write(measured: float) -> None:
    said = f"At least {least():g} % of the lines of `gateway` and `admin_api` run in the tests"
    figure = f"{measured:.1f} % on {datetime.now(UTC):%Y-%m-%d}"
    text, count = SENTENCE.subn(f"{said}: {figure}.", README.read_text())
    assert count == 1, "README.md has no sentence about it"
    README.write_text(text)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--some", action="store_true", help="some tests ran, which need not reach the least")
    parser.add_argument("--write", action="store_true", help="put it into README.md")
    wanted = parser.parse_args(arguments)
    measured = measure()
    sys.stdout.write(f"{measured:.1f} % of the lines ran; the others are in {UNCOVERED.relative_to(ROOT)}.\n")
    if measured < least() and not wanted.some:
        raise SystemExit(f"At least {least():g} % must run.")
    if wanted.write:
        write(measured)


if __name__ == "__main__":
    main()
