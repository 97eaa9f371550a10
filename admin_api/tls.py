"""TLS contexts with trusted certificates."""

import ssl
from functools import cache, lru_cache
from pathlib import Path

import httpx2


def trusted(ca_file: Path | None) -> ssl.SSLContext:
    """A context that trusts the CAs of the file; None: those of the system. Raises OSError for a file that cannot be
    read or has no certificate.

    Cached, since reading the system's takes 20 ms of processor time, more than the rest of a message. A file that has
    changed is read again; the system's are read once.
    """
    if ca_file is None:
        return _read(None, 0)
    return _read(str(ca_file), ca_file.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _read(ca_file: str | None, _changed_at: int) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)


def trusted_by_default(ca_file: Path | None) -> ssl.SSLContext:
    """A context that trusts the CAs of the file; None: those that httpx2 trusts by itself. A login makes four clients,
    each of which would read them again: cached for the same reason."""
    return _of_httpx() if ca_file is None else trusted(ca_file)


@cache
def _of_httpx() -> ssl.SSLContext:
    return httpx2.create_ssl_context()
