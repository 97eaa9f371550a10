"""How units of prices are named: each price is of a million tokens or characters, or of one of what it counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from admin_api.operations.models.price_fields import PRICE_FIELDS, shown_usd
from admin_api.portal.texts import marked
from admin_api.portal.visits import Visit
from admin_api.storage.prices import PriceSource, PriceVersion
from gateway.domain.money import decimal_text
from gateway.domain.prices import PRICE_UNITS, Charge, Price

UNITS: Final[Mapping[str, str]] = {
    "input": marked("Input, a million tokens"),
    "output": marked("Output, a million tokens"),
    "cached_input": marked("Cached input, a million tokens"),
    "cache_write": marked("Writing to the cache, a million tokens"),
    "reasoning": marked("Reasoning, a million tokens"),
    "per_request": marked("A request"),
    "image": marked("An image"),
    "second": marked("A second of audio or video"),
    "character": marked("A million characters"),
    "query": marked("A search query"),
    "cache_write_1h": marked("Writing to the cache for an hour, a million tokens"),
    "audio_input": marked("Audio input, a million tokens"),
    "audio_output": marked("Audio output, a million tokens"),
    "web_search": marked("A web search"),
    "file_search": marked("A file search"),
    "code_session": marked("A session of the code interpreter"),
}
# These are asked for first; the others are below a fold.
COMMON: Final = ("input", "output", "cached_input", "cache_write", "reasoning", "per_request")
CHARGES: Final[Mapping[Charge, str]] = {
    "own": marked("this price"),
    "higher": marked("the higher of this price and what LiteLLM says that the call cost"),
}
SOURCES: Final[Mapping[PriceSource, str]] = {
    "admin": marked("set by an admin"),
    "litellm": marked("of LiteLLM"),
}


@dataclass(frozen=True, slots=True)
class UnitPrice:
    """One unit: the field of its price, its text, and two prices in USD as the field shows them; None: unknown."""

    unit: str
    field: str
    text: str
    ours: Decimal | None
    litellm: Decimal | None

    @property
    def typed(self) -> str:
        """Our price, as it is typed."""
        return "" if self.ours is None else decimal_text(self.ours)


def unit_prices(visit: Visit, ours: Price | None, litellm: Price | None) -> list[UnitPrice]:
    """All units, the common ones first."""
    ordered = [*COMMON, *(unit for unit in PRICE_UNITS if unit not in COMMON)]
    return [
        UnitPrice(
            unit, PRICE_FIELDS[unit], visit.messages.gettext(UNITS[unit]), usd_of(ours, unit), usd_of(litellm, unit)
        )
        for unit in ordered
    ]


def known_prices(visit: Visit, version: PriceVersion | None) -> list[UnitPrice]:
    """The units that have a price; none without a version."""
    return [one for one in unit_prices(visit, version.price if version else None, None) if one.ours is not None]


def usd_of(price: Price | None, unit: str) -> Decimal | None:
    """Of one unit, as its field shows it; None: unknown."""
    usd: Decimal | None = None if price is None else getattr(price, unit)
    return None if usd is None else shown_usd(unit, usd)
