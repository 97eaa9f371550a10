"""D3: prices of long prompts, of service tiers and of cache lives, as LiteLLM's fields have them."""

import json
from decimal import Decimal
from typing import Any

import pytest

from admin_api.operations.models.litellm_info import parse_model_info
from admin_api.operations.models.litellm_prices import parse_price
from admin_api.operations.models.price_fields import parse_tier
from gateway.domain.calls import Usage
from gateway.domain.errors import GatewayError
from gateway.domain.prices import (
    BOUND,
    PRICE_COLUMNS,
    PRICE_UNITS,
    SEVERAL,
    Price,
    PriceTier,
    cost_nano_usd,
    dearest_nano_usd,
    price_of,
    write_tiers,
)

FLAT = {"input_cost_per_token": 1e-06, "output_cost_per_token": 4e-06}
LONG = {"input_cost_per_token_above_200k_tokens": 2e-06, "output_cost_per_token_above_200k_tokens": 6e-06}


def price_from(**info: Any) -> Price:
    """The price of a deployment, as LiteLLM writes it."""
    body = json.dumps({"data": [{"model_name": "m", "model_info": info}]})
    (model,) = parse_model_info(body).models
    assert model.price is not None
    return model.price


def decimals(info: dict[str, Any]) -> dict[str, Any]:
    """As the JSON is read."""
    return {name: Decimal(str(value)) for name, value in info.items()}


def usage(prompt: int, completion: int = 0, **more: Any) -> Usage:
    return Usage(prompt_tokens=prompt, completion_tokens=completion, **more)


@pytest.mark.parametrize(("prompt", "nano_usd"), [(200_000, 200_000_000 + 4000), (200_001, 400_002_000 + 6000)])
def test_d3_a_prompt_above_a_size_takes_the_price_of_that_size_whole(prompt: int, nano_usd: int) -> None:
    assert cost_nano_usd(price_from(**FLAT, **LONG), usage(prompt, 1)) == nano_usd


def test_d3_xai_counts_the_size_itself_as_above_it() -> None:
    price = price_from(**FLAT, **LONG, litellm_provider="xai")

    assert cost_nano_usd(price, usage(200_000)) == 400_000_000
    assert cost_nano_usd(price, usage(199_999)) == 199_999_000


def test_d3_a_service_tier_has_its_own_price_and_the_answer_decides_which() -> None:
    price = price_from(**FLAT, input_cost_per_token_priority=9e-06, input_cost_per_token_flex=5e-07)

    assert cost_nano_usd(price, usage(10), "priority") == cost_nano_usd(price, usage(10), "fast") == 90_000
    assert cost_nano_usd(price, usage(10), "flex") == 5000
    assert cost_nano_usd(price, usage(10), "scale") == cost_nano_usd(price, usage(10)) == 10_000
    assert cost_nano_usd(price, usage(10, service_tier="default"), "priority") == 10_000
    assert cost_nano_usd(price, usage(10, service_tier="priority"), "flex") == 90_000


def test_d3_a_cache_kept_for_an_hour_has_its_own_price() -> None:
    price = price_from(
        **FLAT, cache_creation_input_token_cost=1.25e-06, cache_creation_input_token_cost_above_1hr=2e-06,
        cache_creation_input_token_cost_above_1hr_above_200k_tokens=4e-06,
    )  # fmt: skip
    written = {"cache_write_tokens": 100, "cache_write_1h_tokens": 40}

    assert cost_nano_usd(price, usage(100, **written)) == 60 * 1250 + 40 * 2000
    assert cost_nano_usd(price, usage(200_100, **written)) == 200_000 * 1000 + 60 * 1250 + 40 * 4000


def test_a_tier_without_a_price_of_its_own_takes_that_of_the_size_then_the_usual_one() -> None:
    price = price_from(**FLAT, **LONG, input_cost_per_token_priority=9e-06)

    # LiteLLM: above a size, its usual price goes before that of the tier below the size.
    assert cost_nano_usd(price, usage(200_001), "priority") == 200_001 * 2000
    assert cost_nano_usd(price, usage(1, 1), "priority") == 9000 + 4000


def test_dashscopes_table_of_sizes_stands_over_the_other_prices() -> None:
    rows = [
        {"range": [0, 1000], "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06},
        {"range": [1000, 9000], "input_cost_per_token": 3e-06, "output_cost_per_token": 5e-06,
         "cache_read_input_token_cost": 3e-07},
    ]  # fmt: skip
    price = price_from(input_cost_per_token=7e-06, output_cost_per_token=7e-06, tiered_pricing=rows)

    assert cost_nano_usd(price, usage(1000, 1, cached_tokens=500)) == 1000 * 1000 + 2000
    assert cost_nano_usd(price, usage(1001, 1, cached_tokens=500)) == 501 * 3000 + 500 * 300 + 5000
    assert cost_nano_usd(price, usage(99_999)) == 99_999 * 3000


def test_what_is_not_counted_apart_is_a_bound_and_is_named() -> None:
    info = FLAT | {
        "input_cost_per_image_token": 5e-06, "regional_processing_uplift_multiplier_eu": 1.1,
        "cache_read_input_token_cost_decisions": 8e-06, "input_cost_per_token_batches": 5e-07,
    }  # fmt: skip
    parsed = parse_price(decimals(info))

    assert parsed.price is not None
    assert sorted(parsed.unused) == [
        "cache_read_input_token_cost_decisions", "input_cost_per_image_token",
        "regional_processing_uplift_multiplier_eu",
    ]  # fmt: skip
    assert parsed.price.unusable == ()
    assert cost_nano_usd(parsed.price, usage(10, 10)) == 50_000
    # The dearest price of a prompt's token, a tenth more.
    assert dearest_nano_usd(parsed.price, usage(10)) == 88_000
    assert dearest_nano_usd(parsed.price, usage(0, 10)) == 44_000


@pytest.mark.parametrize(
    "name",
    ["input_cost_per_video_per_second", "citation_cost_per_token", "output_cost_per_pixel", "cost_per_new_thing"],
)
def test_a_price_field_without_a_bound_is_unusable_and_named(name: str) -> None:
    parsed = parse_price(decimals(FLAT | {name: 0.5}))

    assert parsed.unused == (name,)
    assert parsed.price is not None
    assert parsed.price.unusable == (name,)
    assert parse_price(decimals(FLAT) | {name: 0}).unused == parse_price(decimals(FLAT) | {name: None}).unused == ()


def test_fees_of_searches_are_read_from_their_own_forms() -> None:
    sizes = {"search_context_size_low": 0.01, "search_context_size_medium": 0.02, "search_context_size_high": 0.05}
    price = price_from(**FLAT, search_context_cost_per_query=sizes, file_search_cost_per_1k_calls=2.5)

    assert cost_nano_usd(price, Usage(web_searches=3, file_searches=2)) == 60_000_000 + 5_000_000
    assert dearest_nano_usd(price, Usage(web_searches=3)) == 150_000_000


def test_deployments_are_merged_to_the_dearest_of_each_size_and_tier() -> None:
    one = FLAT | LONG
    other = {"input_cost_per_token": 5e-06, "output_cost_per_token": 1e-06, "output_cost_per_token_priority": 9e-06}
    body = json.dumps({"data": [{"model_name": "m", "model_info": info} for info in (one, other)]})
    (model,) = parse_model_info(body).models
    assert model.price is not None

    assert model.price.unusable == (SEVERAL,)
    assert cost_nano_usd(model.price, usage(10, 10)) == 10 * 5000 + 10 * 4000
    assert cost_nano_usd(model.price, usage(200_001, 10)) == 200_001 * 5000 + 10 * 6000
    assert cost_nano_usd(model.price, usage(10, 10), "priority") == 10 * 5000 + 10 * 9000


def test_a_price_is_read_from_its_row_as_it_was_written() -> None:
    price = Price(
        id=7, input=Decimal("0.000001"), cache_write_1h=Decimal("1E-7"), charge="own", unusable=("x",),
        tiers=(PriceTier("input", 200_000, "priority", Decimal("1.5E-7")), PriceTier("output", 0, BOUND, Decimal(1))),
    )  # fmt: skip
    row: dict[str, Any] = dict.fromkeys(PRICE_COLUMNS) | {unit: getattr(price, unit) for unit in PRICE_UNITS}
    row |= {"id": 7, "source": "litellm", "charge": "own", "tiers": write_tiers(price.tiers), "unusable": ["x"]}

    assert price_of(row) == price
    assert price_of(row | {"charge": None}).charge == "higher"
    assert price_of(row | {"charge": None, "source": "admin"}).charge == "own"


def test_a_tier_is_written_on_a_command_line_as_unit_tier_size_and_price() -> None:
    assert parse_tier("input_per_million_usd>200000=6") == (("input", 200_000, ""), Decimal("0.000006"))
    assert parse_tier("output-per-million-usd@priority=1E6") == (("output", 0, "priority"), Decimal(1))
    assert parse_tier("web_search_usd@priority=unknown") == (("web_search", 0, "priority"), None)
    for text in (
        "input_per_million_usd", "input_per_million_usd>x=1", "=1", "input_per_million_usd@=1", "input>200000=6",
        "input_per_million_usd=6", "input_per_million_usd@gold=6",
    ):  # fmt: skip
        with pytest.raises(GatewayError):
            parse_tier(text)
