"""Parses LiteLLM's response to `GET /model/info`, without I/O. Missing values are None, which is not 0."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from admin_api.storage.models import ModelInfo
from gateway.domain.prices import PRICE_UNITS

MAX_NAME: Final = 255
MAX_TOKENS: Final = 2**53 - 1
# USD per unit. Values beyond these bounds are mistakes.
MAX_USD: Final = Decimal(1_000_000)
MIN_EXPONENT: Final = -30


class ModelInfoError(Exception):
    """A response that is not a list of models. The message describes the problem."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenModel(ModelInfo):
    """A model of LiteLLM, with all its deployments. `units` is empty if LiteLLM reports no price."""

    name: str
    units: Mapping[str, Decimal]
    do_prices_differ: bool


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The models of LiteLLM. `skipped` are names that clients could not use (wildcards, with commas, too long)."""

    models: tuple[SeenModel, ...]
    skipped: tuple[str, ...]


def parse_model_info(text: str | bytes) -> Catalogue:
    """Raises ModelInfoError. Prices are parsed as decimals from the JSON text, not as floats."""
    try:
        answer = json.loads(text, parse_float=Decimal, parse_constant=lambda _: None)
    except ValueError as exc:
        raise ModelInfoError(f"it is not JSON: {exc}") from None
    except RecursionError:
        raise ModelInfoError("it is nested too deeply") from None
    entries = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(entries, list):
        raise ModelInfoError("it has no list 'data'")
    deployments: dict[str, list[Mapping[str, Any]]] = {}
    skipped: dict[str, None] = {}
    for entry in entries:
        name = entry.get("model_name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not _is_callable(name):
            # The report is stored in Postgres, which accepts neither NUL nor lone surrogates.
            skipped["".join(c if c.isprintable() or c.isspace() else "\ufffd" for c in str(name)[:MAX_NAME])] = None
            continue
        info = entry.get("model_info")
        deployments.setdefault(name, []).append(info if isinstance(info, dict) else {})
    models = tuple(_merge(name, infos) for name, infos in deployments.items())
    return Catalogue(models, tuple(skipped))


def _is_callable(name: str) -> bool:
    # LiteLLM reads a comma as a list of models, and an asterisk as a pattern.
    return 0 < len(name) <= MAX_NAME and name.isprintable() and name == name.strip() and not set(",*") & set(name)


def _merge(name: str, infos: Sequence[Mapping[str, Any]]) -> SeenModel:
    """Merges the deployments of a model: the capabilities common to all, and the highest price per unit, because
    LiteLLM may choose any deployment and budgets must hold."""
    prices = [_units(info) for info in infos]
    known = [units for units in prices if units]
    highest = {
        unit: max(units[unit] for units in known if unit in units) for unit in PRICE_UNITS if _is_in(unit, known)
    }
    return SeenModel(
        name=name,
        provider=_first_text(infos, "litellm_provider", maximum=100),
        mode=_first_text(infos, "mode", maximum=50),
        max_input_tokens=_least_tokens(infos, "max_input_tokens"),
        max_output_tokens=_least_tokens(infos, "max_output_tokens"),
        capabilities=_common_capabilities(infos),
        deployments=len(infos),
        units=highest,
        do_prices_differ=any(units != prices[0] for units in prices),
    )


def _units(info: Mapping[str, Any]) -> dict[str, Decimal]:
    """The price of one deployment. LiteLLM also reports zeros for unknown prices: if all are zero, they count only if
    they were configured (`pricing_overrides`)."""
    overrides = info.get("pricing_overrides")
    configured = set(overrides) if isinstance(overrides, list) and all(isinstance(o, str) for o in overrides) else set()
    units: dict[str, Decimal] = {}
    is_configured = False
    for unit, facts in PRICE_UNITS.items():
        for field in facts.litellm:
            usd = _usd(info.get(field))
            if usd is not None:
                units[unit] = usd
                is_configured = is_configured or field in configured
                break
    if info.get("mode") == "image_generation":
        _add_image_tokens(info, units)
    return units if is_configured or any(units.values()) else {}


def _add_image_tokens(info: Mapping[str, Any], units: dict[str, Decimal]) -> None:
    # The output of an image model is image tokens. LiteLLM prices these separately and the other tokens at 0.
    image_token = _usd(info.get("output_cost_per_image_token"))
    if image_token is not None and not units.get("output"):
        units["output"] = image_token
    per_image = _usd(info.get("input_cost_per_image"))
    if per_image is not None:
        units.setdefault("image", per_image)


def _usd(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        return None
    try:
        usd = Decimal(value)
    except InvalidOperation:
        return None
    if not usd.is_finite() or not 0 <= usd <= MAX_USD or (usd and usd.adjusted() < MIN_EXPONENT):
        return None
    return usd


def _is_in(unit: str, prices: Sequence[Mapping[str, Decimal]]) -> bool:
    return any(unit in units for units in prices)


def _first_text(infos: Sequence[Mapping[str, Any]], field: str, *, maximum: int) -> str | None:
    for info in infos:
        value = info.get(field)
        if isinstance(value, str) and 0 < len(value) <= maximum and value.isprintable():
            return value
    return None


def _least_tokens(infos: Sequence[Mapping[str, Any]], field: str) -> int | None:
    values = [_tokens(info.get(field)) for info in infos]
    return min((tokens for tokens in values if tokens is not None), default=None)


def _tokens(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not 0 < value <= MAX_TOKENS:
        return None
    return int(value) if value == int(value) else None


def _common_capabilities(infos: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    each = [
        {key.removeprefix("supports_") for key, value in info.items() if key.startswith("supports_") and value is True}
        for info in infos
    ]
    return tuple(sorted(word for word in set.intersection(*each) if word.isprintable() and len(word) <= MAX_NAME))
