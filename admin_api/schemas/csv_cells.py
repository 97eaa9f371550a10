"""Lines of CSV files, safe to open in a spreadsheet."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from admin_api.operations.csv_formats import CSVFormat
from gateway.domain.money import decimal_text

# A cell that begins with one of these is a formula, which runs where the file is opened (OWASP, "CSV Injection"). The
# last four are the wide forms of the first ones, which spreadsheets set to Japanese or Chinese take for them.
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
BYTE_ORDER_MARK: Final = "\ufeff"


def cell(value: Any, file_format: CSVFormat) -> Any:
    """Text that would be a formula gets an apostrophe in front. A Decimal is a number, with the sign of the format.
    Times are ISO; None is an empty cell."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Decimal):
        return decimal_text(value).replace(".", file_format.decimal_sign)
    # Some programs drop the spaces in front.
    if isinstance(value, str) and (value.startswith(FORMULA) or value.lstrip().startswith(FORMULA)):
        return f"'{value}"
    return value


def header(columns: Sequence[str], file_format: CSVFormat) -> bytes:
    """The first line."""
    mark = BYTE_ORDER_MARK if file_format.has_byte_order_mark else ""
    return (mark + file_format.separator.join(columns) + "\r\n").encode()


def lines(rows: Iterable[Iterable[Any]], file_format: CSVFormat) -> bytes:
    """A line for each row of values."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=file_format.separator)
    writer.writerows([cell(value, file_format) for value in row] for row in rows)
    return text.getvalue().encode()
