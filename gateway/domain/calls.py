"""What a call is, what it used and how it ended."""

from dataclasses import dataclass, fields
from typing import Final, Literal, get_args

Ending = Literal["completed", "client_disconnected", "upstream_error", "timeout", "refused_upstream", "unreachable"]
ENDINGS: Final = get_args(Ending)
EstimatedWhy = Literal["reaped", "no_usage", "hung_up", "cut_off"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one call used. Prompt tokens include cached and cache-write ones, completion tokens include reasoning
    ones (OpenAI's convention; others are brought to it where they are read)."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    # What some models are priced by beside tokens.
    images: int = 0
    characters: int = 0
    queries: int = 0
    audio_ms: int = 0

    @property
    def total_tokens(self) -> int:
        """What a token limit is charged: input + output, cached input included."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in _COUNTS})


_COUNTS: Final = tuple(field.name for field in fields(Usage))
NO_USAGE: Final = Usage()
