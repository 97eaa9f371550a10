"""What a call costs, in whole nano-USD (1e-9 USD), rounded up once a call."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, NamedTuple

from gateway.domain.calls import Usage
from gateway.domain.money import NANO_USD


class UnitFacts(NamedTuple):
    """One unit that a model may have a price for.

    `counts` is the field of Usage that counts it, in 10^-`scale` of a unit; None: every call is one.
    `litellm` are LiteLLM's fields for its price, of which the first that is set counts. `whole` is the unit that this
    one is a part of, and whose price it has where its own is not known.
    """

    counts: str | None
    litellm: tuple[str, ...]
    whole: str | None = None
    scale: int = 0


# All units, in the order of Price and of its rates. These name units too, and cannot be derived from here:
# - a migration, which adds the column to model_prices;
# - Price and cost_nano_usd below, and Usage in gateway/domain/calls.py if it counts something new;
# - PriceView in admin_api/schemas/models.py, NewPrice in admin_api/routes/models.py, `litemaas prices set` in
#   admin_api/cli/prices.py.
# tests/contract/test_price_units.py fails for each place that a unit is missing from.
PRICE_UNITS: Final[dict[str, UnitFacts]] = {
    "input": UnitFacts("prompt_tokens", ("input_cost_per_token",)),
    "output": UnitFacts("completion_tokens", ("output_cost_per_token",)),
    "cached_input": UnitFacts("cached_tokens", ("cache_read_input_token_cost",), whole="input"),
    "cache_write": UnitFacts("cache_write_tokens", ("cache_creation_input_token_cost",), whole="input"),
    "reasoning": UnitFacts("reasoning_tokens", ("output_cost_per_reasoning_token",), whole="output"),
    "per_request": UnitFacts(None, ("input_cost_per_request",)),
    "image": UnitFacts("images", ("output_cost_per_image",)),
    "second": UnitFacts("audio_ms", ("input_cost_per_second", "output_cost_per_second", "cost_per_second"), scale=3),
    "character": UnitFacts("characters", ("input_cost_per_character", "output_cost_per_character")),
    "query": UnitFacts("queries", ("input_cost_per_query",)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """One version of a model's price, USD for one unit. None: not known, which is not 0."""

    id: int
    input: Decimal | None = None
    output: Decimal | None = None
    cached_input: Decimal | None = None
    cache_write: Decimal | None = None
    reasoning: Decimal | None = None
    per_request: Decimal | None = None
    image: Decimal | None = None
    second: Decimal | None = None
    character: Decimal | None = None
    query: Decimal | None = None
    # The same as whole numbers of 1/_units USD, worked out once: whole numbers are exact, and cost a tenth of Decimals.
    _rates: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _units: int = field(init=False, repr=False, compare=False)
    # Whether a call can be charged at all: some unit has a price, be it 0.
    is_known: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        own: dict[str, Decimal | None] = {unit: getattr(self, unit) for unit in PRICE_UNITS}
        rates = []
        for unit, facts in PRICE_UNITS.items():
            price = own[facts.whole] if facts.whole is not None and own[unit] is None else own[unit]
            # Not scaled where that changes nothing: it would round to the digits of Decimal's context.
            rates.append((price or Decimal(0)).scaleb(-facts.scale) if facts.scale else price or Decimal(0))
        digits = max(0, *(-int(rate.as_tuple().exponent) for rate in rates))
        object.__setattr__(self, "_units", 10**digits)
        object.__setattr__(self, "_rates", tuple(int(rate.scaleb(digits)) for rate in rates))
        is_known = any(own[unit] is not None for unit, facts in PRICE_UNITS.items() if facts.whole is None)
        object.__setattr__(self, "is_known", is_known)


def cost_nano_usd(price: Price, usage: Usage) -> int:
    """The cost of `usage`, in OpenAI's convention: prompt tokens include cached and cache-write ones, completion
    tokens include reasoning ones. A unit whose own price is unknown costs what its whole costs."""
    fresh, said, cached, written, reasoned, request, image, audio_ms, character, query = price._rates
    total = (
        max(0, usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens) * fresh
        + usage.cached_tokens * cached
        + usage.cache_write_tokens * written
        + max(0, usage.completion_tokens - usage.reasoning_tokens) * said
        + usage.reasoning_tokens * reasoned
        + request
        + usage.images * image
        + usage.characters * character
        + usage.queries * query
        + usage.audio_ms * audio_ms
    )
    return -(-total * NANO_USD // price._units)
