"""Latencies as counts by bucket: what rollups can add up, and percentiles be read from.

Bucket b holds the whole milliseconds from BOUNDS[b] to BOUNDS[b + 1] - 1. Each is as wide as its bottom * 21/19 allows
and no wider, so that its middle (the harmonic mean of both ends) is within 5 % of every value in it: up to 9 ms a
bucket holds one value and is exact, above they grow by a tenth each, as DDSketch's do (arXiv:1908.10693, alpha = 1/20).
198 buckets hold every value a column of Postgres's type integer can (24 days), so none is cut off, and any two counts
of the same buckets can be added or subtracted. Whole numbers only: Postgres has the same bounds (migrations/0012).
"""

from bisect import bisect_right
from collections.abc import Mapping
from fractions import Fraction
from itertools import accumulate
from typing import Final

# The promise: a percentile is within this share of the call's at that rank.
RELATIVE_ERROR: Final = 0.05
MAX_MS: Final = 2**31 - 1


def _bounds() -> tuple[int, ...]:
    bounds = [0, 1]
    while (following := bounds[-1] * 21 // 19 + 1) <= MAX_MS:
        bounds.append(following)
    return tuple(bounds)


BOUNDS: Final = _bounds()


def bucket_of(ms: int) -> int:
    """Its number, from 0; what is longer than MAX_MS is in the last one."""
    return bisect_right(BOUNDS, ms) - 1


def middle_of(bucket: int) -> float:
    """The value that is nearest to all in the bucket, in ms."""
    lowest = BOUNDS[bucket]
    highest = BOUNDS[bucket + 1] - 1 if bucket + 1 < len(BOUNDS) else MAX_MS
    return float(Fraction(2 * lowest * highest, lowest + highest)) if highest else 0.0


def percentile(counts: Mapping[int, int], share: float) -> float | None:
    """The latency in ms that `share` (0 to 1) of the calls did not exceed, by nearest rank, within RELATIVE_ERROR.

    `counts` are calls by bucket; None without any.
    """
    known = sorted((bucket, number) for bucket, number in counts.items() if number > 0)
    total = sum(number for _, number in known)
    if not total:
        return None
    # The rank counts from 1; a share of 0 is the fastest call.
    rank = max(1, -int(-Fraction(str(share)) * total // 1))
    reached = accumulate(number for _, number in known)
    return next(middle_of(bucket) for (bucket, _), so_far in zip(known, reached, strict=True) if so_far >= rank)
