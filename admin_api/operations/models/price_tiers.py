"""A tier of a price as text: `unit[@service_tier][>tokens]=usd`, as `input@priority>200000=0.000012`."""

import re
from typing import Final

from admin_api.operations.limits.parsing import parse_decimal
from admin_api.operations.validation import invalid
from gateway.domain.prices import PriceTier

_TIER: Final = re.compile(r"(?P<unit>\w+)(@(?P<service_tier>\w+))?(>(?P<above>\d{1,15}))?=(?P<usd>.+)")


def parse_tier(text: str) -> PriceTier:
    """Raises GatewayError `validation_failed`."""
    match = _TIER.fullmatch(text.strip())
    if match is None:
        raise invalid(
            "tier", f"'{text}' is not unit@service_tier>tokens=USD, of which @service_tier or >tokens may lack."
        )
    usd = parse_decimal("tier", match["usd"])
    return PriceTier(match["unit"], int(match["above"] or 0), match["service_tier"] or "", usd)
