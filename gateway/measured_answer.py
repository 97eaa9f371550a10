"""What meters read of an answer as it passes."""

from typing import Protocol

import structlog

from gateway.domain.calls import Usage
from gateway.endpoints.usage_parsing import ParsedUsage, Reader

log = structlog.get_logger(__name__)


class Meter(Protocol):
    """Reads one answer as it passes. `usage` is final; `so_far` is what was reported where no more came; `ran`: tools
    that the provider has run; `has_begun`: a part of an answer has passed; `is_no_answer`: what came, or its end,
    shows that none will."""

    usage: Usage | None
    so_far: Usage | None
    litellm_nano_usd: int | None
    model: str | None
    ran: Usage | None
    response_id: str | None
    item_ids: tuple[str, ...]
    has_begun: bool
    has_error: bool
    is_no_answer: bool
    is_over: bool

    @property
    def is_within_event(self) -> bool:
        """Whether what has passed ends in the middle of an event."""
        ...

    def feed(self, chunk: bytes) -> bytes:
        """What of it may go to the caller now."""
        ...

    def finish(self) -> bytes:
        """What was still held back, at the end."""
        ...

    @property
    def passed_tokens(self) -> int:
        """Completion tokens of what has passed so far, estimated."""
        ...


class MeasuredAnswer:
    """Base of meters: what one has read so far."""

    __slots__ = (
        "_reader",
        "has_begun",
        "has_error",
        "is_no_answer",
        "is_over",
        "item_ids",
        "litellm_nano_usd",
        "model",
        "ran",
        "response_id",
        "so_far",
        "usage",
    )

    def __init__(self, read: Reader) -> None:
        self._reader = read
        self.usage: Usage | None = None
        self.so_far: Usage | None = None
        self.ran: Usage | None = None
        self.litellm_nano_usd: int | None = None
        self.model: str | None = None
        self.response_id: str | None = None
        self.item_ids: tuple[str, ...] = ()
        self.has_begun = self.has_error = self.is_no_answer = False
        # The event after which no other comes has been seen; of a whole answer only its end says so.
        self.is_over = False

    def _read(self, data: bytes) -> ParsedUsage | None:
        """An answer that is paid for goes on, whatever is wrong with reading it."""
        try:
            return self._reader(data)
        except Exception:
            log.exception("answer_not_read")
            return None
