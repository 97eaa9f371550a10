"""Cells of the matrix that do not work yet, each by the case that will mend it. One that begins to work fails."""

from typing import Final

EXPECTED_TO_FAIL: Final[dict[tuple[str, str], str]] = {}
