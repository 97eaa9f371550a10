"""The names by which prices are shown and taken. Each says its unit: `input_per_million_usd` is USD for a million
tokens of the prompt, as price lists have it, `image_usd` USD for one image. Stored is USD for one."""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

from admin_api.operations.limits.parsing import parse_decimal
from admin_api.operations.validation import invalid
from gateway.domain.prices import BOUND, PRICE_UNITS, SERVICE_TIERS, USUAL, PriceTier

# The word that takes a price away: the unit costs what its whole costs, or is without a price.
UNKNOWN: Final = "unknown"
MAX_USD: Final = Decimal(1_000_000)
_MILLION_DIGITS: Final = 6
BY_THE_MILLION: Final = frozenset(
    unit for unit, facts in PRICE_UNITS.items() if (facts.counts or "").endswith(("_tokens", "characters"))
)
PRICE_FIELDS: Final[Mapping[str, str]] = {
    unit: f"{unit}_per_million_usd" if unit in BY_THE_MILLION else f"{unit}_usd" for unit in PRICE_UNITS
}
UNIT_OF: Final[Mapping[str, str]] = {field: unit for unit, field in PRICE_FIELDS.items()}
_TIER: Final = re.compile(r"(?P<field>[\w-]+)(@(?P<service_tier>\w+))?(>(?P<above>\d{1,15}))?=(?P<usd>.+)")


def shown_usd(unit: str, usd: Decimal) -> Decimal:
    """A stored price as its field shows it, exactly."""
    return _shifted(usd, _MILLION_DIGITS) if unit in BY_THE_MILLION else usd


def parse_price(unit: str, text: str, field: str | None = None) -> Decimal | None:
    """USD for one of the unit, from the text of its field; None: `unknown`. Raises GatewayError `validation_failed`."""
    field = field or PRICE_FIELDS[unit]
    if text.strip().lower() == UNKNOWN:
        return None
    usd = parse_decimal(field, text)
    if usd > MAX_USD:
        raise invalid(field, f"{field} must be from 0 to {MAX_USD} USD.")
    return _shifted(usd, -_MILLION_DIGITS) if unit in BY_THE_MILLION else usd


TierKey = tuple[str, int, str]


def check_tier(unit: str, above: int, service_tier: str) -> TierKey:
    """Of which prompts a tier is. Raises GatewayError `validation_failed`."""
    if unit in UNIT_OF:
        unit = UNIT_OF[unit]
    if unit not in PRICE_UNITS:
        raise invalid("tiers", f"The unit of a tier must be one of {', '.join(PRICE_UNITS)}.")
    if service_tier not in (USUAL, *SERVICE_TIERS.values()):
        known = ", ".join(sorted(set(SERVICE_TIERS.values())))
        raise invalid("tiers", f"The service tier must be one of {known}, or empty for the usual one.")
    if (above, service_tier) == (0, USUAL):
        raise invalid("tiers", "A tier is of prompts above a size, of a service tier, or both.")
    return unit, above, service_tier


def parse_tier(text: str) -> tuple[TierKey, Decimal | None]:
    """From `field[@service_tier][>tokens]=USD`, as `input_per_million_usd@priority>200000=12`; None: `unknown`. Raises
    GatewayError `validation_failed`."""
    match = _TIER.fullmatch(text.strip())
    if match is None:
        raise invalid(
            "tier", f"'{text}' is not price[@service_tier][>tokens]=USD, e.g. input_per_million_usd>200000=6."
        )
    field = match["field"].replace("-", "_")
    if field in PRICE_UNITS:
        raise invalid("tier", f"'{field}' does not say its unit. Use {PRICE_FIELDS[field]}.")
    if field not in UNIT_OF:
        raise invalid("tier", f"The price of a tier must be one of {', '.join(UNIT_OF)}.")
    key = check_tier(field, int(match["above"] or 0), match["service_tier"] or USUAL)
    return key, parse_price(key[0], match["usd"], field="tier")


def tiers_of(given: Iterable[tuple[TierKey, Decimal | None]]) -> dict[TierKey, Decimal | None]:
    """Raises GatewayError `validation_failed` for a tier that is given twice."""
    tiers: dict[TierKey, Decimal | None] = {}
    for key, usd in given:
        if key in tiers:
            raise invalid("tiers", f"The tier of {key[0]} of the same size and service tier is given twice.")
        tiers[key] = usd
    return tiers


def tier_name(tier: PriceTier) -> str:
    """As `parse_tier` reads it, without the amount."""
    service = f"@{tier.service_tier}" if tier.service_tier not in (USUAL, BOUND) else ""
    return f"{PRICE_FIELDS[tier.unit]}{service}" + (f">{tier.above}" if tier.above else "")


def _shifted(number: Decimal, digits: int) -> Decimal:
    """Times 10^digits; Decimal's own operations round to the digits of its context."""
    sign, figures, exponent = number.as_tuple()
    return Decimal((sign, figures, int(exponent) + digits))
