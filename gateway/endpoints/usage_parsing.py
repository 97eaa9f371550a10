"""What is read from an answer or one event of a stream, and the formats in which models report their usage."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gateway.domain.calls import Usage
from gateway.domain.estimates import estimate_text
from gateway.domain.money import nano_usd_rounded_up
from gateway.domain.prices import SERVICE_TIERS
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
    # Tools that the provider has run so far.
    ran: Usage | None = None
    response_id: str | None = None
    item_ids: tuple[str, ...] = ()


# From the JSON of an event or an answer; None: nothing is to be read in it. Never raises.
Reader = Callable[[bytes], ParsedUsage | None]


class _CacheLife(msgspec.Struct):
    """Tokens written to a cache, by how long it keeps them."""

    ephemeral_1h_input_tokens: int | None = None


class Details(msgspec.Struct):
    """Parts of a token count, under all names that are in use."""

    cached_tokens: int | None = None
    cache_creation_tokens: int | None = None
    cache_creation_token_details: _CacheLife | None = None
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None
    web_search_requests: int | None = None


class _ServerTools(msgspec.Struct):
    web_search_requests: int | None = None


_NONE: Final = Details()
# Answers that say so were served at the usual price, whatever was asked for.
_USUAL_TIERS: Final = ("default", "standard")


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
    cache_creation: _CacheLife | None = None
    server_tool_use: _ServerTools | None = None
    service_tier: Any = None
    # LiteLLM puts a number here; Perplexity an object.
    cost: Any = None

    @property
    def litellm_nano_usd(self) -> int | None:
        """What LiteLLM says the call cost."""
        return nano_usd_rounded_up(self.cost) if isinstance(self.cost, int | float) else None

    def read(self, tier: Any = None) -> Usage | None:
        """OpenAI's convention: the prompt includes what was cached. None if nothing is reported: some providers
        put zeros into every chunk. `tier` is the service tier that the answer names beside its usage."""
        prompt = self.prompt_tokens or self.input_tokens or 0
        completion = self.completion_tokens or self.output_tokens or 0
        taken = self.prompt_tokens_details or self.input_tokens_details or _NONE
        given = self.completion_tokens_details or self.output_tokens_details or _NONE
        reasoning, total = given.reasoning_tokens or 0, self.total_tokens or 0
        if reasoning > completion and (total <= 0 or total >= prompt + completion + reasoning):
            # Some providers count it outside the completion, others in the total only; a smaller total denies it.
            completion += reasoning
        completion = max(completion, total - prompt)
        life = taken.cache_creation_token_details
        return reported_usage(
            prompt,
            completion,
            cached_tokens=taken.cached_tokens,
            cache_write_tokens=taken.cache_creation_tokens,
            cache_write_1h_tokens=life.ephemeral_1h_input_tokens if life else None,
            reasoning_tokens=reasoning,
            audio_prompt_tokens=taken.audio_tokens,
            audio_completion_tokens=given.audio_tokens,
            web_searches=self._searches or taken.web_search_requests,
            service_tier=served_tier(tier) or served_tier(self.service_tier),
        )

    def read_anthropic(self) -> Usage | None:
        """Anthropic's convention: input excludes what was read from and written to the cache."""
        cached, written = self.cache_read_input_tokens or 0, self.cache_creation_input_tokens or 0
        prompt, completion = (self.input_tokens or 0) + cached + written, self.output_tokens or 0
        return reported_usage(
            prompt,
            completion,
            cached_tokens=cached,
            cache_write_tokens=written,
            cache_write_1h_tokens=self.cache_creation.ephemeral_1h_input_tokens if self.cache_creation else None,
            web_searches=self._searches,
            service_tier=served_tier(self.service_tier),
        )

    @property
    def _searches(self) -> int | None:
        return self.server_tool_use.web_search_requests if self.server_tool_use else None


def reported_usage(
    prompt_tokens: int, completion_tokens: int, *, service_tier: str | None = None, **parts: int | None
) -> Usage | None:
    """None if nothing or nonsense is reported: the estimate is better then. Nonsense of a part costs only itself."""
    if prompt_tokens + completion_tokens <= 0:
        return None
    if not (0 <= prompt_tokens <= MAX_TOKENS and 0 <= completion_tokens <= MAX_TOKENS):
        return None
    known = {name: min(count, MAX_TOKENS) for name, count in parts.items() if count and count > 0}
    return Usage(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, service_tier=service_tier, **known)


def served_tier(name: Any) -> str | None:
    """The service tier that an answer names; None: none by which anything is priced."""
    if not isinstance(name, str):
        return None
    tier = name.lower()
    return tier if tier in SERVICE_TIERS or tier in _USUAL_TIERS else None


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
    """Tokens of a piece of an answer: a piece is at least one, for models send one at a time, and so is a word."""
    return max(1.0, len(text.split()), estimate_text(text.encode(errors="surrogatepass")))


# Chat says of a search only what it cites: LiteLLM charges one. In a text its quotes would be escaped.
CITES: Final = b'"url_citation"'
A_SEARCH: Final = Usage(web_searches=1)


class _Answer(msgspec.Struct):
    usage: ReportedUsage | None = None
    model: str | None = None
    service_tier: Any = None


_decode_answer = decoder(_Answer)


def read_answer(data: bytes) -> ParsedUsage | None:
    """A whole answer of OpenAI's endpoints."""
    answer: _Answer | None = _decode_answer(data)
    if answer is None:
        return None
    reported = answer.usage
    return ParsedUsage(
        usage=reported.read(answer.service_tier) if reported else None,
        litellm_nano_usd=reported.litellm_nano_usd if reported else None,
        model=answer.model,
        ran=A_SEARCH if CITES in data else None,
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
        if (usage := reported_usage(total, 0)) is not None:
            return ParsedUsage(usage=usage)
    return ParsedUsage()
