"""The table of endings: the charge and the ledger row for each way a call can end."""

from dataclasses import replace
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import pytest
from msgspec import structs

from gateway.domain.call_shapes import Media
from gateway.domain.calls import Ending, Usage
from gateway.domain.grants import Grant, KeyRecord
from gateway.domain.ids import uuid7
from gateway.domain.prices import Price
from gateway.domain.usage_rows import UsageRow
from gateway.endpoints.audio import tokens_of_sound
from gateway.endpoints.requests import Call
from gateway.record import Outcome, make_row
from gateway.reservation import Reservation
from gateway.storage.counters.scripts import Estimate, Settlement

REQUEST_ID: Final[UUID] = uuid7(1_800_000_000_123, b"0123456789")
# 1 and 2 USD a million tokens.
PRICE: Final = Price(id=7, input=Decimal("0.000001"), output=Decimal("0.000002"))
GRANT: Final = Grant(
    model_id=3, model_name="m", owned_by="x", max_output_tokens=None, subscription_id=4, subscription_expires_at=None,
    price=PRICE, limits=(), scopes="k1",
)  # fmt: skip
RECORD: Final = KeyRecord(
    key_id=1, account_id=2, user_id=5, time_zone="UTC", epoch=0, is_account_active=True, is_user_active=True,
    is_revoked=False, expires_at=None, allowed_ips=(), grants={"m": GRANT},
)  # fmt: skip
CALL: Final = Call(
    model="m", body=b"", is_streamed=True, wants_usage=False, prompt_tokens=10.0, prompt_bytes=40, maximum=None,
    choices=1,
)  # fmt: skip
ESTIMATE: Final = Estimate(tokens=(10, 100, 0), cost=(0, 0, 0))
REPORTED: Final = Usage(prompt_tokens=11, completion_tokens=6)
NOTHING: Final = (0, 0, 0)


def row_of(
    ending: Ending,
    *,
    usage: Usage | None = None,
    passed: int = 0,
    call: Call = CALL,
    grant: Grant = GRANT,
    served_price: Price | None = None,
    **more: Any,
) -> UsageRow:
    about = {
        "ending": ending,
        "status": 200,
        "usage": usage,
        "litellm_nano_usd": None,
        "model_served": "served",
        "passed_tokens": passed,
        "has_passed": passed > 0,
        "first_byte_at": 0.02,
    }
    outcome = Outcome(**(about | more))
    units, is_estimate = call.expected_units(grant.price)
    # As admission makes it: tokens are estimated, but for media.
    expected = structs.replace(units, prompt_tokens=10, completion_tokens=100) if call.media is None else units
    reservation = Reservation(
        request_id=REQUEST_ID, client_request_id="mine", record=RECORD, grant=grant,
        expected=expected, expected_is_estimate=is_estimate,
        raw_prompt_tokens=10.0,
        choices=1, is_leased=True, counts_tokens=False, estimate=ESTIMATE, note=b"", headers=[],
    )  # fmt: skip
    return make_row(
        reservation, endpoint="chat_completions", call=call, outcome=outcome, started_at=0.0, ended_at=0.05,
        served_price=served_price,
    )  # fmt: skip


def charged(row: UsageRow) -> tuple[int, int, int]:
    """Prompt and completion tokens, and requests of a window."""
    return row.prompt_tokens, row.completion_tokens, row.counted_requests


@pytest.mark.parametrize(("ending", "usage", "passed", "expected", "why"), [
    ("completed", REPORTED, 5, (11, 6, 1), None),
    ("completed", None, 5, (10, 5, 1), "no_usage"),
    ("completed", None, 0, (10, 0, 1), "no_usage"),
    ("client_disconnected", None, 5, (10, 5, 1), "hung_up"),
    ("client_disconnected", None, 0, (10, 100, 1), "hung_up"),
    ("client_disconnected", REPORTED, 5, (11, 6, 1), None),
    ("upstream_error", None, 5, (10, 5, 1), "cut_off"),
    ("upstream_error", None, 0, (0, 0, 1), "cut_off"),
    ("upstream_error", REPORTED, 5, (11, 6, 1), None),
    ("timeout", None, 5, (10, 5, 1), "cut_off"),
    ("timeout", None, 0, (0, 0, 1), "cut_off"),
    ("refused_upstream", None, 0, NOTHING, None),
    ("unreachable", None, 0, NOTHING, None),
])  # fmt: skip
def test_each_ending_is_charged_as_in_the_table(
    ending: Ending, usage: Usage | None, passed: int, expected: tuple[int, int, int], why: str | None
) -> None:
    row = row_of(ending, usage=usage, passed=passed)

    assert charged(row) == expected
    assert (row.ending, row.estimated_why, row.estimated) == (ending, why, why is not None)
    assert row.counted_tokens == row.prompt_tokens + row.completion_tokens
    assert row.cost_nano_usd == row.counted_nano_usd == 1000 * row.prompt_tokens + 2000 * row.completion_tokens


@pytest.mark.parametrize(
    ("about", "completion"),
    [
        ({"passed_tokens": 0, "has_passed": True}, 100),
        ({"passed_tokens": 0, "has_passed": True, "least_completion": 300}, 300),
        ({"passed_tokens": 0, "has_passed": False, "least_completion": 300}, 300),
        ({"passed_tokens": 7, "has_passed": True}, 7),
        ({"passed_tokens": 7, "has_passed": True, "least_completion": 300}, 300),
        ({"passed_tokens": 700, "has_passed": True, "least_completion": 300}, 700),
        # Read after the caller had left.
        ({"passed_tokens": 700, "has_passed": False}, 700),
        ({"passed_tokens": 0, "has_passed": True, "so_far": Usage(prompt_tokens=9, completion_tokens=1)}, 100),
        ({"passed_tokens": 5, "has_passed": True, "so_far": Usage(prompt_tokens=9, completion_tokens=400)}, 400),
    ],
)
def test_s3_who_leaves_is_charged_the_most_of_what_is_known(about: dict[str, Any], completion: int) -> None:
    row = row_of("client_disconnected", **about)

    assert (row.completion_tokens, row.estimated_why) == (completion, "hung_up")
    assert row.prompt_tokens == (9 if "so_far" in about else 10)


@pytest.mark.parametrize(("ending", "why"), [("client_disconnected", "hung_up"), ("upstream_error", "cut_off")])
def test_d6_usage_reported_before_an_early_end_is_charged_with_what_passed(ending: Ending, why: str) -> None:
    so_far = Usage(prompt_tokens=25_000, cached_tokens=20_000, completion_tokens=1)

    row = row_of(ending, passed=7, so_far=so_far)

    assert (charged(row), row.cached_tokens, row.estimated_why) == ((25_000, 7, 1), 20_000, why)


def test_only_a_call_that_was_never_sent_refunds_its_request_per_minute() -> None:
    kept = {ending: row_of(ending).counted_rate_requests for ending in ("unreachable", "refused_upstream", "timeout")}

    assert kept == {"unreachable": 0, "refused_upstream": 1, "timeout": 1}


@pytest.mark.parametrize("price", [None, Price(id=8)])
def test_without_a_price_the_cost_is_null_and_not_zero(price: Price | None) -> None:
    row = row_of("completed", usage=REPORTED, grant=replace(GRANT, price=price))

    assert (row.cost_nano_usd, row.counted_nano_usd) == (None, 0)
    assert row.price_id == (price.id if price else None)


def test_a_prompt_that_is_reported_as_nothing_beside_output_is_charged_by_its_estimate() -> None:
    row = row_of("completed", usage=Usage(completion_tokens=50))

    assert (charged(row), row.estimated_why) == ((10, 50, 1), "no_usage")


def test_a_price_of_zero_is_a_price() -> None:
    free = Price(id=9, input=Decimal(0), output=Decimal(0))

    assert row_of("completed", usage=REPORTED, grant=replace(GRANT, price=free)).cost_nano_usd == 0


def test_a_price_per_call_is_not_charged_if_it_was_refused_or_failed_before_the_first_byte() -> None:
    grant = replace(GRANT, price=Price(id=9, per_request=Decimal("0.5")))

    costs = [row_of(ending, grant=grant).cost_nano_usd for ending in ("refused_upstream", "unreachable", "timeout")]

    assert costs == [0, 0, 0]
    assert row_of("completed", usage=REPORTED, grant=grant).cost_nano_usd == 500_000_000


def test_a_free_call_counts_as_a_request_only() -> None:
    row = row_of("completed", passed=5, call=structs.replace(CALL, is_free=True))

    assert charged(row) == (0, 0, 1)
    assert (row.cost_nano_usd, row.estimated) == (0, False)


def test_units_known_from_the_request_are_charged_if_no_tokens_are_reported() -> None:
    grant = replace(GRANT, price=Price(id=9, image=Decimal("0.04")))
    call = structs.replace(CALL, units=Usage(images=3), media=Media("image", Usage(images=3)))

    row = row_of("completed", call=call, grant=grant)

    assert (charged(row), row.cost_nano_usd, row.estimated) == ((0, 0, 1), 120_000_000, False)


BY_TOKENS: Final = structs.replace(
    CALL, units=Usage(images=3),
    media=Media("image", Usage(images=3, prompt_tokens=4, completion_tokens=3000)),
)  # fmt: skip


def test_media_priced_by_tokens_are_estimated_if_no_tokens_are_reported() -> None:
    row = row_of("completed", call=BY_TOKENS)

    assert (charged(row), row.cost_nano_usd, row.estimated_why) == ((4, 3000, 1), 6_004_000, "no_usage")


@pytest.mark.parametrize("passed", [0, 5])
def test_a_disconnect_during_a_media_response_is_charged_the_whole_estimate(passed: int) -> None:
    row = row_of("client_disconnected", call=BY_TOKENS, passed=passed)

    assert (charged(row), row.estimated_why) == ((4, 3000, 1), "hung_up")


def test_audio_reported_in_seconds_is_converted_to_tokens_if_tokens_have_the_price() -> None:
    call = structs.replace(CALL, units=Usage(audio_ms=9000), media=Media("second", tokens_of_sound(9000)))
    by_second = replace(GRANT, price=Price(id=9, second=Decimal("0.001")))
    reported = Usage(audio_ms=6000)

    estimated = row_of("completed", usage=reported, call=call)
    known = row_of("completed", usage=reported, call=call, grant=by_second)

    assert (charged(estimated), estimated.estimated_why) == ((60, 20, 1), "no_usage")
    assert (charged(known), known.cost_nano_usd, known.estimated) == ((0, 0, 1), 6_000_000, False)


@pytest.mark.parametrize("nano_usd", [23_001, 0, None])
def test_a_row_keeps_the_cost_by_its_price_beside_the_one_that_litellm_reports(nano_usd: int | None) -> None:
    row = row_of("completed", usage=REPORTED, litellm_nano_usd=nano_usd)

    assert (row.own_cost_nano_usd, row.litellm_cost_nano_usd) == (23_000, nano_usd)


def test_texts_reported_by_the_upstream_are_cut_to_the_ledgers_columns() -> None:
    row = row_of("completed", usage=REPORTED, model_served="a\0b" + "c" * 1000, error_code="x\0y")

    assert row.model_served is not None
    assert row.model_served.startswith("abc")
    assert len(row.model_served) == 255
    assert row.error_code == "xy"


def test_a_row_has_the_request_id_and_the_time_inside_it() -> None:
    row = row_of("completed", usage=REPORTED)

    assert (row.request_id, row.started_at.timestamp()) == (REQUEST_ID, pytest.approx(1_800_000_000.123))
    ids = (row.account_id, row.user_id, row.api_key_id, row.subscription_id, row.model_id, row.price_id)
    assert ids == (2, 5, 1, 4, 3, 7)
    assert (row.model_asked, row.model_served, row.endpoint, row.streamed) == ("m", "served", "chat_completions", True)
    assert (row.first_byte_ms, row.total_ms) == (20, 50)


@pytest.mark.parametrize("ending", ["completed", "refused_upstream", "unreachable", "client_disconnected", "timeout"])
def test_limits_are_charged_exactly_what_the_row_has(ending: Ending) -> None:
    row = row_of(ending, usage=REPORTED if ending == "completed" else None, passed=5)

    settlement = Settlement.of(row)

    assert (settlement.account_id, settlement.request_id) == (row.account_id, row.request_id)
    assert settlement.requests_rate == row.counted_rate_requests
    assert settlement.requests_window == row.counted_requests
    assert (settlement.tokens, settlement.nano_usd) == (row.counted_tokens, row.counted_nano_usd)


@pytest.mark.parametrize("granted", [PRICE, None], ids=["granted has a price", "granted has none"])
def test_s1_another_model_of_the_catalogue_is_charged_by_its_own_price(granted: Price | None) -> None:
    other = Price(id=9, input=Decimal("0.00001"), output=Decimal("0.00003"))

    row = row_of("completed", usage=REPORTED, grant=replace(GRANT, price=granted), served_price=other)

    assert (row.cost_nano_usd, row.counted_nano_usd, row.price_id) == (11 * 10_000 + 6 * 30_000,) * 2 + (9,)
