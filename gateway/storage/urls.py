"""Addresses of Postgres and Redis with passwords in them, checked at start."""

import re
from typing import Final
from urllib.parse import urlsplit

POSTGRES_SCHEMES: Final = ("postgresql", "postgres")
POSTGRES_SHAPE: Final = "an address as postgresql://user:password@host:port/database"
REDIS_SHAPE: Final = "an address as redis://user:password@host:port"
AUTHORITY: Final = re.compile(r"[^/?#]*")
ESCAPES: Final = "in user and password what is no letter or digit as % and two hex digits, as %2F for /"


def postgres_url(url: str) -> str:
    """The same address in a form that the driver reads on every Python. Raises ValueError, without what is in it."""
    moved, hosts = _move_hosts(url)
    if not _can_be_read(moved) or not _have_ports(hosts) or urlsplit(moved).scheme not in POSTGRES_SCHEMES:
        raise ValueError(f"{POSTGRES_SHAPE}; {ESCAPES}")
    return moved


def _move_hosts(url: str) -> tuple[str, str]:
    """With several hosts in its query, and the hosts. Since CVE-2025-0938 was mended, `urlsplit` of Python takes the
    brackets of an IPv6 address after a comma for a fault."""
    scheme, separator, rest = url.partition("://")
    found = AUTHORITY.match(rest)
    authority = found[0] if found else ""
    credentials, at, hosts = authority.rpartition("@")
    if "," not in hosts:
        return url, ""
    after = rest[len(authority) :]
    return f"{scheme}{separator}{credentials}{at}{after}{'&' if '?' in after else '?'}host={hosts}", hosts


def check_redis_url(url: str) -> None:
    """Raises ValueError, without what is in it."""
    if not _can_be_read(url):
        raise ValueError(f"{REDIS_SHAPE}; {ESCAPES}")


def _can_be_read(url: str) -> bool:
    """A / or # in a password would end the hosts there, and the rest of the password would be taken for a port,
    which the driver's error would show."""
    try:
        return _have_ports(urlsplit(url).netloc.rpartition("@")[2])
    except ValueError:
        return False


def _have_ports(hosts: str) -> bool:
    """Ports are numbers, where there are any."""
    ports = (host.rpartition("]")[2].partition(":")[2] for host in hosts.split(","))
    return all(not port or (port.isascii() and port.isdecimal()) for port in ports)
