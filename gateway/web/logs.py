"""Logs: one JSON line an event on standard error, times in UTC. Secrets are never given to it."""

import json
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import BinaryIO, Final

import msgspec
import structlog
from structlog.typing import EventDict

# A line that stays the same is written again after this, for those who look only at the end.
SAME_AFTER_S: Final = 30.0
REPEATED_LEVELS: Final = ("warning", "error")
MAX_LINES: Final = 1000


def configure_logs(level: str) -> None:
    """For the whole process, once."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            # Before the time, by which no line would be the same.
            SameLines(),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=encode_log),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.BytesLoggerFactory(_Unfailing(sys.stderr.buffer)),  # type: ignore[arg-type]  # as much of a file as it uses
        cache_logger_on_first_use=False,
    )


class SameLines:
    """Writes a warning or error that is the same as one of the last SAME_AFTER_S only after that time: what waits for
    another program tries again each second, and says so once. `repeated` counts those that were left out."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        # When it was written, and how often it came since.
        self._written: dict[str, tuple[float, int]] = {}

    def __call__(self, _: object, level: str, event: EventDict) -> EventDict:
        if level not in REPEATED_LEVELS:
            return event
        now, line = self._clock(), repr(sorted(event.items(), key=lambda item: item[0]))
        written_at, left_out = self._written.get(line, (-SAME_AFTER_S, 0))
        if now - written_at < SAME_AFTER_S:
            self._written[line] = (written_at, left_out + 1)
            raise structlog.DropEvent
        if len(self._written) >= MAX_LINES:
            self._written = {one: of for one, of in list(self._written.items()) if now - of[0] < SAME_AFTER_S}
        if len(self._written) < MAX_LINES:
            self._written[line] = (now, 0)
        return {**event, "repeated": left_out} if left_out else event


# What a full disk raises, and a file that somebody closed.
NOT_WRITTEN = (OSError, ValueError)


class _Unfailing:
    """Where the log is a file on a full disk: what is said of that must not be one more thing that fails."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, line: bytes) -> int:
        with suppress(*NOT_WRITTEN):
            self._file.write(line)
        return len(line)

    def flush(self) -> None:
        with suppress(*NOT_WRITTEN):
            self._file.flush()


def encode_log(event: object, **_: object) -> bytes:
    """One line, whatever is in it."""
    try:
        return msgspec.json.encode(event, enc_hook=str)
    except UnicodeEncodeError:
        # Half a character, which somebody sent: JSON can write it as \ud800, UTF-8 cannot.
        return json.dumps(event, default=str).encode()
