"""`x-ratelimit-*` as OpenAI's clients read them: limit, remaining and reset of the tightest limit.

https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from gateway.domain.limits import BUCKET_UNITS, LIMIT_KINDS, Limit
from gateway.domain.reservation_plan import Entry

_PARTS: Final = (b"limit", b"remaining", b"reset")
_GROUPS: Final = tuple(
    (
        counted.encode(),
        tuple(kind for kind, facts in LIMIT_KINDS.items() if facts.counts == counted and facts.counter != "open"),
    )
    for counted in ("requests", "tokens")
)


class _Shown(NamedTuple):
    """One limit of a group: what is constant between two changes of its plan. `full` is what a bucket holds, in
    1/60000 units; None: it is a window, which ends at `end_ms`."""

    place: int
    amount: int
    amount_text: bytes
    full: int | None
    end_ms: int


class RateLimitHeaders:
    """Of one plan: prepared once, and made for each call of the script's numbers. Shadow limits are left out."""

    __slots__ = ("_groups",)

    def __init__(self, limits: Sequence[Limit], entries: Sequence[Entry]) -> None:
        groups = []
        for counted, kinds in _GROUPS:
            shown = [
                _Shown(
                    n,
                    limit.amount,
                    b"%d" % limit.amount,
                    limit.capacity * BUCKET_UNITS if limit.is_bucket else None,
                    entry.b,
                )
                for n, (limit, entry) in enumerate(zip(limits, entries, strict=True))
                if limit.kind in kinds and not limit.shadow
            ]
            if shown:
                groups.append((tuple(b"x-ratelimit-%b-%b" % (what, counted) for what in _PARTS), shown))
        self._groups = groups

    def of(
        self, takings: Sequence[tuple[int, int, int]], now_ms: int, *, is_admitted: bool
    ) -> list[tuple[bytes, bytes]]:
        """`takings` are (left, held, wanted) of each limit, before the call. The limit with the least remaining; ties:
        the later reset, then key before key × model, subscription, user and team."""
        headers = []
        for (limit_name, remaining_name, reset_name), shown in self._groups:
            best_amount = b""
            best, best_reset_s = 0, 0.0
            for place, amount, amount_text, full, end_ms in shown:
                left, _, want = takings[place]
                if not is_admitted:
                    want = 0
                if full is not None:
                    left -= want * BUCKET_UNITS
                    remaining = left // BUCKET_UNITS
                    reset_s = (full - left) / amount / 1000 if amount else 0.0
                else:
                    remaining, reset_s = left - want, (end_ms - now_ms) / 1000
                remaining = max(remaining, 0)
                if not best_amount or remaining < best or (remaining == best and reset_s > best_reset_s):
                    best, best_reset_s, best_amount = remaining, reset_s, amount_text
            headers.append((limit_name, best_amount))
            headers.append((remaining_name, b"%d" % best))
            headers.append((reset_name, duration(best_reset_s).encode()))
        return headers


def duration(seconds: float) -> str:
    """`20ms`, `1s`, `6m0s`, `720h0m0s`: rounded up to whole seconds from one second on."""
    milliseconds = math.ceil(max(0.0, seconds) * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
