"""What a call costs, in whole nano-USD (1e-9 USD), rounded up once a call."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from gateway.domain.calls import Usage

NANO_USD: Final = 10**9


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
        zero = Decimal(0)
        per_token, output = self.input or zero, self.output or zero
        rates = (
            per_token,
            per_token if self.cached_input is None else self.cached_input,
            per_token if self.cache_write is None else self.cache_write,
            output,
            output if self.reasoning is None else self.reasoning,
            self.per_request or zero,
            self.image or zero,
            self.character or zero,
            self.query or zero,
            # Sound is counted in ms.
            (self.second or zero).scaleb(-3),
        )
        digits = max(0, *(-int(rate.as_tuple().exponent) for rate in rates))
        object.__setattr__(self, "_units", 10**digits)
        object.__setattr__(self, "_rates", tuple(int(rate.scaleb(digits)) for rate in rates))
        units = (self.input, self.output, self.per_request, self.image, self.second, self.character, self.query)
        object.__setattr__(self, "is_known", any(unit is not None for unit in units))


def cost_nano_usd(price: Price, usage: Usage) -> int:
    """The cost of `usage`, in OpenAI's convention: prompt tokens include cached and cache-write ones, completion
    tokens include reasoning ones. A unit whose own price is unknown costs what its whole costs."""
    fresh, cached, written, said, reasoned, request, image, character, query, audio_ms = price._rates
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
