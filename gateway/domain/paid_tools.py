"""Tools that the provider runs for a fee: what one use costs, and how many uses are reserved."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Final, NamedTuple

from gateway.domain.prices import Price

# Its fee is 0, but what it finds is put into the prompt.
FREE: Final = ""
# By unit of the price: the field of Usage that counts its uses.
COUNTS: Final = {"web_search": "web_searches", "file_search": "file_searches", "code_session": "code_sessions"}


class PaidTool(NamedTuple):
    """`uses` is the most that the caller allows; None: they set no bound."""

    name: str
    unit: str
    uses: int | None


def fee_of(price: Price, tool: PaidTool) -> Decimal | None:
    """USD for one use; None: not known, which is not 0."""
    if tool.unit == FREE:
        return Decimal(0)
    return price.rate(tool.unit) if tool.unit in COUNTS else None


def reserved_uses(tools: Iterable[PaidTool], usual: int) -> dict[str, int]:
    """Fields of Usage: how often tools may be run, `usual` times where the caller sets no bound."""
    uses = dict.fromkeys(COUNTS.values(), 0)
    for tool in tools:
        if tool.unit in COUNTS:
            uses[COUNTS[tool.unit]] += usual if tool.uses is None else tool.uses
    return uses
