"""A price as it was given: what it becomes, and whether its unit may be mistaken."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple, cast

from admin_api.operations.models.price_fields import (
    BY_THE_MILLION,
    MAX_USD,
    PRICE_FIELDS,
    TierKey,
    shown_usd,
    tier_name,
)
from admin_api.operations.validation import check_word, invalid, invalid_now, unconfirmed
from admin_api.storage.prices import PriceVersion
from gateway.domain.calls import Usage
from gateway.domain.errors import GatewayError
from gateway.domain.money import decimal_text
from gateway.domain.prices import CHARGES, PRICE_UNITS, USUAL, Charge, Price, PriceTier, cost_nano_usd

MAX_TIERS: Final = 100
MAX_EXPONENT: Final = 30
# Those whose calls take neither tokens of a prompt and an answer, nor always both.
OTHER_MODES: Final = frozenset({
    "embedding", "rerank", "moderation", "image_generation", "image_edit", "audio_speech", "audio_transcription",
    "video_generation", "ocr", "search",
})  # fmt: skip
# By such a factor a price per thousand or per token differs from one per million.
DOUBTFUL_FACTOR: Final = 100
# USD for a million tokens: beyond these a price is doubted where there is no other to compare it with.
CHEAPEST_LIKELY: Final = Decimal("0.001")
DEAREST_LIKELY: Final = Decimal(10_000)
ORDINARY_CALL: Final = Usage(prompt_tokens=1000, completion_tokens=500)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceInput:
    """USD for one of each unit, and of tiers; None takes a price away. What is left out keeps the price in force, or
    has none with `replace`. In force from `effective_at`, else at once; with `corrects`, from when that version was."""

    units: Mapping[str, Decimal | None] = field(default_factory=dict)
    tiers: Mapping[TierKey, Decimal | None] = field(default_factory=dict)
    charge: str | None = None
    replace: bool = False
    effective_at: datetime | None = None
    corrects: int | None = None
    reason: str | None = None
    confirmed: bool = False


def merge(input_: PriceInput, old: PriceVersion | None, mode: str | None) -> Price:
    """The whole price that `old` becomes. Raises GatewayError `validation_failed`."""
    if not (input_.units or input_.tiers or input_.charge is not None):
        raise invalid("input_per_million_usd", "Say which price, tier or charge is to change.")
    base = old.price if old is not None and not input_.replace else Price(id=0)
    units = {unit: getattr(base, unit) for unit in PRICE_UNITS} | dict(input_.units)
    tiers = {(tier.unit, tier.above, tier.service_tier): tier.usd for tier in base.tiers} | dict(input_.tiers)
    if input_.charge is not None:
        charge = check_word("charge", input_.charge, CHARGES)
    else:
        charge = old.price.charge if old is not None and old.source == "admin" else "own"
    known = tuple(PriceTier(*key, usd) for key, usd in sorted(tiers.items()) if usd is not None)
    if len(known) > MAX_TIERS:
        raise invalid_now("tiers", f"A price may have at most {MAX_TIERS} tiers.")
    for given in (*input_.units.values(), *input_.tiers.values()):
        _check_usd(given)
    rates: dict[str, Any] = units
    price = Price(id=0, **rates, tiers=known, charge=cast(Charge, charge), unusable=base.unusable)
    _check_is_complete(price, mode)
    return price


def _check_usd(usd: Decimal | None) -> None:
    if usd is not None and not (usd.is_finite() and 0 <= usd <= MAX_USD and abs(usd.adjusted()) <= MAX_EXPONENT):
        raise invalid("input_per_million_usd", "A price must be a decimal number of USD from 0.")


def _check_is_complete(price: Price, mode: str | None) -> None:
    """What a call takes must not be free because nobody set its price."""
    if not price.is_known:
        raise invalid_now("input_per_million_usd", "Set the price of at least one unit. 0 is a price.")
    if mode in OTHER_MODES:
        return
    missing = [PRICE_FIELDS[unit] for unit in ("input", "output") if getattr(price, unit) is None]
    if missing:
        raise invalid_now(
            missing[0], f"Without {' and '.join(missing)}, these tokens would be free. Set it; 0 is a price."
        )


class Doubt(NamedTuple):
    """A price whose unit may be mistaken: its name, what was given, and what it is compared with; None: nothing."""

    name: str
    usd: Decimal
    expected: Decimal | None

    def __str__(self) -> str:
        expected = "" if self.expected is None else f", not about {decimal_text(self.expected)}"
        return f"{self.name} {decimal_text(self.usd)} USD{expected}"


def find_doubts(price: Price, old: Price | None, litellm: Price | None) -> Sequence[Doubt]:
    """Changed prices that differ from LiteLLM's, or else from the old ones, by a factor of 100."""
    everything = [PriceTier(unit, 0, USUAL, usd) for unit in PRICE_UNITS if (usd := getattr(price, unit)) is not None]
    found = []
    for tier in (*everything, *price.tiers):
        key = (tier.unit, tier.above, tier.service_tier)
        if not tier.usd or (old is not None and old.rate(*key) == tier.usd):
            continue
        rates = (other.rate(*key) for other in (litellm, old) if other is not None)
        expected = next((usd for usd in rates if usd), None)
        if _is_far(tier, expected):
            shown = None if expected is None else shown_usd(tier.unit, expected)
            found.append(Doubt(tier_name(tier), shown_usd(tier.unit, tier.usd), shown))
    return found


def _is_far(tier: PriceTier, expected: Decimal | None) -> bool:
    if expected is None:
        return tier.unit in BY_THE_MILLION and not CHEAPEST_LIKELY <= shown_usd(tier.unit, tier.usd) <= DEAREST_LIKELY
    less, more = sorted((tier.usd, expected))
    return more >= less * DOUBTFUL_FACTOR


def doubt(doubts: Sequence[Doubt]) -> GatewayError:
    """The error for prices that need a confirmation."""
    return unconfirmed(f"Is the unit right? {'; '.join(map(str, doubts[:3]))}.")


def ordinary_nano_usd(version: PriceVersion | None) -> int | None:
    """What a call of 1,000 tokens in and 500 out costs; None: the model has no price."""
    return cost_nano_usd(version.price, ORDINARY_CALL) if version is not None and version.price.is_known else None
