"""Tokens and texts: one word is one token, and the same prompt always gets the same words."""

import zlib

# Some have multi-byte characters, so that a stream may be split inside a character.
VOCABULARY = (
    "the", "naïve", "gateway", "counts", "every", "token", "日本語", "once", "über", "and",
    "señor", "cache", "🙂", "streams", "façade", "without", "łódź", "a", "Привет", "pause",
)  # fmt: skip


def count_words(text: str) -> int:
    return len(text.split())


def seed_of(text: str) -> int:
    return zlib.crc32(text.encode())


def word(seed: int, index: int) -> str:
    """The token at that index of the response, with the space after it."""
    return VOCABULARY[seed_of(f"{seed} {index}") % len(VOCABULARY)] + " "


def sentence(seed: int, count: int) -> str:
    return "".join(word(seed, index) for index in range(count))


def vector(text: str, size: int) -> list[float]:
    """An embedding that depends on the text: eighths between -1 and 1, exact in any float."""
    seed = seed_of(text)
    return [((seed >> (index % 29)) % 17 - 8) / 8 for index in range(size)]
