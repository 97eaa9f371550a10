"""Step 4: reads the usage from the answer. No I/O: bytes in, bytes out.

A stream passes event by event, because the chunk with the usage is removed if the caller did not request it: only if no
choice in it says anything, for LiteLLM 1.106 adds an empty choice and 1.109 does not. `[DONE]` is no sign of success,
and its absence none of failure.
"""

import re
from collections.abc import Callable
from typing import Final

from gateway.domain.estimates import LETTER_WEIGHT, estimate_text
from gateway.endpoints.answer_forms import CHOICES, AnswerForm
from gateway.endpoints.chat_events import read_chat_event
from gateway.endpoints.output_estimates import SOUND_BYTES_A_TOKEN, TOKENS_PER_IMAGE
from gateway.endpoints.usage_parsing import Reader, estimate_answer, read_answer
from gateway.measured_answer import MeasuredAnswer

# An event larger than this passes unread: it is not held back, nor looked into.
MAX_EVENT: Final = 1024 * 1024
# A whole answer larger than this is passed on all the same, and charged by the estimate.
MAX_ANSWER: Final = 64 * 1024 * 1024
# Of such an event so much of the end of its first part tells sound and images from text.
BASE64_SAMPLE: Final = 4096
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/=_-]+")
SOUND_WEIGHT: Final = 3 / 4 / SOUND_BYTES_A_TOKEN
# A block without data may begin with these: https://html.spec.whatwg.org/multipage/server-sent-events.html
FIELDS: Final = (b":", b"event", b"id", b"retry")
_BLANK: Final = b"\xef\xbb\xbf \t\n"


class AnswerMeter(MeasuredAnswer):
    """A whole answer: kept beside what passes, read at the end. Its beginning is held until it shows that it is one;
    with `rewrite` all of it is, and passes as what `rewrite` makes of it. One that is too large passes as it is."""

    __slots__ = ("_form", "_held", "_parts", "_rewrite", "_said", "_size")

    def __init__(
        self,
        read: Reader = read_answer,
        form: AnswerForm = CHOICES,
        rewrite: Callable[[bytes], bytes] | None = None,
    ) -> None:
        super().__init__(read)
        self._form = form
        self._rewrite = rewrite
        self._held = b""
        self._parts: list[bytes] = []
        self._said: float | None = None
        self._size = 0

    @property
    def is_within_event(self) -> bool:
        return False

    def feed(self, chunk: bytes) -> bytes:
        self._size += len(chunk)
        if self._size <= MAX_ANSWER:
            self._parts.append(chunk)
        if self.has_begun:
            return chunk
        if self._rewrite is not None and self._size <= MAX_ANSWER:
            return b""
        return self._hold(chunk)

    def _hold(self, chunk: bytes) -> bytes:
        held = self._held + chunk if self._held else chunk
        if self._rewrite is not None:
            self._rewrite, held = None, b"".join(self._parts) + chunk
        begins = self._form.begins(held)
        if begins:
            self.has_begun, self._held = True, b""
            return held
        self.is_no_answer, self._held = begins is False, held
        return b""

    def finish(self) -> bytes:
        whole = b""
        if self._size <= MAX_ANSWER:
            whole = b"".join(self._parts)
            if (reading := self._read(whole)) is not None:
                self.usage, self.litellm_nano_usd, self.model = reading.usage, reading.litellm_nano_usd, reading.model
                self.response_id, self.item_ids, self.ran = reading.response_id, reading.item_ids, reading.ran
            if self.usage is None and self._size <= MAX_EVENT:
                self._said = estimate_answer(whole)
        held, self._held = self._held if self._rewrite is None else whole, b""
        if self.has_begun:
            return b""
        self.has_begun = self._form.is_met(held, reports_usage=self.usage is not None)
        self.is_no_answer = not self.has_begun
        return held if self._rewrite is None or self.is_no_answer else self._rewrite(held)

    @property
    def passed_tokens(self) -> int:
        """Of an answer that was not finished, or that nobody can read: all its bytes."""
        if self._said is not None:
            return round(self._said)
        if self._size > MAX_EVENT:
            # Looking at each byte would hold up everyone else.
            return round(self._size * LETTER_WEIGHT)
        return round(sum(map(estimate_text, self._parts)))


class StreamMeter(MeasuredAnswer):
    """A stream of `data:` events. One without any, or that begins with an error, is no answer."""

    __slots__ = ("_ends_in_cr", "_held", "_passes_unread", "_said", "_strips_usage", "_unread_weight")

    def __init__(self, *, strips_usage: bool, read: Reader = read_chat_event) -> None:
        super().__init__(read)
        self._strips_usage = strips_usage
        self._held = b""
        self._ends_in_cr = False
        self._passes_unread = False
        self._said = 0.0
        # Tokens that a byte of an event that passes unread counts as.
        self._unread_weight = LETTER_WEIGHT

    @property
    def is_within_event(self) -> bool:
        return self._passes_unread

    def feed(self, chunk: bytes) -> bytes:
        if self._ends_in_cr:
            self._ends_in_cr, chunk = False, b"\r" + chunk
        data = self._held + chunk if self._held else chunk
        if b"\r" in data:
            return self._feed_lines_with_cr(data)
        return self._feed_lines(data)

    def _feed_lines(self, data: bytes) -> bytes:
        end = data.rfind(b"\n\n")
        if end < 0:
            return self._hold(data, b"")
        events, rest = data[: end + 2], data[end + 2 :]
        if self._passes_unread:
            # The rest of an event that was too large; what follows it is read again.
            first = events.find(b"\n\n") + 2
            self._said += first * self._unread_weight
            self._passes_unread = False
            return events[:first] + self._hold(rest, self._read_events(events[first:]))
        return self._hold(rest, self._read_events(events))

    def _feed_lines_with_cr(self, data: bytes) -> bytes:
        # Servers may end lines with CRLF. A lone CR at the end may be half of one; it is kept for the next piece.
        self._ends_in_cr = data.endswith(b"\r")
        self._held = b""
        whole = data[:-1] if self._ends_in_cr else data
        return self._feed_lines(whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))

    def _hold(self, rest: bytes, passes: bytes) -> bytes:
        if self._passes_unread or len(rest) > MAX_EVENT:
            # All of it, but for a newline that may be the first half of the event's end.
            end = len(rest) - rest.endswith(b"\n")
            if not self._passes_unread:
                is_base64 = _BASE64.fullmatch(rest, end - BASE64_SAMPLE, end) is not None
                self._unread_weight = SOUND_WEIGHT if is_base64 else LETTER_WEIGHT
                self._said += TOKENS_PER_IMAGE if is_base64 else 0
            self._said += end * self._unread_weight
            self._passes_unread, self._held, self.has_begun = True, rest[end:], True
            return passes + rest[:end]
        self._held = rest
        return passes

    def _read_events(self, events: bytes) -> bytes:
        if not events:
            return b""
        kept: list[bytes] | None = None
        parts = events.split(b"\n\n")[:-1]
        for index, event in enumerate(parts):
            if self._read_event(event):
                if kept is not None:
                    kept.append(event)
            elif kept is None:
                kept = parts[:index]
        if kept is None:
            return events
        return b"".join(event + b"\n\n" for event in kept)

    def _read_event(self, event: bytes) -> bool:
        """Whether it goes to the caller."""
        start = event.find(b"data:")
        if start < 0 or event.startswith(b"event: ping\n"):
            if not self.has_begun and not event.startswith(FIELDS) and event.strip(_BLANK):
                self.is_no_answer = True
            return True
        if event.endswith(b"[DONE]"):
            self.is_over, self.is_no_answer = True, not self.has_begun
            return True
        if event.startswith(b"event: message_stop\n"):
            self.is_over = True
        data = event[start + 5 :]
        if b"\n" in data:
            data = b"\n".join(line[5:] for line in event.split(b"\n") if line.startswith(b"data:"))
        reading = self._read(data)
        if not self.has_begun:
            self.is_no_answer = reading is not None and reading.is_error and reading.usage is None
            self.has_begun = not self.is_no_answer
        if reading is None:
            # What nobody can read has passed all the same.
            self._said += max(1.0, estimate_text(data))
            return True
        self._said += reading.said_tokens
        self.has_error = self.has_error or reading.is_error
        self.is_over = self.is_over or reading.is_last
        self.model = self.model or reading.model
        self.response_id = self.response_id or reading.response_id
        if reading.item_ids:
            self.item_ids = tuple(dict.fromkeys(self.item_ids + reading.item_ids))
        self.so_far = reading.so_far or self.so_far
        self.ran = reading.ran or self.ran
        if reading.usage is None:
            return True
        self.usage, self.litellm_nano_usd = reading.usage, reading.litellm_nano_usd
        return reading.says_something or not self._strips_usage

    def finish(self) -> bytes:
        # A lone CR was the end of a line after all.
        passes = self.feed(b"\n") if self._ends_in_cr else b""
        held, self._held = self._held, b""
        if held.strip() and not self._read_event(held.rstrip(b"\n")):
            held = b""
        self.is_no_answer = not self.has_begun
        return passes + held

    @property
    def passed_tokens(self) -> int:
        return round(self._said)
