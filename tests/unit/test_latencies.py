"""Percentiles of histograms are within the promised relative error of the exact ones."""

from collections import Counter
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.latencies import BOUNDS, MAX_MS, RELATIVE_ERROR, bucket_of, middle_of, percentile

# The rounding of the returned float, not the error of the buckets.
ROUNDING = 1e-12
LATENCIES = st.integers(0, 50) | st.integers(0, 600_000) | st.integers(0, MAX_MS)
SHARES = st.sampled_from([0, 0.01, 0.5, 0.9, 0.95, 0.99, 1]) | st.integers(0, 1000).map(lambda n: n / 1000)


def nearest_rank(latencies: list[int], share: float) -> int:
    ordered = sorted(latencies)
    return ordered[max(1, ceil(round(share * 1000) * len(ordered) / 1000)) - 1]


@given(st.lists(LATENCIES, min_size=1, max_size=60), SHARES)
def test_a_percentile_is_within_its_error_bound(latencies: list[int], share: float) -> None:
    reported = percentile(Counter(map(bucket_of, latencies)), share)

    exact = nearest_rank(latencies, share)
    assert reported is not None
    assert abs(reported - exact) <= (RELATIVE_ERROR + ROUNDING) * exact


@given(st.lists(LATENCIES, max_size=30), st.lists(LATENCIES, max_size=30), SHARES)
def test_merged_histograms_equal_the_histogram_of_all_calls(one: list[int], other: list[int], share: float) -> None:
    together = Counter(map(bucket_of, one)) + Counter(map(bucket_of, other))

    assert percentile(together, share) == percentile(Counter(map(bucket_of, one + other)), share)


def test_every_bucket_is_as_wide_as_the_error_bound_permits() -> None:
    for bucket, lowest in enumerate(BOUNDS):
        following = BOUNDS[bucket + 1] if bucket + 1 < len(BOUNDS) else MAX_MS + 1
        middle = middle_of(bucket)
        for edge in (lowest, following - 1):
            assert abs(middle - edge) <= (RELATIVE_ERROR + ROUNDING) * edge
        if following <= MAX_MS and lowest:
            assert (following - lowest) / (following + lowest) > RELATIVE_ERROR


def test_short_latencies_are_exact_and_without_calls_there_is_no_percentile() -> None:
    assert [middle_of(bucket_of(ms)) for ms in range(10)] == list(range(10))
    assert percentile({}, 0.5) is None
    assert percentile({3: 0}, 0.5) is None
    assert len(BOUNDS) <= 256
