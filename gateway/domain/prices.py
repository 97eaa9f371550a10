"""What a call costs, in whole nano-USD (1e-9 USD), rounded up once a call.

A unit may have several prices: of prompts above a size, and of a service tier. As LiteLLM does it, the size is that of
the whole prompt, and all tokens of the call take the price of its size.
"""

import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple, get_args

from msgspec.structs import replace

from gateway.domain.calls import Usage
from gateway.domain.money import NANO_USD

# Which figure is charged: the higher of our own and LiteLLM's, or our own.
Charge = Literal["higher", "own"]
CHARGES: Final = get_args(Charge)


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
# - PriceView in admin_api/schemas/prices.py, NewPrice in admin_api/routes/prices.py, `litemaas prices set` in
#   admin_api/cli/prices.py; the name on pages in admin_api/portal/price_texts.py.
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
    "cache_write_1h": UnitFacts(
        "cache_write_1h_tokens", ("cache_creation_input_token_cost_above_1hr",), whole="cache_write"
    ),
    "audio_input": UnitFacts("audio_prompt_tokens", ("input_cost_per_audio_token",), whole="input"),
    "audio_output": UnitFacts("audio_completion_tokens", ("output_cost_per_audio_token",), whole="output"),
    # Fees of tools that the provider runs. LiteLLM has them in fields of other forms.
    "web_search": UnitFacts("web_searches", ()),
    "file_search": UnitFacts("file_searches", ()),
    "code_session": UnitFacts("code_sessions", ("code_interpreter_cost_per_session",)),
}
PARTS_OF_PROMPT: Final = ("input", "cached_input", "cache_write", "cache_write_1h", "audio_input")
PARTS_OF_COMPLETION: Final = ("output", "reasoning", "audio_output")
# As LiteLLM names tiers in its price fields. Any other word, such as `default`, means the usual price.
SERVICE_TIERS: Final[Mapping[str, str]] = {
    "flex": "flex",
    "balanced": "balanced",
    "priority": "priority",
    "fast": "priority",
    "ultrafast": "ultrafast",
}
# The provider chooses, by a setting of the operator's account.
ANY_TIER: Final = "auto"
USUAL: Final = ""
# Among the price fields that cannot be used: LiteLLM may choose any of several deployments.
SEVERAL: Final = "several deployments with different prices"
# No service tier: a price that some of the unit may have which is not counted apart. It is a bound for what a call may
# cost, and nothing is charged by it.
BOUND: Final = "*"


class PriceTier(NamedTuple):
    """The price of a unit for prompts of more than `above` tokens, or of a service tier, or both."""

    unit: str
    above: int
    service_tier: str
    usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """One version of a model's price, USD for one unit. None: not known, which is not 0. `unusable` are LiteLLM's price
    fields of which no bound follows for what a call costs."""

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
    cache_write_1h: Decimal | None = None
    audio_input: Decimal | None = None
    audio_output: Decimal | None = None
    web_search: Decimal | None = None
    file_search: Decimal | None = None
    code_session: Decimal | None = None
    tiers: tuple[PriceTier, ...] = ()
    charge: Charge = "higher"
    unusable: tuple[str, ...] = ()
    # Whole numbers of 1/_units USD, worked out once: whole numbers are exact, and cost a tenth of Decimals. By service
    # tier, then by size: the last of the sizes that the prompt is above.
    _rates: dict[str, tuple[tuple[int, ...], ...]] = field(init=False, repr=False, compare=False)
    _dearest: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _sizes: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _units: int = field(init=False, repr=False, compare=False)
    # Whether a call can be charged at all: some unit has a price, be it 0.
    is_known: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        sizes = sorted({tier.above for tier in self.tiers if tier.service_tier != BOUND} - {0})
        services = sorted({tier.service_tier for tier in self.tiers} - {USUAL, BOUND})
        tables = {service: [self._scaled(above, service) for above in (0, *sizes)] for service in (USUAL, *services)}
        bounds = self._scaled(0, BOUND)
        everything = [*(rates for table in tables.values() for rates in table), bounds]
        digits = max(0, *(-int(rate.as_tuple().exponent) for rates in everything for rate in rates))
        whole = {
            service: tuple(tuple(int(rate.scaleb(digits)) for rate in rates) for rates in table)
            for service, table in tables.items()
        }
        object.__setattr__(self, "_units", 10**digits)
        object.__setattr__(self, "_sizes", tuple(sizes))
        object.__setattr__(self, "_rates", whole)
        dearest = (max(rates) for rates in zip(*everything, strict=True))
        object.__setattr__(self, "_dearest", tuple(int(rate.scaleb(digits)) for rate in dearest))
        is_known = any(getattr(self, unit) is not None for unit, facts in PRICE_UNITS.items() if facts.whole is None)
        object.__setattr__(self, "is_known", is_known)

    def rate(self, unit: str, above: int = 0, service_tier: str = USUAL) -> Decimal | None:
        """USD for one unit in a prompt of more than `above` tokens; of a part without a price, that of its whole."""
        known = {(tier.above, tier.service_tier): tier.usd for tier in self.tiers if tier.unit == unit}
        usd: Decimal | None = known.get((0, service_tier), getattr(self, unit))
        for size in sorted({size for size, _ in known if 0 < size <= above}):
            usd = known.get((size, service_tier), known.get((size, USUAL), usd))
        whole = PRICE_UNITS[unit].whole
        return self.rate(whole, above, service_tier) if usd is None and whole is not None else usd

    def _scaled(self, above: int, service_tier: str) -> list[Decimal]:
        rates = []
        for unit, facts in PRICE_UNITS.items():
            usd = self.rate(unit, above, service_tier) or Decimal(0)
            # Not scaled where that changes nothing: it would round to the digits of Decimal's context.
            rates.append(usd.scaleb(-facts.scale) if facts.scale else usd)
        return rates

    def knows_tier(self, asked: str) -> bool:
        """Whether there are prices of the service tier."""
        return SERVICE_TIERS.get(asked, USUAL) in self._rates.keys() - {USUAL}

    def tiers_of(self, asked: str | None) -> tuple[str | None, ...]:
        """The service tiers at which a call may be served that asked for this one."""
        if asked is None or len(self._rates) == 1:
            return (None,)
        # By the names in prices, which name themselves.
        return (None, *(tier for tier in self._rates if tier != USUAL)) if asked == ANY_TIER else (None, asked)

    def rates_of(self, prompt_tokens: int, service_tier: str | None) -> tuple[int, ...]:
        """In the order of PRICE_UNITS, for one unit, as whole numbers."""
        tables = self._rates
        table = tables[USUAL]
        if service_tier is not None and len(tables) > 1:
            table = tables.get(SERVICE_TIERS.get(service_tier.lower(), USUAL), table)
        return table[bisect_left(self._sizes, prompt_tokens)] if self._sizes else table[0]


def read_tiers(tiers: Any) -> tuple[PriceTier, ...]:
    """From the JSON in Postgres: objects with the fields of PriceTier, `usd` as text."""
    items = json.loads(tiers) if isinstance(tiers, str) else tiers or ()
    return tuple(
        PriceTier(str(item["unit"]), int(item["above"]), str(item["service_tier"]), Decimal(item["usd"]))
        for item in items
    )


def write_tiers(tiers: Iterable[PriceTier]) -> str | None:
    """The JSON for Postgres; None: no tiers."""
    items = [tier._asdict() | {"usd": str(tier.usd)} for tier in tiers]
    return json.dumps(items) if items else None


def price_of(row: Any) -> Price:
    """From a mapping, a row of model_prices, with the columns PRICE_COLUMNS; prices as text or Decimal."""
    units: dict[str, Any] = {unit: Decimal(row[unit]) for unit in PRICE_UNITS if row[unit] is not None}
    charge: Charge = row["charge"] or ("own" if row["source"] == "admin" else "higher")
    unusable = tuple(row["unusable"] or ())
    return Price(id=row["id"], tiers=read_tiers(row["tiers"]), charge=charge, unusable=unusable, **units)


PRICE_COLUMNS: Final = ("id", "source", "charge", "tiers", "unusable", *PRICE_UNITS)


def cost_nano_usd(price: Price, usage: Usage, service_tier: str | None = None) -> int:
    """The cost of `usage`, in OpenAI's convention: prompt tokens include cached, cache-write and audio ones, completion
    tokens include reasoning and audio ones. A unit whose own price is unknown costs what its whole costs.
    `service_tier` is the one that was asked for; one that the answer names stands over it."""
    asked = service_tier if usage.service_tier is None else usage.service_tier
    (
        fresh, said, cached, written, reasoned, request, image, audio_ms, character, query, written_1h, heard, spoken,
        search, file_search, code,
    ) = price.rates_of(usage.prompt_tokens, asked)  # fmt: skip
    rest = usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens
    # Sound that was read from a cache is counted there: sound is charged of the rest only.
    heard_tokens = max(0, min(usage.audio_prompt_tokens, rest))
    answer = usage.completion_tokens - usage.reasoning_tokens
    spoken_tokens = max(0, min(usage.audio_completion_tokens, answer))
    total = (
        max(0, rest - heard_tokens) * fresh
        + usage.cached_tokens * cached
        + max(0, usage.cache_write_tokens - usage.cache_write_1h_tokens) * written
        + usage.cache_write_1h_tokens * written_1h
        + heard_tokens * heard
        + max(0, answer - spoken_tokens) * said
        + usage.reasoning_tokens * reasoned
        + spoken_tokens * spoken
        + request
        + usage.images * image
        + usage.characters * character
        + usage.queries * query
        + usage.audio_ms * audio_ms
        + usage.web_searches * search
        + usage.file_searches * file_search
        + usage.code_sessions * code
    )
    return -(-total * NANO_USD // price._units)


_PROMPT: Final = tuple(list(PRICE_UNITS).index(unit) for unit in PARTS_OF_PROMPT)
_COMPLETION: Final = tuple(list(PRICE_UNITS).index(unit) for unit in PARTS_OF_COMPLETION)
_OTHERS: Final = tuple(
    (index, facts.counts)
    for index, (unit, facts) in enumerate(PRICE_UNITS.items())
    if unit not in PARTS_OF_PROMPT + PARTS_OF_COMPLETION
)


def dearest_nano_usd(price: Price, usage: Usage) -> int:
    """What `usage` costs at most, by whatever service tier, size and part its tokens are charged."""
    rates = price._dearest
    total = usage.prompt_tokens * max(rates[index] for index in _PROMPT)
    total += usage.completion_tokens * max(rates[index] for index in _COMPLETION)
    for index, counts in _OTHERS:
        total += rates[index] * (1 if counts is None else getattr(usage, counts))
    return -(-total * NANO_USD // price._units)


# LiteLLM's figure is not charged above so many times what the call costs at most.
MAX_TIMES: Final = 10


def charged_nano_usd(price: Price, own: int, litellm: int | None, usage: Usage, tools: Usage | None) -> int:
    """What a call is charged: the higher of `own` and LiteLLM's figure, or `own` if the price says so.

    A figure that cannot be is not charged. `tools` are those that the call may have run; None: their fees are not
    known, so there is no bound, nor is there with price fields that cannot be used."""
    if litellm is None or litellm <= own or price.charge == "own":
        return own
    if tools is None or any(name != SEVERAL for name in price.unusable):
        return litellm
    searches = max(1, usage.web_searches, tools.web_searches)
    files, codes = max(1, usage.file_searches, tools.file_searches), max(1, usage.code_sessions, tools.code_sessions)
    most = replace(usage, web_searches=searches, file_searches=files, code_sessions=codes)
    bound = MAX_TIMES * dearest_nano_usd(price, most)
    # A price of 0 is no bound.
    return litellm if litellm <= bound or not bound else own
