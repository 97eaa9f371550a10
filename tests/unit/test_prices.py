"""The cost of a call: whole nano-USD, rounded up once; the prices of cached and reasoning tokens."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.calls import NO_USAGE, Usage
from gateway.domain.prices import Price, cost_nano_usd

PER_MILLION = Decimal(1) / 1_000_000


def price(**units: str | Decimal) -> Price:
    return Price(id=1, **{name: Decimal(unit) for name, unit in units.items()})


def test_tokens_cost_their_own_price() -> None:
    cost = cost_nano_usd(
        price(input="0.00000015", output="0.0000006"), Usage(prompt_tokens=1000, completion_tokens=500)
    )

    assert cost == 150_000 + 300_000


def test_a_cost_is_rounded_up_once_for_a_call_and_not_for_each_unit() -> None:
    # 0.4 nano-USD each: three cost 1.2.
    tenths = price(input="0.0000000004", output="0.0000000004", cached_input="0.0000000004")

    assert cost_nano_usd(tenths, Usage(prompt_tokens=2, completion_tokens=1, cached_tokens=1)) == 2
    assert cost_nano_usd(tenths, Usage(prompt_tokens=1)) == 1
    assert cost_nano_usd(tenths, Usage(prompt_tokens=5)) == 2


def test_cached_tokens_are_part_of_the_prompt_and_cost_their_own_price() -> None:
    units = price(input="0.000001", output="0", cached_input="0.0000001", cache_write="0.00000125")
    usage = Usage(prompt_tokens=100, cached_tokens=60, cache_write_tokens=30)

    assert cost_nano_usd(units, usage) == 10 * 1000 + 60 * 100 + 30 * 1250


def test_reasoning_tokens_are_part_of_the_completion_and_cost_their_own_price() -> None:
    units = price(input="0", output="0.000001", reasoning="0.000003")

    assert cost_nano_usd(units, Usage(completion_tokens=100, reasoning_tokens=80)) == 20 * 1000 + 80 * 3000


@pytest.mark.parametrize(
    "usage",
    [
        Usage(prompt_tokens=100, cached_tokens=60),
        Usage(prompt_tokens=100, cache_write_tokens=60),
        Usage(completion_tokens=100, reasoning_tokens=60),
    ],
)
def test_tokens_without_their_own_price_cost_the_price_of_the_whole(usage: Usage) -> None:
    assert cost_nano_usd(price(input="0.000001", output="0.000001"), usage) == 100_000


def test_tokens_with_a_price_of_zero_cost_nothing() -> None:
    units = price(input="0.000001", cached_input="0")

    assert cost_nano_usd(units, Usage(prompt_tokens=100, cached_tokens=60)) == 40_000


def test_more_cached_tokens_than_prompt_tokens_do_not_lower_the_cost() -> None:
    units = price(input="0.000001", cached_input="0.0000005")

    assert cost_nano_usd(units, Usage(prompt_tokens=10, cached_tokens=20)) == 20 * 500


def test_units_beside_tokens_are_added() -> None:
    units = price(per_request="0.01", image="0.04", character="0.000015", query="0.002")

    assert (
        cost_nano_usd(units, Usage(images=2, characters=1000, queries=3))
        == 10_000_000 + 80_000_000 + 15_000_000 + 6_000_000
    )
    assert cost_nano_usd(units, NO_USAGE) == 10_000_000


def test_a_unit_without_a_price_is_not_charged() -> None:
    usage = Usage(prompt_tokens=10, completion_tokens=10, images=3, characters=4, queries=5)

    assert cost_nano_usd(price(output="0.000001"), usage) == 10_000


def test_a_price_is_known_if_any_unit_has_one_even_zero() -> None:
    assert not Price(id=1).is_known
    assert not price(cached_input="0.1", cache_write="0.1", reasoning="0.1").is_known
    assert all(price(**{unit: "0"}).is_known for unit in ("input", "output", "per_request", "image", "second", "query"))


def test_large_calls_are_counted_to_the_nano_dollar() -> None:
    units = price(input="0.000123456789", output="0.000987654321")

    assert cost_nano_usd(units, Usage(prompt_tokens=10**9 + 1, completion_tokens=10**9 + 1)) == (
        (123_456_789 + 987_654_321) * (10**9 + 1) // 1000 + 1
    )


@given(
    tokens=st.tuples(*[st.integers(0, 10**7)] * 4),
    units=st.tuples(*[st.decimals(0, Decimal("0.001"), places=12)] * 4),
)
def test_a_charge_exceeds_the_exact_cost_by_less_than_a_nano_dollar(
    tokens: tuple[int, ...], units: tuple[Decimal, ...]
) -> None:
    fresh, cached, written, thought = tokens
    usage = Usage(
        prompt_tokens=fresh + cached,
        cached_tokens=cached,
        completion_tokens=written + thought,
        reasoning_tokens=thought,
    )
    prices = Price(id=1, input=units[0], cached_input=units[1], output=units[2], reasoning=units[3])

    exact = sum(Decimal(n) * unit for n, unit in zip(tokens, units, strict=True)) * 10**9

    assert 0 <= cost_nano_usd(prices, usage) - exact < 1
