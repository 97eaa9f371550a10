"""D3: whatever LiteLLM's prices are, what is charged is never below what LiteLLM says, and a cost limit that reserves
the maximum has reserved at least what is charged."""

from decimal import Decimal
from math import ceil, nextafter
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from admin_api.operations.models.litellm_prices import parse_price
from gateway.domain.calls import Usage
from gateway.domain.cost_bounds import CostBounds
from gateway.domain.grants import Grant, KeyRecord
from gateway.domain.ids import uuid7
from gateway.domain.limits import Limit
from gateway.domain.money import NANO_USD, nano_usd_rounded_up
from gateway.domain.paid_tools import PaidTool
from gateway.domain.prices import Charge, Price, dearest_nano_usd
from gateway.domain.reservation_plan import ReservationPlan, make_reservation_plan
from gateway.domain.usage_rows import UsageRow
from gateway.endpoints.requests import Call
from gateway.estimate import Estimator
from gateway.record import Outcome, make_row
from gateway.reservation import Reservation
from tests.price_oracle import TIERS, litellm_usd, price_tables, usages

AT = 1_800_000_000_123
REQUEST_ID: UUID = uuid7(AT, b"0123456789")
LIMIT = Limit(
    id=1, level="key", scope="k1", kind="cost", window="day", amount=10**12, burst=Decimal(1), reserve="maximum",
    shadow=False, set_by="admin", expires_at=None, epoch=0,
)  # fmt: skip


def granted(price: Price) -> tuple[KeyRecord, Grant, ReservationPlan]:
    grant = Grant(
        model_id=3, model_name="m", owned_by="x", max_output_tokens=None, subscription_id=4,
        subscription_expires_at=None, price=price, limits=(LIMIT,), scopes="k1",
    )  # fmt: skip
    record = KeyRecord(
        key_id=1, account_id=2, user_id=5, time_zone="UTC", epoch=0, is_account_active=True, is_user_active=True,
        is_revoked=False, expires_at=None, allowed_ips=(), grants={"m": grant},
    )  # fmt: skip
    return record, grant, make_reservation_plan(grant, "UTC", 0, AT)


def call_of(usage: Usage, tier: str | None, slack: int) -> Call:
    """A request that bounds what the answer reports."""
    tools = (PaidTool("web_search_20250305", "web_search", usage.web_searches),) if usage.web_searches else ()
    return Call(
        model="m", body=b"", is_streamed=True, wants_usage=True, prompt_tokens=1.0,
        prompt_bytes=usage.prompt_tokens + slack, maximum=usage.completion_tokens + slack, choices=1,
        service_tier=tier, paid_tools=tools,
    )  # fmt: skip


def row_of(price: Price, call: Call, usage: Usage, litellm: int | None) -> tuple[UsageRow, Reservation]:
    record, grant, plan = granted(price)
    estimate, expected, is_estimate = Estimator(CostBounds()).unlearned(grant, call, plan)
    reservation = Reservation(
        request_id=REQUEST_ID, record=record, grant=grant, expected=expected, expected_is_estimate=is_estimate,
        raw_prompt_tokens=1.0, choices=1, is_leased=True, counts_tokens=False, estimate=estimate, note=b"", headers=[],
    )  # fmt: skip
    outcome = Outcome(
        ending="completed", status=200, usage=usage, litellm_nano_usd=litellm, model_served=None, passed_tokens=0,
        has_passed=True, first_byte_at=None,
    )  # fmt: skip
    row = make_row(
        reservation, endpoint="chat_completions", call=call, outcome=outcome, started_at=0.0, ended_at=1.0
    )  # fmt: skip
    return row, reservation


@settings(max_examples=500, deadline=None)
@given(
    price_tables(), usages(), st.sampled_from([None, *TIERS]), st.sampled_from([None, "default", *TIERS]),
    st.integers(0, 50),
)  # fmt: skip
def test_d3_what_is_charged_is_never_below_what_litellm_says_and_never_above_what_was_reserved(
    info: dict[str, Any], usage: Usage, asked: str | None, served: str | None, slack: int
) -> None:
    price = parse_price(info).price
    assert price is not None
    answered = structs.replace(usage, service_tier=served)
    tier = asked if served is None else (None if served == "default" else served)
    exact = litellm_usd(info, usage, tier)
    # As LiteLLM writes it: a sum of floats, which may be a little more.
    litellm = nano_usd_rounded_up(nextafter(float(exact), 1e9))
    assert litellm is not None

    row, reservation = row_of(price, call_of(usage, asked, slack), answered, litellm)

    assert row.own_cost_nano_usd == ceil(exact * NANO_USD)
    assert row.litellm_cost_nano_usd == litellm
    assert row.cost_nano_usd == max(row.own_cost_nano_usd, litellm) == row.counted_nano_usd
    assert row.cost_nano_usd <= reservation.estimate.cost[2]


@settings(max_examples=300, deadline=None)
@given(price_tables(), usages(), st.integers(0, 10**13), st.sampled_from(["higher", "own"]))
def test_d3_a_figure_is_charged_up_to_ten_times_what_the_call_costs_at_most(
    info: dict[str, Any], usage: Usage, litellm: int, charge: Charge
) -> None:
    parsed = parse_price(info).price
    assert parsed is not None
    price = Price(
        id=1, tiers=parsed.tiers, charge=charge, input=parsed.input, output=parsed.output, reasoning=parsed.reasoning,
        cached_input=parsed.cached_input, cache_write=parsed.cache_write, cache_write_1h=parsed.cache_write_1h,
        audio_input=parsed.audio_input, audio_output=parsed.audio_output, web_search=parsed.web_search,
    )  # fmt: skip
    at_least_one = structs.replace(usage, web_searches=max(1, usage.web_searches))
    bound = 10 * dearest_nano_usd(price, at_least_one)

    row, _ = row_of(price, call_of(usage, None, 0), usage, litellm)

    own = row.own_cost_nano_usd
    assert own is not None
    # There is no bound for tools whose fee is not known.
    is_bounded = price.web_search is not None or not usage.web_searches
    is_charged = charge == "higher" and own < litellm and (litellm <= bound or not is_bounded)
    assert row.cost_nano_usd == (litellm if is_charged else own)
    # Kept as it was reported.
    assert row.litellm_cost_nano_usd == litellm
