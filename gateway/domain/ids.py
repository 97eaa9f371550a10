"""Request ids: UUIDv7 (RFC 9562), whose time decides the window and the partition a call belongs to."""

import os
import re
import time
from collections.abc import Callable
from typing import Final
from uuid import UUID

MAX_CLIENT_ID: Final = 128
_PRINTABLE: Final = re.compile(rb"[ -~]+")
# Keys of this gateway and of most providers begin so.
_SECRET: Final = b"sk-"


def uuid7(milliseconds: int, random: bytes) -> UUID:
    """The UUIDv7 of a moment in ms since 1970 and ten random bytes."""
    number = (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | int.from_bytes(random)
    return UUID(int=number & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62)


def milliseconds_of(request_id: UUID) -> int:
    """The moment inside a UUIDv7, in ms since 1970."""
    return request_id.int >> 80


def read_client_request_id(value: bytes) -> str | None:
    """The caller's own id for a request, of at most MAX_CLIENT_ID printable ASCII characters; None for anything else,
    and for what may hold a key."""
    text = value.strip()
    if not 0 < len(text) <= MAX_CLIENT_ID or not _PRINTABLE.fullmatch(text) or _SECRET in text:
        return None
    return text.decode("ascii")


class RequestIds:
    """Makes request ids by Redis's clock: `offset_ms` is what the limits' storage last saw it differ by.

    Random bytes come from the system in blocks of 4 KiB: one system call for 409 ids.
    """

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self.offset_ms = 0
        self._wall_clock = wall_clock
        self._block = b""
        self._used = 0

    def new(self) -> UUID:
        """An id of this moment."""
        if self._used + 10 > len(self._block):
            self._block, self._used = os.urandom(4096), 0
        random = self._block[self._used : self._used + 10]
        self._used += 10
        return uuid7(int(self._wall_clock() * 1000) + self.offset_ms, random)
