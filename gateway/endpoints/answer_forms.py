"""Whether what comes under a status of success is an answer of the endpoint, or an error, a page of HTML or nothing."""

import re
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

# No error is longer: what is, passes.
MAX_HELD: Final = 64 * 1024
_SPACE: Final = b"\xef\xbb\xbf \t\r\n"
_PAGE: Final = re.compile(rb"<(?:!doctype|html|head|body|\?xml)\b", re.IGNORECASE)
# Within a text of JSON its quotes would be escaped.
_ERROR: Final = re.compile(rb'"error"\s*+:(?!\s*+null\b)')
_NOTHING: Final = (b"null", b'""', b"[]", b"{}")
_decode: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """`keys`: an answer in JSON is an object with one of them; without keys it is none. `is_text`, `is_sound`: an
    answer may also be a text, or sound."""

    keys: tuple[str, ...] = ()
    is_text: bool = False
    is_sound: bool = False
    _quoted: tuple[bytes, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_quoted", tuple(f'"{key}"'.encode() for key in self.keys))

    def begins(self, data: bytes) -> bool | None:
        """Whether this is the beginning of an answer; None: more must come to say so."""
        start = data.lstrip(_SPACE)
        if not start:
            return None
        if start[:1] == b"<" and _PAGE.match(start):
            return False
        if start[:1] != b"{":
            return self.is_text or self.is_sound
        if len(data) > MAX_HELD:
            return True
        if b'"error"' in start and _ERROR.search(start):
            return None
        return True if any([key in start for key in self._quoted]) else None

    def is_met(self, data: bytes, *, reports_usage: bool) -> bool:
        """Whether all of this is an answer. With usage it is: it was paid for."""
        start = data.lstrip(_SPACE)
        if not start or _PAGE.match(start):
            return self.is_text and not start
        if start[:1] != b"{" or reports_usage:
            return reports_usage or self.is_text or self.is_sound
        try:
            fields: dict[str, Any] = _decode(start)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            # Text may begin with a brace.
            return self.is_text or self.is_sound
        if bytes(fields.get("error", b"null")) != b"null":
            return any(bytes(fields.get(key, b"null")) not in _NOTHING for key in self.keys)
        return any(key in fields for key in self.keys)


CHOICES: Final = AnswerForm(("choices",))
DATA: Final = AnswerForm(("data",))
RESULTS: Final = AnswerForm(("results",))
TRANSCRIPT: Final = AnswerForm(("text",), is_text=True)
