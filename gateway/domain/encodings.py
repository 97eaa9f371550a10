"""Encodings of JSON that are refused: it is UTF-8 (RFC 8259, section 8.1)."""

from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from typing import Final

NOT_UTF8: Final = "The request body looks like UTF-16; send it as UTF-8."


def is_utf16(start: bytes) -> bool:
    """Of the first two bytes of a JSON body, which are ASCII in UTF-8. UTF-32 begins the same way."""
    return start in (BOM_UTF16_LE, BOM_UTF16_BE) or b"\0" in start
