"""TLS contexts with trusted certificates."""

import ssl
from functools import cache
from pathlib import Path

import httpx2

from gateway.tls import TlsFiles


def trusted(ca_file: Path | None) -> ssl.SSLContext:
    """A context that trusts the CAs of the file; None: those of the system. Raises OSError for a file that cannot be
    read or has no certificate."""
    return TlsFiles(ca=ca_file).context()


def trusted_by_default(ca_file: Path | None) -> ssl.SSLContext:
    """A context that trusts the CAs of the file; None: those that httpx2 trusts by itself. A login makes four clients,
    each of which would read them again: cached for the same reason."""
    return _of_httpx() if ca_file is None else trusted(ca_file)


@cache
def _of_httpx() -> ssl.SSLContext:
    return httpx2.create_ssl_context()
