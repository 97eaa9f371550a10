"""`x-ratelimit-*` as OpenAI's clients read them: limit, remaining and reset of the tightest limit.

https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers
"""

import math
from typing import Final

from gateway.domain.limits import BUCKET_UNITS, LIMIT_KINDS
from gateway.domain.refusals import Taken

_FAMILIES: Final = tuple(
    (counted, tuple(kind for kind, facts in LIMIT_KINDS.items() if facts.counts == counted and facts.counter != "open"))
    for counted in ("requests", "tokens")
)


def ratelimit_headers(taken: list[Taken], now_ms: int, *, is_admitted: bool) -> list[tuple[bytes, bytes]]:
    """Of the limit with the least remaining; ties: the later reset, then key before key × model, subscription, user
    and team. Shadow limits are left out."""
    headers = []
    for family, kinds in _FAMILIES:
        best: tuple[int, float, int] | None = None
        for t in taken:
            if t.limit.kind not in kinds or t.limit.shadow:
                continue
            remaining, reset_s = _state(t, now_ms, is_admitted=is_admitted)
            if best is None or (remaining, -reset_s) < (best[0], -best[1]):
                best = (remaining, reset_s, t.limit.amount)
        if best is not None:
            name = family.encode()
            headers.append((b"x-ratelimit-limit-" + name, b"%d" % best[2]))
            headers.append((b"x-ratelimit-remaining-" + name, b"%d" % best[0]))
            headers.append((b"x-ratelimit-reset-" + name, duration(best[1]).encode()))
    return headers


def _state(t: Taken, now_ms: int, *, is_admitted: bool) -> tuple[int, float]:
    want = t.want if is_admitted else 0
    if t.limit.window is not None:
        return max(0, t.left - want), (t.entry.b - now_ms) / 1000
    left = t.left - want * BUCKET_UNITS
    missing = t.limit.capacity * BUCKET_UNITS - left
    reset_s = missing / t.limit.amount / 1000 if t.limit.amount else 0.0
    return max(0, left // BUCKET_UNITS), reset_s


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
