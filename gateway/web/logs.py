"""Logs: one JSON line an event on standard error, times in UTC. Secrets are never given to it."""

import logging
import sys

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
            structlog.processors.JSONRenderer(serializer=_encode),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=False,
    )


def _encode(event: object, **_: object) -> bytes:
    return msgspec.json.encode(event, enc_hook=str)
