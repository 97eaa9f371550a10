"""Lists of which a page of the portal has several, each with pages of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from admin_api.operations.pagination import Page


@dataclass(frozen=True, slots=True)
class PagedList:
    """A page of one list, and the addresses of the next one and of the first."""

    rows: Sequence[Any]
    next_path: str | None = None
    first_path: str | None = None


def paged(page: Page[Any], base: str, name: str, cursor: str | None) -> PagedList:
    """`name` is that of the cursor in the address, and of the table."""
    following = f"{base}?{urlencode({name: page.next_cursor})}#{name}" if page.next_cursor else None
    return PagedList(page.rows, following, f"{base}#{name}" if cursor else None)
