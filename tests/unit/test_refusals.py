"""Which limit is named when several refuse, and the error the caller gets."""

import math
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from gateway.domain.errors import GatewayError
from gateway.domain.limits import KINDS, LEVELS, WINDOWED_KINDS, Kind, Level, Limit
from gateway.domain.refusals import Taken, decisive, refusal
from gateway.domain.reservation_plan import Entry
from gateway.domain.windows import LIFETIME_MS, WindowKind

RESETS = "2026-06-01T00:00:00Z"
RESETS_MS = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp() * 1000)
UNIT = 60_000


def taken(
    kind: Kind,
    amount: int,
    left: int,
    *,
    held: int = 0,
    want: int = 1,
    level: Level = "key",
    window: WindowKind | None = None,
    burst: Decimal = Decimal(1),
    shadow: bool = False,
    ends_ms: int = RESETS_MS,
) -> Taken:
    """`left` in whole units."""
    if kind in WINDOWED_KINDS and window is None:
        window = "month"
    limit = Limit(id=1, level=level, scope="k1", kind=kind, window=window, amount=amount, burst=burst, shadow=shadow)
    if kind in ("rpm", "tpm"):
        left *= UNIT
    ends_ms = LIFETIME_MS[1] if window == "lifetime" else ends_ms
    return Taken(limit=limit, entry=Entry("", amount, 0, ends_ms, 0, 0, 1), left=left, held=held, want=want)


def answer(t: Taken, wait_s: float | None = None) -> GatewayError:
    return refusal(t, t.wait_s() if wait_s is None else wait_s)


# --- The named limit. ---

ROOM = taken("requests", 100, 50)
SPENT = taken("tokens", 100, 0, want=10)
RESERVED = taken("tokens", 100, 0, held=60, want=10)
SHORT = taken("rpm", 60, 0)
LONG = taken("tpm", 60, -100, want=10)
BUSY = taken("concurrency", 5, 0, held=5)


def test_a_spent_window_is_named_before_a_limit_that_refills() -> None:
    assert decisive([ROOM, SHORT, LONG, BUSY, RESERVED, SPENT]) is SPENT


def test_without_a_spent_window_the_limit_with_the_longest_wait_is_named() -> None:
    assert decisive([SHORT, LONG, BUSY, RESERVED, ROOM]) is LONG
    assert decisive([ROOM, taken("rpm", 6000, 0), BUSY]) is BUSY


def test_among_spent_windows_the_one_that_resets_last_is_named() -> None:
    day = taken("cost", 5, 0, window="day", ends_ms=RESETS_MS - 1)

    assert decisive([SPENT, day]) is SPENT
    assert decisive([day, SPENT]) is SPENT


def test_a_limit_the_call_can_never_fit_is_named_first() -> None:
    too_long = taken("tpm", 60, 60, want=61)

    assert decisive([SPENT, too_long, LONG]) is too_long


def test_among_equal_limits_the_first_level_is_named() -> None:
    levels = [taken("requests", 5, 0, level=level) for level in LEVELS]

    assert decisive(levels).limit.level == "key"


def test_shadow_limits_are_never_named() -> None:
    assert decisive([taken("tokens", 100, 0, want=10, shadow=True), SHORT]) is SHORT


def test_a_limit_the_call_takes_nothing_from_does_not_refuse_it() -> None:
    assert not taken("cost", 100, -50, want=0).refuses
    assert not taken("tpm", 100, -50, want=0).refuses


@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_refuses_the_first_unit_above_it(kind: Kind) -> None:
    assert not taken(kind, 10, 1).refuses
    assert taken(kind, 10, 0).refuses


# --- Rates. ---


def test_retry_after_of_a_rate_limit_includes_its_debt() -> None:
    # 10 needed and 100 in debt, refilling one a second.
    error = answer(LONG)

    assert (error.status, error.code, error.type) == (429, "rate_limit_exceeded", "rate_limit_error")
    assert error.headers == {"retry-after": "110", "retry-after-ms": "110000", "x-should-retry": "false"}


def test_retry_after_is_in_whole_seconds_and_milliseconds_rounded_up() -> None:
    error = answer(taken("rpm", 7, 0))

    assert error.headers == {"retry-after": "9", "retry-after-ms": str(math.ceil(60_000 / 7))}


def test_clients_may_retry_by_themselves_up_to_a_minute() -> None:
    assert "x-should-retry" not in answer(SHORT, 60.0).headers
    assert answer(SHORT, 60.1).headers["x-should-retry"] == "false"


def test_retry_after_is_the_callers_turn_and_not_the_earliest_time() -> None:
    assert answer(SHORT, 12.34).headers == {"retry-after": "13", "retry-after-ms": "12340"}


def test_retry_after_of_a_concurrency_limit_is_a_second() -> None:
    error = answer(BUSY)

    assert (error.code, error.headers) == ("rate_limit_exceeded", {"retry-after": "1", "retry-after-ms": "1000"})
    assert "5 concurrent requests" in error.message


@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_of_zero_is_not_worth_a_retry(kind: Kind) -> None:
    error = answer(taken(kind, 0, 0))

    assert error.code == "insufficient_quota"
    assert error.headers == {"x-should-retry": "false"}


# --- Windows. ---


def test_a_spent_window_has_its_reset_in_the_body_and_no_retry_after() -> None:
    error = answer(taken("tokens", 1000, 4, want=10, level="user"))

    assert (error.status, error.code, error.type) == (429, "insufficient_quota", "insufficient_quota")
    assert error.headers == {"x-should-retry": "false"}
    assert error.details["limit"] == {
        "level": "user",
        "kind": "tokens",
        "window": "month",
        "limit": 1000,
        "used": 996,
        "reserved": 0,
        "requested": 10,
        "refused_by": "gateway",
        "resets_at": RESETS,
    }
    assert RESETS in error.message


def test_a_window_that_is_full_of_reservations_is_worth_a_retry() -> None:
    error = answer(RESERVED)

    assert (error.code, error.headers["retry-after"]) == ("rate_limit_exceeded", "1")
    assert "60 reserved by calls in progress" in error.message
    assert "40 used" in error.message


def test_a_window_is_spent_if_the_call_does_not_fit_beside_the_used_amount() -> None:
    assert not taken("tokens", 100, 0, held=10, want=10).is_spent
    assert taken("tokens", 100, 0, held=9, want=10).is_spent


def test_a_lifetime_budget_has_no_reset() -> None:
    error = answer(taken("cost", 5, 0, window="lifetime"))

    assert error.details["limit"]["resets_at"] is None
    assert "does not reset" in error.message
    assert "in all" in error.message


# --- Calls that never fit. ---


@pytest.mark.parametrize(
    "never",
    [
        taken("tpm", 100, 150, want=151, burst=Decimal("1.5")),
        taken("tokens", 100, 100, want=101),
        taken("cost", 100, -5, want=101),
    ],
)
def test_a_call_larger_than_the_empty_limit_is_a_bad_request(never: Taken) -> None:
    error = answer(never)

    assert (error.status, error.code) == (400, "request_exceeds_limit")
    assert error.headers == {"x-should-retry": "false"}
    unit = "_nano_usd" if never.limit.kind == "cost" else ""
    assert error.details["limit"][f"limit{unit}"] == 100
    assert error.details["limit"][f"requested{unit}"] == never.want


def test_a_limit_with_a_burst_is_named_by_the_amount_that_was_set() -> None:
    never = taken("tpm", 100, 150, want=151, burst=Decimal("1.5"))

    assert "has a limit of 100, at most 150 at once. Send" in answer(never).message
    assert "has a limit of 100. Send" in answer(taken("tpm", 100, 100, want=101)).message


def test_a_call_that_fits_the_burst_is_worth_a_retry() -> None:
    assert answer(taken("tpm", 100, 10, want=150, burst=Decimal("1.5"))).code == "rate_limit_exceeded"


# --- Messages. ---


@pytest.mark.parametrize("level", LEVELS)
def test_a_message_names_level_kind_limit_and_usage_and_the_refusing_gateway(level: Level) -> None:
    owners = {
        "key": "this API key",
        "key_model": "this API key and model",
        "subscription": "the subscription to this model",
        "user": "the user",
        "team": "the team",
    }
    message = answer(taken("requests", 10_000, 0, level=level)).message

    assert message == (
        f"The gateway (not the model) refuses this call: the limit of 10000 requests per month on {owners[level]} "
        f"is reached (10000 used, 1 requested). It resets at {RESETS}."
    )


def test_money_is_shown_in_dollars() -> None:
    message = answer(taken("cost", 450_000_000, 50_000_000, want=150_000_000)).message

    assert "limit of 0.45 USD per month" in message
    assert "(0.4 used, 0.15 requested)" in message


def test_the_usage_of_a_bucket_in_debt_is_above_its_limit() -> None:
    assert "(160 used, 10 requested)" in answer(LONG).message
