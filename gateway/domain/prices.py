"""What a call costs, in whole nano-USD (1e-9 USD), rounded up once a call."""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Final

from gateway.domain.calls import Usage

NANO_USD: Final = Decimal(1_000_000_000)


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

    @property
    def is_known(self) -> bool:
        """Whether a call can be charged at all: some unit has a price, be it 0."""
        return any(
            unit is not None
            for unit in (self.input, self.output, self.per_request, self.image, self.second, self.character, self.query)
        )


def cost_nano_usd(price: Price, usage: Usage) -> int:
    """The cost of `usage`, in OpenAI's convention: prompt tokens include cached and cache-write ones, completion
    tokens include reasoning ones. A unit whose own price is unknown costs what its whole costs."""
    per_token = price.input or Decimal(0)
    output = price.output or Decimal(0)
    cached = per_token if price.cached_input is None else price.cached_input
    written = per_token if price.cache_write is None else price.cache_write
    reasoning = output if price.reasoning is None else price.reasoning
    fresh = max(0, usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens)
    said = max(0, usage.completion_tokens - usage.reasoning_tokens)
    usd = (
        fresh * per_token
        + usage.cached_tokens * cached
        + usage.cache_write_tokens * written
        + said * output
        + usage.reasoning_tokens * reasoning
        + (price.per_request or Decimal(0))
        + usage.images * (price.image or Decimal(0))
        + usage.characters * (price.character or Decimal(0))
        + usage.queries * (price.query or Decimal(0))
    )
    return int((usd * NANO_USD).to_integral_value(ROUND_CEILING))
