"""Whose certificates are trusted."""

import ssl
from functools import lru_cache
from pathlib import Path


def trusted(ca_file: Path | None) -> ssl.SSLContext:
    """What the CAs of that file vouch for; None: those of the system. Raises OSError for a file that can not be read or
    holds no certificate.

    Kept, for it takes a processor 20 ms to read the system's, which is more than all the rest of a message. A file that
    has changed is read again; the system's are read once.
    """
    if ca_file is None:
        return _read(None, 0)
    return _read(str(ca_file), ca_file.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _read(ca_file: str | None, _changed_at: int) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)
