"""One line of a journal: the CRC-32 of a row's JSON, a space, the JSON, and a newline."""

import zlib
from collections.abc import Sequence
from typing import Final

import msgspec

from gateway.domain.usage_rows import UsageRow

# A line has so many bytes beside its row.
LINE_BYTES: Final = 10

encode_row: Final = msgspec.json.Encoder().encode
# Fields it does not know are left out; fields that came later have a default in UsageRow. So workers of two versions
# can adopt each other's journals.
_decode = msgspec.json.Decoder(UsageRow).decode


def line_of(data: bytes) -> bytes:
    """One line of a segment, of a row as JSON."""
    return b"%08x %s\n" % (zlib.crc32(data), data)


def size_of(rows: Sequence[bytes]) -> int:
    """Bytes of the lines of these rows."""
    return sum(map(len, rows)) + LINE_BYTES * len(rows)


def check_line(line: bytes) -> bytes | None:
    """The row as JSON, or None for a line that was damaged."""
    data = line[9:]
    return data if line[:9] == b"%08x " % zlib.crc32(data) else None


def read_row(data: bytes) -> UsageRow | None:
    """The row, or None for one that this version does not understand."""
    try:
        return _decode(data)
    except msgspec.MsgspecError:
        return None
