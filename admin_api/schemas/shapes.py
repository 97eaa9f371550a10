"""Base classes of the JSON shapes. Routes and the CLI's `--json` share them.

Times are UTC in ISO form, money is a decimal string of USD beside whole nano-USD, unknown is null. No shape shows where
a model runs. A view names its fields, although a row of the same name has most of them: a field added to a row is shown
only once it is added here too.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Generic, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict

from gateway.domain.money import decimal_text

if TYPE_CHECKING:
    from admin_api.operations.pagination import Page

T = TypeVar("T")
R = TypeVar("R")


def _as_text(value: Any) -> Any:
    return decimal_text(value) if isinstance(value, Decimal) else value


# A decimal number as text: most parsers read JSON's numbers as floats.
DecimalText = Annotated[str, BeforeValidator(_as_text)]


class View(BaseModel):
    """Base of all shapes, built from the attributes of a row."""

    model_config = ConfigDict(from_attributes=True, frozen=True, defer_build=True)


class PageView(View, Generic[T]):
    """One page of a list; `next_cursor` is null after the last."""

    rows: list[T]
    next_cursor: str | None

    @classmethod
    def of(cls, page: "Page[R]", as_view: Callable[[R], T]) -> Self:
        """Of rows whose shape is made of several things, or that has parts."""
        return cls(rows=[as_view(row) for row in page.rows], next_cursor=page.next_cursor)
