"""CORS (https://fetch.spec.whatwg.org/#http-cors-protocol): pages of which origins may read the gateway's answers.

Keys are sent in headers that a page sets itself, never in cookies, so credentials are not allowed and need not be."""

import re
from typing import Final, Self
from urllib.parse import SplitResult, urlsplit

from gateway.web.responses import RawHeaders

ANY: Final = "*"
HOW_TO_WRITE: Final = "origins as https://app.example.com, commas between"
DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
# What answers say in headers; a page sees no other ones than these and a few common ones.
EXPOSED: Final = (
    "x-request-id",
    "request-id",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    *(f"x-ratelimit-{what}-{of}" for of in ("requests", "tokens") for what in ("limit", "remaining", "reset")),
    "www-authenticate",
    "allow",
    "accept-encoding",
)
# Those of every route: a page that uses another one reads the error that says so.
METHODS: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE"
# How long a browser need not ask again.
MAX_AGE_S: Final = b"600"
VARY: Final = (b"vary", b"Origin")
PREFLIGHT_VARY: Final = (b"vary", b"Access-Control-Request-Method, Access-Control-Request-Headers")
_EXPOSE: Final = (b"access-control-expose-headers", ", ".join(EXPOSED).encode())
_FIELD_NAMES: Final = re.compile(rb"[\w!#$%&'*+.^`|~, \t-]{1,4096}", re.ASCII)


def parse_origins(text: str) -> tuple[str, ...]:
    """As browsers write them. Raises ValueError."""
    return tuple(parse_origin(part.strip()) for part in text.split(",") if part.strip())


def parse_origin(text: str) -> str:
    """The origin that a person wrote, perhaps with a slash at its end. Raises ValueError."""
    parts = urlsplit(text.lower())
    if not parts.scheme or not parts.hostname or parts.username is not None or not text.isascii():
        raise ValueError(HOW_TO_WRITE)
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"{HOW_TO_WRITE}; an origin has no path")
    return origin_of(parts)


def origin_of(parts: SplitResult) -> str:
    """The origin of an address, as browsers write it: no port if it is the scheme's own, no path."""
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = "" if parts.port in (None, DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


class CorsPolicy:
    """The allowed origins. What it adds to an answer is made once."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._allows_any = origins == (ANY,)
        self._headers = {origin.encode(): _headers_of(origin.encode()) for origin in origins}

    @classmethod
    def of(cls, origins: tuple[str, ...]) -> Self | None:
        """None: no page of another origin may read anything."""
        return cls(origins) if origins else None

    def headers(self, request: RawHeaders) -> RawHeaders:
        """What goes out with an answer to the request with these headers, whose names are in lower case."""
        if self._allows_any:
            return self._headers[b"*"]
        for name, value in request:
            if name == b"origin":
                return self._headers.get(value, [VARY])
        return [VARY]

    def preflight(self, request: RawHeaders) -> RawHeaders | None:
        """What goes out beside `headers` with the answer to a browser that asks before it sends; None where the
        request is none of those, or of an origin that is not allowed."""
        values = dict(request)
        origin = values.get(b"origin")
        if b"access-control-request-method" not in values or origin is None:
            return None
        if not self._allows_any and origin not in self._headers:
            return None
        answer = [(b"access-control-allow-methods", METHODS), (b"access-control-max-age", MAX_AGE_S), PREFLIGHT_VARY]
        # SDKs add headers of their own with each version: all are allowed, what is not known is ignored.
        asked = values.get(b"access-control-request-headers", b"")
        if _FIELD_NAMES.fullmatch(asked):
            answer.append((b"access-control-allow-headers", asked))
        return answer


def _headers_of(origin: bytes) -> RawHeaders:
    return [(b"access-control-allow-origin", origin), VARY, _EXPOSE]
