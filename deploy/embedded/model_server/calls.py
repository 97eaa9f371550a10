"""The server's record of what it billed, which tests compare with the gateway's ledger."""

import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import Literal

import msgspec

Ending = Literal["running", "complete", "refused", "hung_up", "cut", "error"]

# A load test makes more calls than are kept; the totals count them all.
KEPT = 200_000


class Call(msgspec.Struct):
    """One call received. Its tokens are those produced so far: what a provider would bill."""

    ordinal: int
    endpoint: str
    model: str
    call_id: str | None  # the header x-litellm-call-id
    user: str | None  # the body's field
    mark: str | None  # [mark=...] in the prompt
    stream: bool
    fields: list[str]  # of the body, as they arrived
    started_at: float
    prompt_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    audio_ms: int = 0
    characters: int = 0
    images: int = 0
    events: int = 0  # sent so far, of a stream
    status: int = 200
    ending: Ending = "running"
    ended_at: float | None = None


class Totals(msgspec.Struct):
    calls: int = 0
    running: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    by_model: dict[str, int] = msgspec.field(default_factory=dict)
    by_ending: dict[str, int] = msgspec.field(default_factory=dict)


class Calls:
    """Every call since the start or the last `forget`. For one event loop."""

    def __init__(self) -> None:
        self._next = 1
        self.forget()

    def forget(self) -> None:
        """Calls that are running now are not counted when they end."""
        self._kept: deque[Call] = deque(maxlen=KEPT)
        self._running: dict[int, Call] = {}
        self._totals = Totals()
        self._models: Counter[str] = Counter()
        self._endings: Counter[str] = Counter()

    def next_ordinal(self) -> int:
        """Unique, even after `forget`."""
        self._next += 1
        return self._next - 1

    def open(self, call: Call) -> None:
        self._kept.append(call)
        self._running[call.ordinal] = call
        self._models[call.model] += 1

    def close(self, call: Call, ending: Ending) -> None:
        call.ending = ending
        call.ended_at = time.time()
        if self._running.pop(call.ordinal, None) is None:
            return
        self._endings[ending] += 1
        self._totals.prompt_tokens += call.prompt_tokens
        self._totals.cached_tokens += call.cached_tokens
        self._totals.completion_tokens += call.completion_tokens

    def totals(self) -> Totals:
        """Tokens of the calls that ended; those running are only counted."""
        return msgspec.structs.replace(
            self._totals,
            calls=self._models.total(),
            running=len(self._running),
            by_model=dict(self._models),
            by_ending=dict(self._endings),
        )

    def listed(self, *, since: int, limit: int, only: dict[str, str]) -> list[Call]:
        """Calls after that ordinal, oldest first, whose named fields have these values."""
        found: list[Call] = []
        for call in self._after(since):
            if all(getattr(call, name) == value for name, value in only.items()):
                found.append(call)
                if len(found) == limit:
                    break
        return found

    def _after(self, since: int) -> Iterable[Call]:
        return (call for call in self._kept if call.ordinal > since)
