"""How things look from outside: what all views share. The JSON of routes and of the CLI's `--json` is one.

Times are UTC in ISO form, money is a decimal string of USD beside whole nano-USD, unknown is null. Nothing in these
modules tells where a model runs. A view names its fields, though a row of the same name has most of them too: what
is added to a row is not shown before somebody decides so here.
"""

from decimal import Decimal
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict

from gateway.domain.money import decimal_text

T = TypeVar("T")


def _as_text(value: Any) -> Any:
    return decimal_text(value) if isinstance(value, Decimal) else value


# A decimal number as text: JSON's numbers are floats to most who read them.
DecimalText = Annotated[str, BeforeValidator(_as_text)]


class View(BaseModel):
    """What is shown, made from a row by its attributes."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class PageView(View, Generic[T]):
    """One page of a list; `next_cursor` is null after the last."""

    rows: list[T]
    next_cursor: str | None
