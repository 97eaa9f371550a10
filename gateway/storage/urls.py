"""Addresses of Postgres and Redis with passwords in them, checked at start."""

from typing import Final
from urllib.parse import urlsplit

POSTGRES_SCHEMES: Final = ("postgresql", "postgres")
POSTGRES_SHAPE: Final = "an address as postgresql://user:password@host:port/database"
REDIS_SHAPE: Final = "an address as redis://user:password@host:port"
ESCAPES: Final = "in user and password what is no letter or digit as % and two hex digits, as %2F for /"


def check_postgres_url(url: str) -> None:
    """Raises ValueError, without what is in it."""
    if not _can_be_read(url) or urlsplit(url).scheme not in POSTGRES_SCHEMES:
        raise ValueError(f"{POSTGRES_SHAPE}; {ESCAPES}")


def check_redis_url(url: str) -> None:
    """Raises ValueError, without what is in it."""
    if not _can_be_read(url):
        raise ValueError(f"{REDIS_SHAPE}; {ESCAPES}")


def _can_be_read(url: str) -> bool:
    """A / or # in a password would end the hosts there, and the rest of the password would be taken for a port,
    which the driver's error would show."""
    try:
        hosts = urlsplit(url).netloc.rpartition("@")[2].split(",")
    except ValueError:
        return False
    ports = (host.rpartition("]")[2].partition(":")[2] for host in hosts)
    return all(not port or (port.isascii() and port.isdecimal()) for port in ports)
