"""Requests that offer an upgrade nobody takes, such as `h2c` from Java's HttpClient: served as if they offered none.

A server may ignore `Upgrade` (RFC 9110, section 7.8). The parser does not: it ends at the request's head and takes all
that follows for the other protocol."""

from typing import Final

from gateway.web.responses import RawHeaders

# Of this connection only, and named in `Connection` with the upgrade.
_FIELDS: Final = frozenset({b"upgrade", b"http2-settings"})


def head_without_upgrade(method: bytes, target: bytes, version: str, headers: RawHeaders) -> bytes:
    """The request's head again, without the offer; names are in lower case. Every other field stays, so that a new
    parser judges the length of the body as strictly as that of any other request."""
    lines = [b"%b %b HTTP/%b" % (method, target, version.encode())]
    for name, value in headers:
        if name in _FIELDS:
            continue
        if name == b"connection":
            value = b", ".join(token for part in value.split(b",") if (token := part.strip()).lower() not in _FIELDS)
            if not value:
                continue
        lines.append(b"%b: %b" % (name, value))
    return b"\r\n".join([*lines, b"", b""])
