"""What LiteLLM says that a call costs, from its own price fields, in Decimals: after LiteLLM's rules, with no code of
the product. tests/end_to_end/test_litellm_prices.py holds it against the installed LiteLLM."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from hypothesis import strategies as st

from gateway.domain.calls import Usage

SIZES: Final = (100_000, 128_000, 200_000, 272_000)
TIERS: Final = ("flex", "priority")
TOKENS: Final = (
    "input_cost_per_token", "output_cost_per_token", "cache_read_input_token_cost", "cache_creation_input_token_cost",
)  # fmt: skip
HOUR: Final = "cache_creation_input_token_cost_above_1hr"
REASONING: Final = "output_cost_per_reasoning_token"
AUDIO: Final = ("input_cost_per_audio_token", "output_cost_per_audio_token")
SEARCH: Final = "search_context_cost_per_query"

Info = Mapping[str, Any]


@st.composite
def price_tables(draw: st.DrawFn) -> dict[str, Any]:
    """`model_info` with a price for input and output, and some of: sizes, cache lives, service tiers, a search fee."""
    usd = st.integers(0, 40_000).map(lambda n: Decimal(n).scaleb(-9)) | st.sampled_from([Decimal(0), Decimal("1.5E-7")])
    info: dict[str, Any] = {name: draw(usd) for name in TOKENS[:2]}
    info["input_cost_per_token"] += Decimal("1E-9")
    for name in (*TOKENS[2:], HOUR, REASONING, *AUDIO):
        if draw(st.booleans()):
            info[name] = draw(usd)
    for name in (*TOKENS, *AUDIO):
        for tier in draw(st.sets(st.sampled_from(TIERS))):
            info[f"{name}_{tier}"] = draw(usd)
    for size in draw(st.sets(st.sampled_from(SIZES), max_size=2)):
        for name in (*TOKENS, HOUR):
            for suffix in draw(st.sets(st.sampled_from(["", *(f"_{tier}" for tier in TIERS)]))):
                info[f"{name}_above_{size // 1000}k_tokens{suffix}"] = draw(usd)
    if draw(st.booleans()):
        fee = draw(usd) * 1000
        info[SEARCH] = {f"search_context_size_{size}": fee for size in ("low", "medium", "high")}
    if draw(st.booleans()):
        info["litellm_provider"] = draw(st.sampled_from(["openai", "xai"]))
    return info


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """What an answer reports: its parts are no more than their wholes."""
    around = st.sampled_from(SIZES).flatmap(lambda size: st.integers(size - 1, size + 1))
    prompt, completion = draw(st.integers(1, 3000) | around), draw(st.integers(0, 5000))
    cached = draw(st.integers(0, prompt))
    written = draw(st.integers(0, prompt - cached))
    heard = draw(st.integers(0, prompt - cached - written))
    reasoned = draw(st.integers(0, completion))
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=draw(st.integers(0, written)),
        audio_prompt_tokens=heard,
        reasoning_tokens=reasoned,
        audio_completion_tokens=draw(st.integers(0, completion - reasoned)),
        web_searches=draw(st.integers(0, 5)),
    )


def litellm_usd(info: Info, usage: Usage, tier: str | None) -> Decimal:
    """Tokens and searches of a call that was served at `tier`."""
    fresh, said, cached, written, kept = _rates(info, usage.prompt_tokens, tier)
    parts = usage.cached_tokens + usage.cache_write_tokens + usage.audio_prompt_tokens
    spoken = usage.audio_completion_tokens
    heard_rate = _first(info, _key(AUDIO[0], tier), AUDIO[0])
    spoken_rate = _first(info, AUDIO[1])
    search = (info.get(SEARCH) or {}).get("search_context_size_medium") or Decimal(0)
    reasoning_rate = _reasoning(info, said, tier)
    return (
        (usage.prompt_tokens - parts) * fresh
        + usage.cached_tokens * cached
        + (usage.cache_write_tokens - usage.cache_write_1h_tokens) * written
        + usage.cache_write_1h_tokens * kept
        + usage.audio_prompt_tokens * (fresh if heard_rate is None else heard_rate)
        + (usage.completion_tokens - usage.reasoning_tokens - spoken) * said
        + usage.reasoning_tokens * reasoning_rate
        + spoken * (said if spoken_rate is None else spoken_rate)
        + usage.web_searches * search
    )


def _key(name: str, tier: str | None) -> str:
    return name if tier is None else f"{name}_{tier}"


def _first(info: Info, *names: str) -> Decimal | None:
    return next((info[name] for name in names if info.get(name) is not None), None)


def _rates(info: Info, prompt: int, tier: str | None) -> tuple[Decimal, Decimal, Decimal, Decimal, Decimal]:
    rates = {name: _first(info, _key(name, tier), name) for name in TOKENS} | {HOUR: info.get(HOUR)}
    is_inclusive = info.get("litellm_provider") == "xai"
    for size in SIZES:
        above = f"_above_{size // 1000}k_tokens"
        if prompt > size or (is_inclusive and prompt == size):
            for name in rates:
                found = _first(info, _key(f"{name}{above}", tier), f"{name}{above}")
                rates[name] = rates[name] if found is None else found
    fresh = rates[TOKENS[0]] or Decimal(0)
    cached, written = (fresh if rates[name] is None else rates[name] for name in TOKENS[2:])
    kept = written if rates[HOUR] is None else rates[HOUR]
    return fresh, rates[TOKENS[1]] or Decimal(0), cached or Decimal(0), written or Decimal(0), kept or Decimal(0)


def _reasoning(info: Info, said: Decimal, tier: str | None) -> Decimal:
    own = _first(info, _key(REASONING, tier))
    if own is not None and tier is not None:
        return own
    if tier is not None and info.get(_key(TOKENS[1], tier)) is not None:
        return said
    usual = info.get(REASONING)
    return said if usual is None else usual
