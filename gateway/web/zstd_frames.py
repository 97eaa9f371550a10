"""How much memory a frame of zstd makes its decoder hold (RFC 8878, section 3.1.1)."""

from typing import Final

# RFC 9659: nobody needs to accept more over HTTP.
MAX_WINDOW: Final = 8 * 1024 * 1024
MAGIC: Final = b"\x28\xb5\x2f\xfd"
# Magic, descriptor, and one byte more; also a frame that is to be skipped is longer.
_SHORTEST: Final = 6
_DICTIONARY_BYTES: Final = (0, 1, 2, 4)
_CONTENT_BYTES: Final = (1, 2, 4, 8)


def window_bytes(head: bytes) -> int | None:
    """The frame's window, 0 if this begins no frame; None: more of it is needed."""
    if len(head) < _SHORTEST:
        return None
    if not head.startswith(MAGIC):
        return 0
    descriptor = head[4]
    if not descriptor & 0b10_0000:
        exponent, mantissa = divmod(head[5], 8)
        base = 1 << (10 + exponent)
        return base + base // 8 * mantissa
    # A single segment: the window is the whole content.
    begin = 5 + _DICTIONARY_BYTES[descriptor & 0b11]
    size = _CONTENT_BYTES[descriptor >> 6]
    if len(head) < begin + size:
        return None
    return int.from_bytes(head[begin : begin + size], "little") + (256 if size == 2 else 0)
