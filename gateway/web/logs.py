"""Logs: one JSON line an event on standard error, times in UTC. Secrets are never given to it."""

import json
import logging
import sys
from contextlib import suppress
from typing import BinaryIO

import msgspec
import structlog


def configure_logs(level: str) -> None:
    """For the whole process, once."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=encode_log),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.BytesLoggerFactory(_Unfailing(sys.stderr.buffer)),  # type: ignore[arg-type]  # as much of a file as it uses
        cache_logger_on_first_use=False,
    )


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
