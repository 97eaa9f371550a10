"""`x-ratelimit-*` of the tightest limit, in the form that OpenAI's clients read."""

from decimal import Decimal

import pytest

from gateway.domain.limits import Kind, Level, Limit
from gateway.domain.ratelimit_headers import duration, ratelimit_headers
from gateway.domain.refusals import Taken
from gateway.domain.reservation_plan import Entry
from gateway.domain.windows import WindowKind

NOW_MS = 1_780_000_000_000


def taken(
    kind: Kind,
    amount: int,
    left: int,
    *,
    want: int = 1,
    level: Level = "key",
    ends_in_s: int = 3600,
    burst: int = 1,
    shadow: bool = False,
) -> Taken:
    """`left` in whole units, as it was before the call."""
    is_bucket = kind in ("rpm", "tpm")
    window: WindowKind | None = None if is_bucket or kind == "concurrency" else "day"
    limit = Limit(
        id=1, level=level, scope="k1", kind=kind, window=window, amount=amount, burst=Decimal(burst), shadow=shadow
    )
    entry = Entry("", amount, 0, NOW_MS + ends_in_s * 1000, int(shadow), 0, 1)
    return Taken(limit=limit, entry=entry, left=left * 60_000 if is_bucket else left, held=0, want=want)


def headers(*limits: Taken, is_admitted: bool = True) -> dict[str, str]:
    pairs = ratelimit_headers(list(limits), NOW_MS, is_admitted=is_admitted)
    return {name.decode().removeprefix("x-ratelimit-"): value.decode() for name, value in pairs}


def test_a_bucket_tells_what_is_left_after_this_call_and_when_it_will_be_full() -> None:
    assert headers(taken("rpm", 60, 50)) == {
        "limit-requests": "60",
        "remaining-requests": "49",
        "reset-requests": "11s",
    }


def test_a_window_tells_when_it_ends() -> None:
    assert headers(taken("tokens", 1000, 400, want=150)) == {
        "limit-tokens": "1000",
        "remaining-tokens": "250",
        "reset-tokens": "1h0m0s",
    }


def test_a_refused_call_has_taken_nothing() -> None:
    reported = headers(taken("tpm", 60, 20, want=50), is_admitted=False)

    assert (reported["remaining-tokens"], reported["reset-tokens"]) == ("20", "40s")


def test_the_limit_with_least_remaining_is_told_of_each_family() -> None:
    reported = headers(
        taken("rpm", 60, 50),
        taken("requests", 10_000, 30, level="team"),
        taken("tpm", 1000, 900, want=100),
        taken("tokens", 10**6, 5000, want=100, level="subscription"),
    )

    assert (reported["limit-requests"], reported["remaining-requests"]) == ("10000", "29")
    assert (reported["limit-tokens"], reported["remaining-tokens"]) == ("1000", "800")


def test_of_equals_the_one_that_resets_later_is_told() -> None:
    soon, later = taken("requests", 70, 20, ends_in_s=60), taken("requests", 90, 20, ends_in_s=61, level="team")

    assert headers(soon, later)["limit-requests"] == headers(later, soon)["limit-requests"] == "90"


def test_of_equals_in_both_the_first_level_is_told() -> None:
    levels: list[Level] = ["key", "key_model", "subscription", "user", "team"]
    limits = [taken("requests", 100 + n, 20, level=level) for n, level in enumerate(levels)]

    for n in range(5):
        assert headers(*limits[n:])["limit-requests"] == str(100 + n)


def test_shadow_limits_slots_and_money_are_left_out() -> None:
    assert headers(taken("rpm", 5, 1, shadow=True), taken("concurrency", 3, 1), taken("cost", 10, 5)) == {}


def test_nothing_is_told_of_a_family_without_a_limit() -> None:
    assert set(headers(taken("rpm", 60, 50))) == {"limit-requests", "remaining-requests", "reset-requests"}


def test_a_debt_is_nothing_remaining_and_a_later_reset() -> None:
    reported = headers(taken("tpm", 60, -30, want=10), is_admitted=False)

    assert (reported["remaining-tokens"], reported["reset-tokens"]) == ("0", "1m30s")


def test_a_burst_is_remaining_too() -> None:
    reported = headers(taken("rpm", 60, 120, burst=2))

    assert (reported["limit-requests"], reported["remaining-requests"], reported["reset-requests"]) == (
        "60",
        "119",
        "1s",
    )


def test_a_limit_of_nothing_has_no_reset_to_wait_for() -> None:
    assert headers(taken("rpm", 0, 0), is_admitted=False)["reset-requests"] == "0ms"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0ms"),
        (0, "0ms"),
        (0.0001, "1ms"),
        (0.02, "20ms"),
        (0.9991, "1s"),
        (1, "1s"),
        (1.001, "2s"),
        (59.2, "1m0s"),
        (60, "1m0s"),
        (360, "6m0s"),
        (3599.5, "1h0m0s"),
        (2_592_000, "720h0m0s"),
    ],
)
def test_a_duration_has_openais_form(seconds: float, text: str) -> None:
    assert duration(seconds) == text
