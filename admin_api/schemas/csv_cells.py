"""Cells of CSV files, safe to open in a spreadsheet."""

from datetime import datetime
from typing import Any, Final

# A cell that begins with one of these is a formula, which runs where the file is opened (OWASP, "CSV Injection").
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def cell(value: Any) -> Any:
    """Text that would be a formula gets an apostrophe in front. Times are ISO; None is an empty cell."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return value
