"""Estimates of tokens before a model has counted them.

A prompt's tokens come from its character classes, times a ratio learned per model from settled calls. The weights were
fitted to a tokenizer of 200,000 words over 16 texts (languages, code, JSON, tables): -26 to +50 %, median 16 %.
"""

import math
from collections import deque
from typing import Final

LETTER_WEIGHT: Final = 0.244
DIGIT_WEIGHT: Final = 0.536
PUNCTUATION_WEIGHT: Final = 0.795
HIGH_BYTE_WEIGHT: Final = 0.186
# Chat templates wrap each message in a few tokens.
TOKENS_PER_MESSAGE: Final = 4
# A picture, a sound or a file counts as this much, whatever its bytes: what providers charge for a mid-size picture.
TOKENS_PER_ATTACHMENT: Final = 800
# With no history: what an ordinary answer may need.
FIRST_COMPLETION: Final = 1024
# Short calls end first: fewer than these would teach a figure that is too low.
LEAST_HISTORY: Final = 30
HISTORY: Final = 100

_LETTERS: Final = bytes(range(65, 91)) + bytes(range(97, 123))
_DIGITS: Final = b"0123456789"
_SPACES: Final = b" \t\r\n\x0b\x0c"
_LETTERS_AND_SPACES: Final = _LETTERS + _SPACES
_CONTROL: Final = bytes(c for c in range(32) if c not in _SPACES) + b"\x7f"
_HIGH_AND_CONTROL: Final = bytes(range(128, 256)) + _CONTROL


def estimate_text(text: bytes) -> float:
    """Tokens of a UTF-8 text, not rounded, so that parts can be added up."""
    size = len(text)
    without_letters = text.translate(None, _LETTERS_AND_SPACES)
    letters_and_spaces = size - len(without_letters)
    without_digits = without_letters.translate(None, _DIGITS)
    digits = len(without_letters) - len(without_digits)
    punctuation = len(without_digits.translate(None, _HIGH_AND_CONTROL))
    high = len(without_digits) - punctuation
    # Spaces are part of the following word's token: counted below as nothing.
    spaces = size - len(text.translate(None, _SPACES))
    return (
        LETTER_WEIGHT * (letters_and_spaces - spaces)
        + DIGIT_WEIGHT * digits
        + PUNCTUATION_WEIGHT * punctuation
        + HIGH_BYTE_WEIGHT * high
    )


# Of one call in a mean that begins with 500.
MAX_RATIO_WEIGHT: Final = 1000


class PromptRatio:
    """How a model's own count compares with the estimate: a mean over about the last hundred calls, by tokens."""

    __slots__ = ("_estimated", "_reported")

    def __init__(self) -> None:
        # As if a few calls had been right: the first ones do not swing it.
        self._estimated = self._reported = 500.0

    def learn(self, estimated: float, reported: int) -> None:
        """`estimated` before the ratio. One call counts as MAX_RATIO_WEIGHT tokens at most, and as no further off than
        the ratio may be."""
        if estimated > 0 and reported > 0:
            weight = min(estimated, MAX_RATIO_WEIGHT)
            self._estimated = self._estimated * 0.99 + weight
            self._reported = self._reported * 0.99 + weight * min(4.0, max(0.25, reported / estimated))

    @property
    def value(self) -> float:
        """Between a quarter and four: beyond that something else is wrong."""
        return min(4.0, max(0.25, self._reported / self._estimated))


class CompletionHistory:
    """What answers lately used: mean + 2 standard deviations of the last hundred, once there are thirty."""

    __slots__ = ("_squares", "_sum", "_values")

    def __init__(self) -> None:
        self._values: deque[int] = deque()
        self._sum = self._squares = 0

    def learn(self, tokens: int) -> None:
        """One settled call."""
        self._values.append(tokens)
        self._sum += tokens
        self._squares += tokens * tokens
        if len(self._values) > HISTORY:
            oldest = self._values.popleft()
            self._sum -= oldest
            self._squares -= oldest * oldest

    @property
    def expected(self) -> int | None:
        """Tokens for one choice; None: not enough is known."""
        count = len(self._values)
        if count < LEAST_HISTORY:
            return None
        mean = self._sum / count
        return math.ceil(mean + 2 * math.sqrt(max(0.0, self._squares / count - mean * mean)))


class OutputMean:
    """The mean length of about the last hundred answers of an account by one model, and whether any of them was
    reasoned about, which callers are not always shown."""

    __slots__ = ("_count", "_sum", "reasons")

    def __init__(self) -> None:
        self._count = self._sum = 0.0
        self.reasons = False

    def learn(self, tokens: int, reasoning_tokens: int) -> None:
        """One completed call; `tokens` of one choice."""
        self._count = self._count * 0.99 + 1
        self._sum = self._sum * 0.99 + tokens
        self.reasons = self.reasons or reasoning_tokens > 0

    @property
    def tokens(self) -> int:
        """For one choice; 0 where nothing was learned."""
        return math.ceil(self._sum / self._count) if self._count else 0


def expected_completion(history: CompletionHistory | None, maximum: int | None, choices: int) -> int:
    """Tokens all choices together will probably take. `maximum` is the call's own, for one choice."""
    known = history.expected if history else None
    one = FIRST_COMPLETION if known is None else known
    if maximum is not None:
        one = min(one, maximum)
    return one * choices
