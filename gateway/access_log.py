"""The access log: one line of JSON on standard output for each call that was answered. It holds numbers of ours, words
from our own tables, and one thing that a caller wrote, their own id of the request: no key, no other header, query or
path, no prompt, no name they made up. Scrapes and health checks have no lines."""

import fcntl
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from time import time
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

import msgspec

from gateway import metrics
from gateway.domain.errors import CODES
from gateway.domain.grants import KeyRecord
from gateway.domain.usage_rows import UsageRow

# A line is written by then; the call does not wait for it.
WRITE_S: Final = 0.1
# Lines of one write. After each write the thread waits up to 5 ms for its turn: with few lines a write, more calls end
# than can be written.
BATCH: Final = 2_000
# What a pipe takes as a whole, where other workers cannot be kept from writing to the same one.
AT_ONCE: Final = 4096
# Lines that wait while the output is blocked; more are dropped and counted.
MAX_WAITING: Final = 100_000
METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "WEBSOCKET"})
OTHER: Final = "other"


class Line(msgspec.Struct):
    """One call. `path` is the route's own constant, `other` for an unknown one; `code` is the error's, if there was
    one; times in ms. Sizes in bytes: of the request as its head says, of a session as it was received, of the answer as
    it was sent. Null: not known, or the call did not get so far."""

    # Seconds since 1970 until it is written.
    timestamp: float | datetime
    method: str
    path: str
    client: str | None
    event: str = "call"
    request_id: str | None = None
    status: int = 499
    code: str | None = None
    endpoint: str | None = None
    ending: str | None = None
    account_id: int | None = None
    user_id: int | None = None
    key_id: int | None = None
    model: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost_nano_usd: int | None = None
    first_byte_ms: int | None = None
    total_ms: int | None = None
    bytes_in: int | None = None
    bytes_out: int | None = None
    client_request_id: str | None = None

    def knows(self, record: KeyRecord) -> None:
        """Whose call it is."""
        self.account_id, self.user_id, self.key_id = record.account_id, record.user_id, record.key_id

    def refused(self, status: int, code: str) -> None:
        """With a code of ours; an upstream's own words stay out."""
        self.status, self.code = status, code if code in CODES else "upstream_error"

    def ended(self, row: UsageRow) -> None:
        """As the ledger has it."""
        self.endpoint, self.ending, self.status, self.model = row.endpoint, row.ending, row.status, row.model_asked
        self.prompt_tokens, self.completion_tokens = row.prompt_tokens, row.completion_tokens
        self.cost_nano_usd, self.first_byte_ms = row.cost_nano_usd, row.first_byte_ms
        self.total_ms = row.total_ms
        if row.error_code is not None:
            self.refused(row.status, row.error_code)


class _Silent(Line):
    """Notes nothing."""

    def knows(self, record: KeyRecord) -> None:
        pass

    def refused(self, status: int, code: str) -> None:
        pass

    def ended(self, row: UsageRow) -> None:
        pass


SILENT: Final[Line] = _Silent(0.0, OTHER, OTHER, None)


class AccessLog:
    """Lines are queued at once and written by a thread, so a blocked output does not delay calls."""

    def __init__(self, *, is_on: bool, out: BinaryIO | None = None) -> None:
        self._is_on = is_on
        self._out = out or sys.stdout.buffer
        self._lines: deque[Line] = deque()
        self._encode = msgspec.json.Encoder().encode_lines
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, method: str, path: str, client: str | None, client_request_id: str | None = None) -> Line:
        """A line that is written when `end` gets it; one that does nothing where the log is switched off."""
        if not self._is_on:
            return SILENT
        known_method = method if method in METHODS else OTHER
        return Line(time(), known_method, path, client, client_request_id=client_request_id)

    def end(self, line: Line, total_ms: int) -> None:
        """The call is over: the line is complete."""
        if line is SILENT:
            return
        if line.total_ms is None:
            line.total_ms = total_ms
        if len(self._lines) < MAX_WAITING:
            self._lines.append(line)
        else:
            metrics.LINES_DROPPED.inc()

    def start(self) -> None:
        """Begins to write."""
        if self._is_on:
            self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
            self._thread.start()

    def close(self, timeout_s: float = 2.0) -> None:
        """Writes what waits, as far as the output takes it in time."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopped.wait(WRITE_S):
            self._write()
        self._write()

    def _write(self) -> None:
        while self._lines:
            batch = [self._lines.popleft() for _ in range(min(BATCH, len(self._lines)))]
            for line in batch:
                began_at: Any = line.timestamp
                line.timestamp = datetime.fromtimestamp(began_at, UTC)
            # Nobody reads it any more, or the disk is full.
            with suppress(OSError, ValueError):
                self._put(self._encode(batch))

    def _put(self, text: bytes) -> None:
        with _Alone(self._out) as alone:
            for piece in (text,) if alone.is_locked else _pieces(text):
                self._out.write(piece)
                self._out.flush()


class _Alone:
    """Keeps other workers from writing to the same pipe or file, so that no line stands within another. `is_locked` is
    false where the system has no locks for it."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self.is_locked = False

    def __enter__(self) -> Self:
        with suppress(OSError, ValueError):
            fcntl.lockf(self._out.fileno(), fcntl.LOCK_EX)
            self.is_locked = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, where: TracebackType | None
    ) -> None:
        if self.is_locked:
            with suppress(OSError, ValueError):
                fcntl.lockf(self._out.fileno(), fcntl.LOCK_UN)


def _pieces(text: bytes) -> Iterator[bytes]:
    """Whole lines, of AT_ONCE bytes together at most."""
    piece = b""
    for line in text.splitlines(keepends=True):
        if piece and len(piece) + len(line) > AT_ONCE:
            yield piece
            piece = b""
        piece += line
    yield piece
