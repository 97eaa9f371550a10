"""Files that a provider reads with the operator's account, because a caller names their address: objects of buckets
(Vertex AI, Bedrock) and files that were uploaded to Gemini. LiteLLM passes such addresses on."""

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

# What is looked at in one piece: a body is not copied as a whole.
_WINDOW: Final = 256 * 1024
_OVERLAP: Final = 64
_ESCAPE: Final = b"\\u00"
# Escaped letters of words: a digit, a slash, a colon, an underscore, and whatever is a letter.
_ESCAPED: Final = re.compile(rb"\\u00(?:2[fF]|3[3aA]|5[fF]|6[0-9a-fA-F]|7[0-9aA])")
# A slash may be escaped by a backslash.
ADDRESS_WORDS: Final = (b"gs:/", b"gs:\\", b"s3:/", b"s3:\\", b"generativelanguage")
EMBEDDING_WORDS: Final = (*ADDRESS_WORDS, b"files/", b"files\\")
_ADDRESS: Final = re.compile(r"(?:gs|s3)://|generativelanguage\.googleapis\.com/\S*files/")
_ADDRESS_KEYS: Final = ("url", "uri", "data", "location", "image", "video", "audio", "file", "source", "document")


class Words:
    """Words to look for, of at most 64 bytes, by a byte that they have: a byte is found ten times as fast as a word,
    and most texts have no underscore."""

    __slots__ = ("backslashed", "plain", "underscored")

    def __init__(self, words: Iterable[bytes]) -> None:
        self.underscored = tuple(word for word in words if b"_" in word)
        self.backslashed = tuple(word for word in words if b"\\" in word)
        self.plain = tuple(word for word in words if word not in self.underscored + self.backslashed)


def holds_any(raw: msgspec.Raw, words: Words) -> bool:
    """Whether one of the words may be in it, also with escaped letters."""
    view = memoryview(raw)
    for start in range(0, len(view), _WINDOW):
        piece = bytes(view[start : start + _WINDOW + _OVERLAP])
        for word in words.plain:
            if word in piece:
                return True
        if b"_" in piece:
            for word in words.underscored:
                if word in piece:
                    return True
        if b"\\" in piece:
            for word in words.backslashed:
                if word in piece:
                    return True
            if _ESCAPE in piece and _ESCAPED.search(piece):
                return True
    return False


def names_stored_file(value: Any, *, is_embedded: bool) -> bool:
    """Of the content of a call: whether an attachment is an address of a stored file. An input that `is_embedded` may
    be one itself. Arguments of tools are the application's own. Bodies are at most MAX_DEPTH deep."""
    return _walk(value, "", is_embedded=is_embedded)


def _walk(value: Any, key: str, *, is_embedded: bool) -> bool:
    if isinstance(value, str):
        if key.lower().endswith(_ADDRESS_KEYS):
            return _ADDRESS.search(value) is not None
        is_alone = is_embedded and not any(letter.isspace() for letter in value.strip())
        return is_alone and (value.strip().startswith("files/") or _ADDRESS.search(value) is not None)
    if isinstance(value, list):
        return any(_walk(item, key, is_embedded=is_embedded) for item in value)
    if not isinstance(value, dict):
        return False
    is_tool_call = value.get("type") in ("tool_use", "server_tool_use")
    return any(
        _walk(inner, name, is_embedded=is_embedded)
        for name, inner in value.items()
        if not (is_tool_call and name == "input")
    )
