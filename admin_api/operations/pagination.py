"""Cursor pagination: each page has the cursor of the next, so rows added meanwhile do not shift pages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, TypeVar

from admin_api.operations.validation import InvalidInput, invalid

T = TypeVar("T")
MAX_ROWS: Final = 1000
MAX_ID: Final = 2**63 - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Rows, and the cursor of the next page; None on the last page."""

    rows: Sequence[T]
    next_cursor: str | None


def page(rows: Sequence[T], limit: int, cursor_of: Callable[[T], object]) -> Page[T]:
    """The first `limit` of the `limit + 1` rows that were queried, with the cursor."""
    shown = rows[:limit]
    return Page(shown, str(cursor_of(shown[-1])) if len(rows) > limit else None)


def check_limit(limit: int, maximum: int = MAX_ROWS) -> int:
    """The size of a page, or how many groups are listed. Raises GatewayError `validation_failed`."""
    if not 1 <= limit <= maximum:
        raise invalid("limit", f"limit must be a number from 1 to {maximum}.")
    return limit


def not_a_cursor() -> InvalidInput:
    """The error for a cursor that no page of the list has."""
    return invalid("cursor", "This is not a cursor of this list. Use next_cursor of the previous page.")


def parse_id_cursor(cursor: str | None, *, first: int = 0) -> int:
    """The id in a cursor; `first` for the first page. Raises GatewayError `validation_failed`."""
    if cursor is None:
        return first
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 20 and int(cursor) <= MAX_ID):
        raise not_a_cursor()
    return int(cursor)


def time_cursor(moment: datetime, number: int) -> str:
    """Of a list by time and id."""
    return f"{(moment - _EPOCH) // timedelta(microseconds=1)}.{number}"


def parse_time_cursor(cursor: str | None) -> tuple[datetime, int]:
    """The time and id in such a cursor. Raises GatewayError `validation_failed`."""
    if cursor is None:
        return _EPOCH, 0
    microseconds, _, number = cursor.partition(".")
    try:
        # The largest time of a date is below this.
        return _EPOCH + timedelta(microseconds=parse_id_cursor(microseconds)), parse_id_cursor(number)
    except OverflowError:
        raise not_a_cursor() from None
