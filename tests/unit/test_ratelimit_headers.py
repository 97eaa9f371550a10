"""`x-ratelimit-*` headers of the tightest limit, in the format OpenAI's clients read."""

from decimal import Decimal

import pytest

from gateway.domain.limits import Kind, Level, Limit
from gateway.domain.ratelimit_headers import RateLimitHeaders, duration
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
    prepared = RateLimitHeaders([t.limit for t in limits], [t.entry for t in limits])
    pairs = prepared.of([(t.left, t.held, t.want) for t in limits], NOW_MS, is_admitted=is_admitted)
    return {name.decode().removeprefix("x-ratelimit-"): value.decode() for name, value in pairs}


def test_bucket_headers_have_the_rest_after_this_call_and_the_time_to_full() -> None:
    assert headers(taken("rpm", 60, 50)) == {
        "limit-requests": "60",
        "remaining-requests": "49",
        "reset-requests": "11s",
    }


def test_the_reset_header_of_a_window_is_its_end() -> None:
    assert headers(taken("tokens", 1000, 400, want=150)) == {
        "limit-tokens": "1000",
        "remaining-tokens": "250",
        "reset-tokens": "1h0m0s",
    }


def test_the_headers_of_a_refused_call_show_it_took_nothing() -> None:
    shown = headers(taken("tpm", 60, 20, want=50), is_admitted=False)

    assert (shown["remaining-tokens"], shown["reset-tokens"]) == ("20", "40s")


def test_each_header_family_shows_the_limit_with_the_least_remaining() -> None:
    shown = headers(
        taken("rpm", 60, 50),
        taken("requests", 10_000, 30, level="team"),
        taken("tpm", 1000, 900, want=100),
        taken("tokens", 10**6, 5000, want=100, level="subscription"),
    )

    assert (shown["limit-requests"], shown["remaining-requests"]) == ("10000", "29")
    assert (shown["limit-tokens"], shown["remaining-tokens"]) == ("1000", "800")


def test_among_equal_limits_the_later_reset_is_shown() -> None:
    soon, later = taken("requests", 70, 20, ends_in_s=60), taken("requests", 90, 20, ends_in_s=61, level="team")

    assert headers(soon, later)["limit-requests"] == headers(later, soon)["limit-requests"] == "90"


def test_among_equal_limits_and_resets_the_first_level_is_shown() -> None:
    levels: list[Level] = ["key", "key_model", "subscription", "user", "team"]
    limits = [taken("requests", 100 + n, 20, level=level) for n, level in enumerate(levels)]

    for n in range(5):
        assert headers(*limits[n:])["limit-requests"] == str(100 + n)


def test_shadow_limits_slots_and_money_are_left_out() -> None:
    assert headers(taken("rpm", 5, 1, shadow=True), taken("concurrency", 3, 1), taken("cost", 10, 5)) == {}


def test_a_family_without_a_limit_has_no_headers() -> None:
    assert set(headers(taken("rpm", 60, 50))) == {"limit-requests", "remaining-requests", "reset-requests"}


def test_a_debt_shows_zero_remaining_and_a_later_reset() -> None:
    shown = headers(taken("tpm", 60, -30, want=10), is_admitted=False)

    assert (shown["remaining-tokens"], shown["reset-tokens"]) == ("0", "1m30s")


def test_a_burst_counts_as_remaining() -> None:
    shown = headers(taken("rpm", 60, 120, burst=2))

    assert (shown["limit-requests"], shown["remaining-requests"], shown["reset-requests"]) == (
        "60",
        "119",
        "1s",
    )


def test_a_limit_of_zero_has_no_reset() -> None:
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
def test_durations_have_the_format_of_openai(seconds: float, text: str) -> None:
    assert duration(seconds) == text
