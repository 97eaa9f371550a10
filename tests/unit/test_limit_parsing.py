"""Parsing of amounts, windows and bursts that users enter."""

from decimal import Decimal

import pytest

from admin_api.operations.limits.parsing import (
    check_amount,
    check_burst,
    check_kind,
    check_window,
    parse_amount,
    parse_decimal,
    parse_usd,
)
from gateway.domain.errors import GatewayError
from gateway.domain.limits import KINDS, MAX_AMOUNT, WINDOWED_KINDS, Kind
from gateway.domain.windows import WINDOW_KINDS


@pytest.mark.parametrize(
    ("text", "nano_usd"), [("0.45", 450_000_000), ("0", 0), ("10", 10**10), ("0.000000001", 1), ("1e-3", 10**6)]
)
def test_usd_are_converted_to_nano_usd_exactly(text: str, nano_usd: int) -> None:
    assert parse_usd("amount", text) == nano_usd


@pytest.mark.parametrize("text", ["0.0000000001", "-1", "", "x", "NaN", "Infinity", "1e30", "0x10", "1,5"])
def test_an_invalid_usd_amount_is_refused(text: str) -> None:
    with pytest.raises(GatewayError, match="amount"):
        parse_usd("amount", text)


@pytest.mark.parametrize("kind", KINDS)
def test_unlimited_is_accepted_for_every_kind(kind: Kind) -> None:
    assert parse_amount(kind, "unlimited") is None


@pytest.mark.parametrize("text", ["-1", "1.5", "", "1e3", "ten", "٣"])
def test_a_count_must_be_a_whole_number(text: str) -> None:
    with pytest.raises(GatewayError):
        parse_amount("requests", text)


@pytest.mark.parametrize("amount", [-1, MAX_AMOUNT + 1])
def test_an_amount_above_the_counter_range_is_refused(amount: int) -> None:
    with pytest.raises(GatewayError):
        check_amount("tokens", amount, Decimal(1))


@pytest.mark.parametrize("amount", [0, 1, MAX_AMOUNT])
def test_amounts_up_to_the_counter_maximum_are_accepted(amount: int) -> None:
    assert check_amount("cost", amount, Decimal(1)) == amount


def test_a_burst_that_exceeds_the_counter_range_is_refused() -> None:
    assert check_amount("tpm", 10**11, Decimal(1)) == 10**11
    with pytest.raises(GatewayError):
        check_amount("tpm", 10**11, Decimal("1.001"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("window", [None, *WINDOW_KINDS, "hour", ""])
def test_a_window_is_required_or_refused_by_kind(kind: Kind, window: str | None) -> None:
    is_right = window in WINDOW_KINDS if kind in WINDOWED_KINDS else window is None
    if is_right:
        assert check_window(kind, window) == window
        return

    with pytest.raises(GatewayError) as caught:
        check_window(kind, window)

    assert caught.value.param == "window"


def test_only_rate_limits_have_a_burst() -> None:
    assert check_burst("rpm", Decimal("1.5")) == Decimal("1.5")
    with pytest.raises(GatewayError):
        check_burst("tokens", Decimal(2))


@pytest.mark.parametrize("burst", ["0.999", "1000.001", "1.0001", "0"])
def test_a_burst_outside_the_range_of_the_schema_is_refused(burst: str) -> None:
    with pytest.raises(GatewayError):
        check_burst("rpm", parse_decimal("burst", burst))


def test_the_error_for_an_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(GatewayError, match="rpm, tpm, concurrency, requests, tokens, cost"):
        check_kind("budget")
