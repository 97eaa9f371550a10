"""Prices in LiteLLM's `model_info`, without I/O: https://docs.litellm.ai/docs/proxy/custom_pricing

A price field is charged by, is a bound for what a call may cost, is of no call that the gateway forwards, or cannot be
used. All but the first are named, so that nobody takes a price for complete that is not.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from gateway.domain.prices import BOUND, PARTS_OF_COMPLETION, PARTS_OF_PROMPT, PRICE_UNITS, USUAL, Price, PriceTier

# USD per unit. Values beyond these bounds are mistakes.
MAX_USD: Final = Decimal(1_000_000)
MIN_EXPONENT: Final = -30
# The first field that is set is the unit's price; each may have variants of size and of service tier.
_UNIT_OF: Final = {name: unit for unit, facts in PRICE_UNITS.items() for name in facts.litellm}
_VARIANT: Final = re.compile(
    r"(?P<base>.+?)(?:_above_(?P<above>\d+)(?P<k>k?)_tokens)?(?:_(?P<tier>flex|balanced|priority|ultrafast))?"
)
# Of which LiteLLM reads no variant.
_ONLY_USUAL: Final = frozenset({"output_cost_per_audio_token"})
# Of tokens that are not counted apart: the unit that they are counted in.
_BOUNDS: Final[Mapping[str, str]] = {
    "cache_read_input_audio_token_cost": "input",
    "cache_creation_input_audio_token_cost": "input",
    "cache_read_input_image_token_cost": "input",
    "explicit_cache_read_input_token_cost": "input",
    "input_cost_per_token_cache_hit": "input",
    "input_cost_per_image_token": "input",
    "input_cost_per_video_token": "input",
    "output_cost_per_image_token": "output",
    "output_cost_per_video_token": "output",
}
# Computers that the provider runs: by a thousand tokens, on top of the model's price.
_PER_1K: Final = {"computer_use_input_cost_per_1k_tokens": "input", "computer_use_output_cost_per_1k_tokens": "output"}
_FACTORS: Final = re.compile(r"regional_(processing|endpoint)_uplift_multiplier(_[a-z]+)?")
_SIZES: Final = tuple(f"search_context_size_{size}" for size in ("medium", "low", "high"))
# Of calls that are never forwarded: batches, kept files, pages; and prices in another currency.
_ELSEWHERE: Final = re.compile(
    r".*_batches|.*_per_gb_per_day|.*_dbu_cost_per_token|guardrail_cost_per_unit|(ocr|annotation)_cost_per_.*"
    r"|google_maps_grounding_cost_per_query|pricing_overrides|provider_specific_entry"
)
_IS_PRICE: Final = re.compile(r".*(cost|pric|multiplier).*|provider_specific_entry")
# Inclusive at xAI: 200,000 tokens are above 200k.
_INCLUSIVE: Final = frozenset({"xai"})
MAX_UNUSED: Final = 50


@dataclass(slots=True)
class _Found:
    info: Mapping[str, Any]
    units: dict[str, Decimal] = field(default_factory=dict)
    tiers: dict[tuple[str, int, str], Decimal] = field(default_factory=dict)
    factor: Decimal = Decimal(1)
    is_configured: bool = False
    # Named in the report, and of these those without a bound.
    unused: list[str] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)

    def add_bound(self, unit: str, usd: Decimal) -> None:
        key = (unit, 0, BOUND)
        self.tiers[key] = max(usd, self.tiers.get(key, usd))


@dataclass(frozen=True, slots=True)
class DeploymentPrice:
    """The price of one deployment, None if LiteLLM reports none. By `unused` price fields nothing is charged."""

    price: Price | None
    unused: tuple[str, ...]


def parse_price(info: Mapping[str, Any]) -> DeploymentPrice:
    """LiteLLM also reports zeros for unknown prices: if all are zero, they count only if they were configured
    (`pricing_overrides`)."""
    overrides = info.get("pricing_overrides")
    configured = set(overrides) if isinstance(overrides, list) and all(isinstance(o, str) for o in overrides) else set()
    found = _Found(info)
    for unit, facts in PRICE_UNITS.items():
        for name in facts.litellm:
            if (usd := usd_of(info.get(name))) is not None:
                found.units[unit] = usd
                found.is_configured = found.is_configured or name in configured
                break
    if info.get("mode") == "image_generation":
        _add_image_tokens(info, found.units)
    for name, value in info.items():
        if value is not None and name not in _UNIT_OF and _IS_PRICE.fullmatch(name):
            _read_field(found, name, value)
    _add_reasoning(found)
    _add_factor(found)
    if not (found.is_configured or any(found.units.values()) or any(found.tiers.values())):
        return DeploymentPrice(None, tuple(found.unused[:MAX_UNUSED]))
    return DeploymentPrice(_made(found), tuple(found.unused[:MAX_UNUSED]))


def _made(found: _Found) -> Price:
    tiers = tuple(PriceTier(*key, usd) for key, usd in sorted(found.tiers.items()))
    units: dict[str, Any] = dict(found.units)
    return Price(id=0, **units, tiers=tiers, unusable=tuple(sorted(found.unusable)[:MAX_UNUSED]))


def usd_of(value: Any) -> Decimal | None:
    """USD for one unit, if the value can be that."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        return None
    try:
        usd = Decimal(value)
    except InvalidOperation:
        return None
    if not usd.is_finite() or not 0 <= usd <= MAX_USD or (usd and usd.adjusted() < MIN_EXPONENT):
        return None
    return usd


def _add_image_tokens(info: Mapping[str, Any], units: dict[str, Decimal]) -> None:
    # The output of an image model is image tokens. LiteLLM prices these separately and the other tokens at 0.
    image_token = usd_of(info.get("output_cost_per_image_token"))
    if image_token is not None and not units.get("output"):
        units["output"] = image_token
    per_image = usd_of(info.get("input_cost_per_image"))
    if per_image is not None:
        units.setdefault("image", per_image)


def _read_field(found: _Found, name: str, value: Any) -> None:
    """A field that is no unit's own: a variant of one, a bound, or one that cannot be used."""
    if (read := _OF_OTHER_FORMS.get(name)) is not None:
        read(found, value)
        return
    usd = usd_of(value)
    if usd == 0 and _VARIANT.fullmatch(name)["base"] not in _UNIT_OF:  # type: ignore[index]  # it matches anything
        return
    if _ELSEWHERE.fullmatch(name):
        if not name.startswith("pricing") and not name.endswith("_batches"):
            found.unused.append(name)
        return
    if usd is not None and _read_variant(found, name, usd):
        return
    found.unused.append(name)
    if usd is not None and name in _PER_1K:
        unit = _PER_1K[name]
        found.add_bound(unit, usd / 1000 + found.units.get(unit, Decimal(0)))
    elif usd is not None and _FACTORS.fullmatch(name):
        found.factor = max(found.factor, usd)
    elif not (name == "input_cost_per_image" and found.info.get("mode") == "image_generation"):
        found.unusable.append(name)


def _read_variant(found: _Found, name: str, usd: Decimal) -> bool:
    match = _VARIANT.fullmatch(name)
    base = match["base"] if match else name
    if match is None or (base not in _UNIT_OF and base not in _BOUNDS):
        # Of a tier that LiteLLM may know and we do not: it may cost that much.
        known = next((unit for field, unit in _UNIT_OF.items() if name.startswith(f"{field}_")), None)
        if known in PARTS_OF_PROMPT + PARTS_OF_COMPLETION:
            found.unused.append(name)
            found.add_bound("input" if known in PARTS_OF_PROMPT else "output", usd)
            return True
        return False
    if base in _BOUNDS:
        if not (base == "output_cost_per_image_token" and found.info.get("mode") == "image_generation"):
            found.unused.append(name)
        found.add_bound(_BOUNDS[base], usd)
        return True
    above = int(match["above"] or 0) * (1000 if match["k"] else 1)
    if above and found.info.get("litellm_provider") in _INCLUSIVE:
        above -= 1
    if base in _ONLY_USUAL:
        found.unused.append(name)
        found.add_bound(_UNIT_OF[base], usd)
        return True
    found.tiers[_UNIT_OF[base], above, match["tier"] or USUAL] = usd
    return True


def _read_search(found: _Found, value: Any) -> None:
    """LiteLLM charges the medium size where none is asked for; the fee of the size that is asked for is a bound."""
    sizes = value if isinstance(value, dict) else {}
    fees = [fee for size in _SIZES if (fee := usd_of(sizes.get(size))) is not None]
    if fees:
        found.units["web_search"] = fees[0]
        if max(fees) != fees[0]:
            found.add_bound("web_search", max(fees))


def _read_file_search(found: _Found, value: Any) -> None:
    """By the thousand; LiteLLM charges as much for one."""
    if (usd := usd_of(value)) is not None:
        found.units["file_search"] = usd / 1000
        found.add_bound("file_search", usd)


def _read_off_peak(found: _Found, value: Any) -> None:
    """Prices of some hours: the others are charged, these are bounds."""
    found.unused.append("off_peak_pricing")
    for name, rate in value.items() if isinstance(value, dict) else ():
        unit, usd = _UNIT_OF.get(name), usd_of(rate)
        if unit is not None and usd is not None:
            found.add_bound(unit, usd)


def _read_table(found: _Found, value: Any) -> None:
    """Dashscope's table of sizes stands over all other prices of tokens. In a row, parts without a price cost what the
    whole does."""
    rows = value if isinstance(value, list) else []
    starts: list[tuple[int, Mapping[str, Any]]] = []
    for row in rows:
        bounds = row.get("range") if isinstance(row, dict) else None
        if not isinstance(bounds, list) or len(bounds) != 2 or not all(usd_of(bound) is not None for bound in bounds):
            found.unused.append("tiered_pricing")
            found.unusable.append("tiered_pricing")
            return
        starts.append((int(bounds[0]), row))
    for start, row in sorted(starts, key=lambda one: one[0]):
        fresh, said = usd_of(row.get("input_cost_per_token")), usd_of(row.get("output_cost_per_token"))
        if fresh is None:
            continue
        written = usd_of(row.get("cache_creation_input_token_cost"))
        cached = usd_of(row.get("cache_read_input_token_cost"))
        kept = usd_of(row.get("cache_creation_input_token_cost_above_1hr"))
        rates = {"input": fresh, "cached_input": fresh if cached is None else cached}
        rates["cache_write"] = fresh if written is None else written
        rates["cache_write_1h"] = kept or rates["cache_write"]
        reasoned = usd_of(row.get("output_cost_per_reasoning_token"))
        if said is not None:
            rates["output"], rates["reasoning"] = said, said if reasoned is None else reasoned
        for unit, usd in rates.items():
            if start == 0:
                found.units[unit] = usd
            else:
                found.tiers[unit, start, USUAL] = usd


_OF_OTHER_FORMS: Final[Mapping[str, Callable[[_Found, Any], None]]] = {
    "search_context_cost_per_query": _read_search,
    "file_search_cost_per_1k_calls": _read_file_search,
    "off_peak_pricing": _read_off_peak,
    "tiered_pricing": _read_table,
}


def _add_reasoning(found: _Found) -> None:
    """At a service tier with an output price, LiteLLM charges reasoning as output, unless the tier prices that too."""
    price, sizes = _made(found), {above for _, above, _ in found.tiers}
    for unit, above, tier in list(found.tiers):
        is_output = (unit, above) == ("output", 0) and tier not in (USUAL, BOUND)
        if is_output and "reasoning" in found.units and ("reasoning", 0, tier) not in found.tiers:
            for size in {0} | sizes:
                found.tiers["reasoning", size, tier] = price.rate("output", size, tier) or Decimal(0)


def _add_factor(found: _Found) -> None:
    """What a region may add to every price of tokens."""
    if found.factor <= 1:
        return
    for unit in PARTS_OF_PROMPT + PARTS_OF_COMPLETION:
        rates = [usd for (name, _, _), usd in found.tiers.items() if name == unit]
        rates += [found.units[unit]] if unit in found.units else []
        if rates:
            found.add_bound(unit, max(rates) * found.factor)


def merge_prices(prices: Sequence[Price]) -> Price:
    """The highest price of each unit, size and service tier, because LiteLLM may choose any deployment and budgets must
    hold."""
    first, *others = prices
    if all(price == first for price in others):
        return first
    sizes = sorted({0} | {tier.above for price in prices for tier in price.tiers})
    services = sorted({USUAL} | {tier.service_tier for price in prices for tier in price.tiers})
    units: dict[str, Any] = {}
    tiers = []
    for unit in PRICE_UNITS:
        if all(getattr(price, unit) is None and unit not in {tier.unit for tier in price.tiers} for price in prices):
            continue
        for service in services:
            for above in sizes:
                rates = [usd for price in prices if (usd := price.rate(unit, above, service)) is not None]
                if not rates or (service == BOUND and above):
                    continue
                if (above, service) == (0, USUAL):
                    units[unit] = max(rates)
                else:
                    tiers.append(PriceTier(unit, above, service, max(rates)))
    unusable = tuple(sorted({name for price in prices for name in price.unusable}))
    return Price(id=0, **units, tiers=tuple(tiers), unusable=unusable)
