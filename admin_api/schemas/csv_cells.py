"""Cells of CSV files, as a spreadsheet may see them."""

from datetime import datetime
from typing import Any, Final

# With these a cell would begin a formula, which runs where the file is opened (OWASP, CSV injection).
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def cell(value: Any) -> Any:
    """Text is never a formula: it begins with an apostrophe then. Times are ISO; None is an empty cell."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return value
