"""The plan of a response: derived from the request before anything is sent.

Directives anywhere in the prompt, the last of each counting:
`[tokens=50]` length of the answer, bounded by the caller's limit   `[delay=0.2]` seconds to the
first token   `[rate=50]` tokens a second, 0 for all at once   `[cached=10]` prompt tokens read from
a cache   `[written=10]` those written to it   `[reasoning=5]` tokens of the answer that are not
shown   `[mark=abc]` written in the record of the call   `[usage=delta]` the usage chunk has a choice, else
`[usage=empty]`   `[usage=cumulative]` a stream of messages tells its input at the end too, as Anthropic's own does
`[split=yes]` writes end anywhere   `[fault=429]` see faults.py   `[tool=name]` calls that tool, once, with
`[arguments={"a":1}]` or what its schema allows   `[output=refusal]` a stream has output of that kind (output_kinds.py)
`[hold=3]` it waits so many seconds when all is said and before its usage.
"""

import re
from dataclasses import dataclass
from typing import Any

from deploy.embedded.model_server.faults import (
    SLOW_FIRST_BYTE_S,
    SLOW_TOKENS_PER_S,
    Refusal,
    bad_request,
    fault_of,
    too_long,
)
from deploy.embedded.model_server.outputs import Offer, Written, write
from deploy.embedded.model_server.words import seed_of, word

CONTEXT_TOKENS = 8192
TOKENS_PER_IMAGE = 1056
DIRECTIVE = re.compile(r"\[(\w+)=([^\[\]\s]+)\]")


class Refused(Exception):
    """The request is refused with this error."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.status)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Pace:
    """The default speed of the model."""

    first_token_s: float = 0.02
    tokens_per_s: float = 200.0


@dataclass(frozen=True, slots=True)
class Prompt:
    """What an endpoint found in its body."""

    text: str
    tokens: int
    max_tokens: int | None = None
    choices: int = 1
    offer: Offer | None = None
    has_results: bool = False  # of tools that were called before
    kept_input: list[Any] | None = None  # what is kept with the response; None: nothing is


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The planned response to one call."""

    id: str
    model: str
    is_stream: bool
    reports_usage: bool  # in the stream; the body of an answer always has it
    prompt_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    length: int  # tokens of each choice, the hidden ones included
    hidden: int
    choices: int
    finish_reason: str
    first_token_s: float
    tokens_per_s: float
    seed: int
    fault: str | None
    usage_has_choice: bool
    usage_is_cumulative: bool
    is_split: bool
    written: Written | None = None
    kept_input: list[Any] | None = None
    output: str | None = None
    hold_s: float = 0.0

    @property
    def completion_tokens(self) -> int:
        return self.choices * (self.hidden + (self.length - self.hidden) * self.tokens_a_piece)

    @property
    def tokens_a_piece(self) -> int:
        """What a piece of the output is billed: an image more than a word."""
        return TOKENS_PER_IMAGE if self.output == "images" else 1

    @property
    def tool(self) -> str | None:
        """The tool that is called, with the text as its arguments."""
        return self.written.tool if self.written else None

    @property
    def text(self) -> str:
        """All that is shown."""
        return "".join(self.token(index) for index in range(self.length - self.hidden))

    def token(self, index: int) -> str:
        """One of those that are shown."""
        return self.written.tokens[index] if self.written else word(self.seed, index)


def directives(text: str) -> dict[str, str]:
    return dict(DIRECTIVE.findall(text))


def plan(body: dict[str, Any], prompt: Prompt, pace: Pace, identity: str) -> Plan:
    """Raise Refused if the prompt is invalid."""
    if prompt.tokens > CONTEXT_TOKENS:
        raise Refused(too_long(CONTEXT_TOKENS, prompt.tokens))
    model = str(body.get("model") or "")
    asked = directives(prompt.text)
    fault = fault_of(model, asked.get("fault"))
    seed = seed_of(prompt.text)
    hidden = int(_number(asked, "reasoning", 0))
    written = write(prompt.offer, asked, seed, has_results=prompt.has_results) if prompt.offer else None
    wanted = hidden + len(written.tokens) if written else int(_number(asked, "tokens", 8 + seed % 17))
    length = wanted if prompt.max_tokens is None else min(wanted, max(0, prompt.max_tokens))
    cached = min(prompt.tokens, int(_number(asked, "cached", 0)))
    first, rate = _pace(asked, pace, fault)
    return Plan(
        id=identity,
        model=model,
        is_stream=body.get("stream") is True,
        reports_usage=_wants_usage(body) and fault != "no-usage",
        prompt_tokens=prompt.tokens,
        cached_tokens=cached,
        cache_write_tokens=min(prompt.tokens - cached, int(_number(asked, "written", 0))),
        length=length,
        hidden=min(length, hidden),
        choices=max(1, prompt.choices),
        finish_reason="stop" if length == wanted else "length",
        first_token_s=first,
        tokens_per_s=rate,
        seed=seed,
        fault=fault,
        usage_has_choice=asked.get("usage") == "delta",
        usage_is_cumulative=asked.get("usage") == "cumulative",
        is_split=model.startswith("split-") or asked.get("split") == "yes",
        written=written,
        output=asked.get("output"),
        hold_s=_number(asked, "hold", 0),
        kept_input=prompt.kept_input,
    )


def _pace(asked: dict[str, str], pace: Pace, fault: str | None) -> tuple[float, float]:
    first = SLOW_FIRST_BYTE_S if fault == "slow" else pace.first_token_s
    rate = SLOW_TOKENS_PER_S if fault == "slow-body" else pace.tokens_per_s
    return _number(asked, "delay", first), _number(asked, "rate", rate)


def _number(asked: dict[str, str], name: str, otherwise: float) -> float:
    try:
        number = float(asked.get(name, otherwise))
    except ValueError:
        number = -1.0
    if not 0 <= number < 1_000_000:
        raise Refused(bad_request(f"The directive [{name}={asked[name]}] is not a number."))
    return number


def _wants_usage(body: dict[str, Any]) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True
