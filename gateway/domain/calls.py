"""What a call is, what it used and how it ended."""

from typing import Final, Literal, get_args

import msgspec

Ending = Literal["completed", "client_disconnected", "upstream_error", "timeout", "refused_upstream", "unreachable"]
ENDINGS: Final = get_args(Ending)
EstimatedWhy = Literal["reaped", "no_usage", "hung_up", "cut_off", "clamped"]


class Usage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one call used. Prompt tokens include cached, cache-write and audio ones, completion tokens include reasoning
    and audio ones (OpenAI's convention; others are brought to it where they are read).

    A Struct, as each call makes several: making one takes a twelfth of the time of a frozen dataclass."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    # Among the cache-write tokens: those that are kept for an hour.
    cache_write_1h_tokens: int = 0
    audio_prompt_tokens: int = 0
    audio_completion_tokens: int = 0
    # What some models are priced by beside tokens.
    images: int = 0
    characters: int = 0
    queries: int = 0
    audio_ms: int = 0
    # Tools that the provider ran, each for a fee.
    web_searches: int = 0
    file_searches: int = 0
    code_sessions: int = 0
    # The service tier that the answer names; None: it names none.
    service_tier: str | None = None

    @property
    def total_tokens(self) -> int:
        """What a token limit is charged: input + output, cached input included."""
        return self.prompt_tokens + self.completion_tokens

    def clamped(self) -> "Usage":
        """As far as the figures can be: a part is no more than what its whole has left. Itself, if they agree."""
        cached = min(self.cached_tokens, self.prompt_tokens)
        written = min(self.cache_write_tokens, self.prompt_tokens - cached)
        kept = min(self.cache_write_1h_tokens, written)
        reasoning = min(self.reasoning_tokens, self.completion_tokens)
        parts = (cached, written, kept, reasoning)
        if parts == (
            self.cached_tokens, self.cache_write_tokens, self.cache_write_1h_tokens, self.reasoning_tokens,
        ):  # fmt: skip
            return self
        return msgspec.structs.replace(
            self,
            cached_tokens=cached,
            cache_write_tokens=written,
            cache_write_1h_tokens=kept,
            reasoning_tokens=reasoning,
        )

    def __add__(self, other: "Usage") -> "Usage":
        sums = {name: getattr(self, name) + getattr(other, name) for name in COUNTS}
        return Usage(**sums, service_tier=other.service_tier or self.service_tier)


COUNTS: Final = tuple(name for name in Usage.__struct_fields__ if name != "service_tier")
NO_USAGE: Final = Usage()
