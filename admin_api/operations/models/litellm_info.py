"""Parses LiteLLM's response to `GET /model/info`, without I/O. Missing values are None, which is not 0."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from admin_api.operations.models.litellm_prices import merge_prices, parse_price
from admin_api.storage.models import ModelInfo
from gateway.domain.prices import SEVERAL, Price

MAX_NAME: Final = 255
MAX_TOKENS: Final = 2**53 - 1


class ModelInfoError(Exception):
    """A response that is not a list of models. The message describes the problem."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenModel(ModelInfo):
    """A model of LiteLLM, with all its deployments. `price` is None if LiteLLM reports none; `unused` are price fields
    by which nothing is charged."""

    name: str
    price: Price | None
    unused: Sequence[str]
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
    parsed = [parse_price(info) for info in infos]
    known = [one.price for one in parsed if one.price is not None]
    price = merge_prices(known) if known else None
    do_prices_differ = any(one.price != parsed[0].price for one in parsed)
    if price is not None and do_prices_differ:
        price = replace(price, unusable=(*price.unusable, SEVERAL))
    return SeenModel(
        name=name,
        provider=_first_text(infos, "litellm_provider", maximum=100),
        mode=_first_text(infos, "mode", maximum=50),
        max_input_tokens=_least_tokens(infos, "max_input_tokens"),
        max_output_tokens=_least_tokens(infos, "max_output_tokens"),
        capabilities=_common_capabilities(infos),
        deployments=len(infos),
        price=price,
        unused=sorted({name for one in parsed for name in one.unused}),
        do_prices_differ=do_prices_differ,
    )


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
