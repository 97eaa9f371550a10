"""Request bodies that were compressed on the way (RFC 9110, section 8.4): unpacked while they are received, in pieces,
so that the reader's bound on the size holds for what comes out."""

import asyncio
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from gateway.domain.errors import GatewayError
from gateway.web.bodies import HeldBody
from gateway.web.responses import Message, Receive
from gateway.web.zstd_frames import MAX_WINDOW, window_bytes

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PIECE_BYTES: Final = 64 * 1024
# Others get their turn after so many unpacked bytes.
TURN_BYTES: Final = 1024 * 1024
MAX_CODINGS: Final = 4
# Of one body, one after another: nobody sends many, and each costs the same however little is in it.
MAX_FRAMES: Final = 1000
# What a decoder holds beside its window.
DECODER_BYTES: Final = 192 * 1024
_ZSTD_OPTIONS: Final[dict[int, int]] = {zstd.DecompressionParameter.window_log_max: MAX_WINDOW.bit_length() - 1}
_GZIP_BITS: Final = 31  # with gzip's head and sum, a window of 32 KiB
_NAME: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,40}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Bounds:
    """`max_bytes` is the largest unpacked body; what decoders need is taken from `held` while they need it."""

    max_bytes: int
    held: HeldBody


class _Frame(Protocol):
    """Unpacks one frame of zstd or one member of gzip, in pieces."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """At most so many bytes. What is left of `data` is kept and comes first the next time."""

    @property
    def needs_input(self) -> bool:
        """Whether everything that was fed has come out."""

    @property
    def eof(self) -> bool:
        """Whether the end was reached."""

    @property
    def unused_data(self) -> bytes:
        """What followed it."""


class _Member:
    """A member of gzip with the interface of a frame of zstd."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_GZIP_BITS)
        self._rest = b""
        self.needs_input = True

    def decompress(self, data: bytes, max_length: int) -> bytes:
        piece = self._inflate.decompress(self._rest + data, max_length)
        self._rest = self._inflate.unconsumed_tail
        # What is read and has not come out comes with the next bytes: its end, the checksum, is not read before.
        self.needs_input = not self._rest
        return piece

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data


def _new_zstd_frame() -> _Frame:
    return zstd.ZstdDecompressor(options=_ZSTD_OPTIONS)


def _no_window(_: bytes) -> int:
    return 0


class _Decoder:
    """Undoes one coding of a body. `name` is the coding's."""

    def __init__(
        self, name: str, new_frame: Callable[[], _Frame], window: Callable[[bytes], int | None], bounds: Bounds
    ) -> None:
        self.name = name
        self._new_frame = new_frame
        self._window = window
        self._bounds = bounds
        self._unpacked = 0
        self._holds = 0
        self._frame: _Frame | None = None
        self._head = b""
        self._frames = 0

    def unpack(self, data: bytes) -> Iterator[bytes]:
        """Raises `invalid_request`, `request_too_large`, `overloaded`."""
        while data:
            frame = self._frame or self._begin(data)
            if frame is None:
                return
            data, self._head = self._head + data if self._head else data, b""
            while True:
                try:
                    piece = frame.decompress(data, PIECE_BYTES)
                except (zlib.error, zstd.ZstdError):
                    raise self.refusal("it is not valid") from None
                if piece:
                    self._count(piece)
                    yield piece
                if frame.eof or frame.needs_input:
                    break
                data = b""
            data = frame.unused_data if frame.eof else b""
            if frame.eof:
                self._bounds.held.give_back(self._holds)
                self._frame, self._holds = None, 0

    def _begin(self, data: bytes) -> _Frame | None:
        """The next frame, once its head has come, which says what memory it needs."""
        window = self._window(self._head + data)
        if window is None:
            self._head += data
            return None
        self._frames += 1
        if self._frames > MAX_FRAMES:
            raise self.refusal(f"it has more than {MAX_FRAMES} frames")
        if window > MAX_WINDOW:
            raise self.refusal(f"its window is larger than {MAX_WINDOW >> 20} MiB")
        self._bounds.held.take(window + DECODER_BYTES)
        self._holds = window + DECODER_BYTES
        self._frame = self._new_frame()
        return self._frame

    def _count(self, piece: bytes) -> None:
        # Of every coding: what comes out of the first may be much more than what comes out in the end.
        self._unpacked += len(piece)
        if self._unpacked > self._bounds.max_bytes:
            message = f"The unpacked request body is larger than {self._bounds.max_bytes} bytes."
            raise GatewayError("request_too_large", message)

    def check_end(self) -> None:
        """Raises `invalid_request` if something is missing."""
        if self._frame is not None or self._head or not self._frames:
            raise self.refusal("its end is missing")

    def refusal(self, why: str) -> GatewayError:
        """What is wrong with the body."""
        return GatewayError("invalid_request", f"The request body cannot be unpacked by {self.name}: {why}.")


def _new_gzip(bounds: Bounds) -> _Decoder:
    return _Decoder("gzip", _Member, _no_window, bounds)


def _new_zstd(bounds: Bounds) -> _Decoder:
    return _Decoder("zstd", _new_zstd_frame, window_bytes, bounds)


CODINGS: Final[dict[str, Callable[[Bounds], _Decoder]]] = {
    "gzip": _new_gzip,
    "x-gzip": _new_gzip,  # RFC 9110, section 8.4.1.3
    "zstd": _new_zstd,
}
ACCEPTED: Final = {"accept-encoding": "gzip, zstd"}


def read_codings(value: bytes) -> list[str]:
    """The codings of the field in the order they were applied. Raises `unsupported_media_type`."""
    names = [name for part in value.decode("latin-1").split(",") if (name := part.strip().lower())]
    names = [name for name in names if name != "identity"]
    if len(names) > MAX_CODINGS:
        message = f"The request body has more than {MAX_CODINGS} codings."
        raise GatewayError("unsupported_media_type", message, headers=ACCEPTED)
    for name in names:
        if name not in CODINGS:
            named = f" '{name}'" if _NAME.fullmatch(name) else ""
            message = f"The Content-Encoding{named} is not supported; send gzip, zstd, or none."
            raise GatewayError("unsupported_media_type", message, headers=ACCEPTED)
    return names


class UnpackedBody:
    """A request body without its codings. `receive` stands in for the server's own, and raises GatewayError
    `unsupported_media_type`, `invalid_request`, `request_too_large` or `overloaded`."""

    def __init__(self, receive: Receive, codings: bytes, bounds: Bounds) -> None:
        self._receive = receive
        self._codings = codings
        self._bounds = bounds
        self._decoders: list[_Decoder] | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._is_received = self._is_given = False
        self._since_turn = 0

    async def receive(self) -> Message:
        """The next piece as a message of ASGI. Nothing is refused before the body is asked for."""
        if self._decoders is None:
            self._decoders = [CODINGS[name](self._bounds) for name in reversed(read_codings(self._codings))]
        while (piece := next(self._pieces, None)) is None:
            if self._is_given:
                # As any ASGI server: after the body's end, the next message is that the caller has left.
                return await self._receive()
            if self._is_received:
                self._is_given = True
                for decoder in self._decoders:
                    decoder.check_end()
                return {"type": "http.request", "body": b"", "more_body": False}
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            self._is_received = not message.get("more_body", False)
            self._pieces = _unpack(self._decoders, message.get("body", b""))
        self._since_turn += len(piece)
        if self._since_turn >= TURN_BYTES:
            self._since_turn = 0
            await asyncio.sleep(0)
        return {"type": "http.request", "body": piece, "more_body": True}


def _unpack(decoders: Sequence[_Decoder], data: bytes) -> Iterator[bytes]:
    if not decoders:
        yield data
        return
    for piece in decoders[0].unpack(data):
        yield from _unpack(decoders[1:], piece)
