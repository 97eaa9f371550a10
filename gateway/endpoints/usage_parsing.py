"""What is read from an answer or one event of a stream, and the formats in which models report their usage."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gateway.domain.calls import Usage
from gateway.domain.estimates import estimate_text
from gateway.domain.money import nano_usd_rounded_up
from gateway.endpoints.lenient import decoder

# Counts beyond this are nonsense of an upstream, and must not reach counters or the ledger.
MAX_TOKENS: Final = 10**9


@dataclass(slots=True)
class ParsedUsage:
    """One event, or a whole answer. `said_tokens` are estimated from the text in it; `usage` is final if reported;
    `so_far` is what was reported before the end, and is charged if no more comes; `is_error`: the model server says
    that it failed; `is_last`: the answer is whole, even if more events follow; `response_id` is the name under which
    the provider may store the answer, `item_ids` those of its items that only their ids complete."""

    usage: Usage | None = None
    so_far: Usage | None = None
    litellm_nano_usd: int | None = None
    model: str | None = None
    said_tokens: float = 0.0
    says_something: bool = False
    is_error: bool = False
    is_last: bool = False
    response_id: str | None = None
    item_ids: tuple[str, ...] = ()


# From the JSON of an event or an answer; None: nothing is to be read in it. Never raises.
Reader = Callable[[bytes], ParsedUsage | None]


class Details(msgspec.Struct):
    """Parts of a token count, under all names that are in use."""

    cached_tokens: int | None = None
    cache_creation_tokens: int | None = None
    reasoning_tokens: int | None = None


class ReportedUsage(msgspec.Struct):
    """`usage` of OpenAI's and Anthropic's endpoints: chat says prompt and completion, the others input and output."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None
    input_tokens_details: Details | None = None
    output_tokens_details: Details | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    # LiteLLM puts a number here; Perplexity an object.
    cost: Any = None

    @property
    def litellm_nano_usd(self) -> int | None:
        """What LiteLLM says the call cost."""
        return nano_usd_rounded_up(self.cost) if isinstance(self.cost, int | float) else None

    def read(self) -> Usage | None:
        """OpenAI's convention: the prompt includes what was cached. None if nothing is reported: some providers
        put zeros into every chunk."""
        prompt = self.prompt_tokens or self.input_tokens or 0
        completion = self.completion_tokens or self.output_tokens or 0
        taken = self.prompt_tokens_details or self.input_tokens_details
        given = self.completion_tokens_details or self.output_tokens_details
        reasoning = (given.reasoning_tokens or 0) if given else 0
        if reasoning > completion:
            # Some providers count it outside the completion, others in the total only.
            completion += reasoning
        completion = max(completion, (self.total_tokens or 0) - prompt)
        return reported_usage(
            prompt_tokens=prompt,
            completion_tokens=completion,
            cached_tokens=(taken.cached_tokens or 0) if taken else 0,
            cache_write_tokens=(taken.cache_creation_tokens or 0) if taken else 0,
            reasoning_tokens=reasoning,
        )

    def read_anthropic(self) -> Usage | None:
        """Anthropic's convention: input excludes what was read from and written to the cache."""
        cached, written = self.cache_read_input_tokens or 0, self.cache_creation_input_tokens or 0
        prompt, completion = (self.input_tokens or 0) + cached + written, self.output_tokens or 0
        return reported_usage(
            prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached, cache_write_tokens=written
        )


def reported_usage(**counts: int) -> Usage | None:
    """None if nothing or nonsense is reported: the estimate is better then."""
    if counts["prompt_tokens"] + counts["completion_tokens"] <= 0:
        return None
    return Usage(**counts) if all(0 <= count <= MAX_TOKENS for count in counts.values()) else None


# Where the answers of all endpoints have what was said; in the rest are names and numbers.
_SAID_IN: Final = frozenset(
    ("text", "content", "reasoning_content", "reasoning", "refusal", "thinking", "arguments", "input", "summary")
)


def estimate_answer(data: bytes) -> float | None:
    """Tokens of what a whole answer says; None where it is of no known form: all of it counts then."""
    try:
        return _estimate_said_in(msgspec.json.decode(data)) or None
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def _estimate_said_in(value: Any, *, is_said: bool = False) -> float:
    if isinstance(value, str):
        return estimate_text(value.encode(errors="surrogatepass")) if is_said else 0.0
    if isinstance(value, list):
        return sum(_estimate_said_in(item, is_said=is_said) for item in value)
    if not isinstance(value, dict):
        return 0.0
    if value.get("type") == "tool_use":
        return estimate_text(msgspec.json.encode(value.get("input")))
    return sum(_estimate_said_in(item, is_said=name in _SAID_IN) for name, item in value.items())


def estimate_said(text: str) -> float:
    """Tokens of a piece of an answer: a piece is at least one, for models send about one at a time."""
    return max(1.0, estimate_text(text.encode(errors="surrogatepass")))


class _Answer(msgspec.Struct):
    usage: ReportedUsage | None = None
    model: str | None = None


_decode_answer = decoder(_Answer)


def read_answer(data: bytes) -> ParsedUsage | None:
    """A whole answer of OpenAI's endpoints."""
    answer: _Answer | None = _decode_answer(data)
    if answer is None:
        return None
    reported = answer.usage
    return ParsedUsage(
        usage=reported.read() if reported else None,
        litellm_nano_usd=reported.litellm_nano_usd if reported else None,
        model=answer.model,
    )


def read_anthropic_answer(data: bytes) -> ParsedUsage | None:
    """A whole answer of Anthropic's endpoint."""
    answer: _Answer | None = _decode_answer(data)
    if answer is None:
        return None
    return ParsedUsage(usage=answer.usage.read_anthropic() if answer.usage else None, model=answer.model)


class _Counts(msgspec.Struct):
    total_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class _Meta(msgspec.Struct):
    billed_units: _Counts | None = None
    tokens: _Counts | None = None


class _Ranking(msgspec.Struct):
    meta: _Meta | None = None
    usage: ReportedUsage | None = None


_decode_ranking = decoder(_Ranking)


def read_ranking(data: bytes) -> ParsedUsage | None:
    """A rerank answer reports its tokens under `meta`; some providers put the input under output."""
    ranking: _Ranking | None = _decode_ranking(data)
    if ranking is None:
        return None
    if ranking.usage is not None and (usage := ranking.usage.read()) is not None:
        return ParsedUsage(usage=usage)
    counts = [c for c in (ranking.meta.tokens, ranking.meta.billed_units) if c] if ranking.meta else []
    for count in counts:
        total = count.total_tokens or (count.input_tokens or 0) + (count.output_tokens or 0)
        if (usage := reported_usage(prompt_tokens=total, completion_tokens=0)) is not None:
            return ParsedUsage(usage=usage)
    return ParsedUsage()
