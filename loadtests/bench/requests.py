"""The requests of the bench: bodies of an exact size, of English text."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from loadtests.bench.answers import MODEL, PATH

TEXT: Final = (Path(__file__).parents[1] / "texts" / "english.txt").read_text(encoding="ascii", errors="ignore")


def json_body(size: int) -> bytes:
    """A body of `size` bytes for a whole answer; at least a few hundred."""
    return _body(size, "", {})


def stream_body(events: int, a_second: int, size: int = 1024) -> bytes:
    """A body for a stream of `events` events, so many a second; 0 a second: all at once."""
    return _body(size, f"[events={events}] [a_second={a_second}] ", {"stream": True})


def _body(size: int, directives: str, fields: Mapping[str, object]) -> bytes:
    def encode(text: str) -> bytes:
        message = {"role": "user", "content": directives + text}
        return json.dumps({"model": MODEL, "messages": [message], "max_tokens": 64, **fields}).encode()

    text = " ".join(TEXT.split()).replace("\\", "").replace('"', "")
    missing = size - len(encode(""))
    if missing < 0:
        raise ValueError(f"a body has at least {size - missing} bytes")
    return encode((text * (missing // len(text) + 1))[:missing])


def request_bytes(url: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """The whole of an HTTP/1.1 request."""
    sent = {"host": urlsplit(url).netloc, "content-type": "application/json", "content-length": str(len(body))}
    lines = [f"POST {PATH} HTTP/1.1", *(f"{name}: {value}" for name, value in (sent | dict(headers)).items())]
    return "\r\n".join([*lines, "", ""]).encode() + body
