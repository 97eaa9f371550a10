"""Address of the caller: the peer of the connection, or what a trusted proxy reports. Forged headers are ignored."""

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from gateway.web.responses import RawHeaders

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address
# `ip`, `ip:port`, `[v6]` and `[v6]:port`, each also in quotes (RFC 7239, section 6). Azure writes the port always.
_NODE: Final = re.compile(
    r"(?P<quote>\"?)"
    r"(?:\[(?P<v6>[^\[\]]*:[^\[\]]*)\](?::\d{1,5})?|(?P<v4>[\d.]+):\d{1,5}|(?P<bare>[^\[\]\"]+))"
    r"(?P=quote)"
)
_MAX_NODE: Final = 128


def parse_networks(text: str) -> tuple[Network, ...]:
    """From `10.0.0.0/8,192.0.2.7`; raises ValueError naming what is none."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


@lru_cache(maxsize=4096)
def parse_address(text: str) -> Address | None:
    """None for what is no address; an IPv4 address in IPv6's clothes is the IPv4 one. Without a zone (`%eth0`): that is
    an interface of the machine that wrote it, may be any text, and is nothing that Postgres keeps."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        address = IPv6Address(int(address))
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def parse_node(text: str) -> Address | None:
    """What a proxy wrote about who called it, without quotes and port; None for what is no address."""
    if len(text) > _MAX_NODE or not text.isascii() or (node := _NODE.fullmatch(text)) is None:
        return None
    return parse_address(node["v6"] or node["v4"] or node["bare"])


# An address hashes and prints itself in Python code; its number and version are found five times as fast.
_texts: dict[int, str] = {}


def address_text(address: Address | None) -> str | None:
    """The address as people write it."""
    if address is None:
        return None
    text = _texts.get(key := int(address) << 1 | (address.version == 6))
    if text is None:
        if len(_texts) >= 4096:
            _texts.clear()
        text = _texts[key] = str(address)
    return text


def client_address(peer: str | None, headers: RawHeaders, trusted: Sequence[Network]) -> Address | None:
    """Of the caller. `X-Forwarded-For` is read from the right, for as long as each one who wrote is trusted: what
    stands left of the first who is not, anybody may have written. None where a trusted proxy wrote what is no address:
    the proxy's own would stand for everybody behind it."""
    address = parse_address(peer) if peer else None
    if address is None or not trusted or not is_in(address, trusted):
        return address
    forwarded = b",".join(value for name, value in headers if name == b"x-forwarded-for").decode("latin-1")
    for part in reversed(forwarded.split(",")):
        node = part.strip(" \t")
        if not node:
            continue  # an empty element of a list says nothing (RFC 9110, section 5.6.1)
        address = parse_node(node)
        if address is None or not is_in(address, trusted):
            return address
    return address


def is_in(address: Address, networks: Sequence[Network]) -> bool:
    """Whether one of the networks holds the address."""
    return any(address.version == network.version and address in network for network in networks)
