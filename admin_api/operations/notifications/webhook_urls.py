"""Where a webhook may lead: https to public addresses, unless settings allow more.

The check is on the addresses that are then connected to, not on the name: a name that answers otherwise a moment later
(DNS rebinding) leads nowhere else.
"""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

from admin_api.operations.validation import invalid

MAX_URL: Final = 2000
RESOLVE_S: Final = 5.0
# All of IPv6 that is given out to the public; Python counts site-local addresses (fec0::/10) and ::/96 as global.
PUBLIC_IPV6: Final = ip_network("2000::/3")
# NAT64 and Teredo carry an IPv4 address inside, which a translator on the way may take for one of its own network.
TRANSLATED: Final = tuple(ip_network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2001::/32"))


class WebhookURLError(Exception):
    """An address that may not be called or does not exist; the message is for the admin who set it."""


@dataclass(frozen=True, slots=True)
class WebhookURLRules:
    """What settings allow beyond https to the public."""

    allow_http: bool = False
    networks: Sequence[IPv4Network | IPv6Network] = ()


def check_url(url: str, rules: WebhookURLRules) -> str:
    """The form only; raises GatewayError `validation_failed`."""
    if not (url.isascii() and url.isprintable() and len(url) <= MAX_URL) or " " in url:
        raise invalid("url", f"url is an address of {MAX_URL} ASCII characters at most.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise invalid("url", "url is an address as https://hooks.example.com/path.") from None
    schemes = ("https", "http") if rules.allow_http else ("https",)
    if parts.scheme not in schemes or not parts.hostname or port == 0:
        raise invalid("url", f"url begins with {' or '.join(f'{scheme}://' for scheme in schemes)} and names a host.")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise invalid("url", "url holds no user, password or fragment: messages are signed instead.")
    return url


def check_address(address: IPv4Address | IPv6Address, rules: WebhookURLRules) -> None:
    """Raises WebhookURLError for one of this machine or network."""
    # ::ffff:10.0.0.1 and the like are the IPv4 address inside.
    plain = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None) or address
    if any(plain in network or address in network for network in rules.networks):
        return
    is_translated = any(address in network for network in TRANSLATED)
    is_given_out = plain.version == 4 or plain in PUBLIC_IPV6
    if is_translated or not is_given_out or not plain.is_global or plain.is_multicast or not address.is_global:
        raise WebhookURLError(
            "The address is a private one, which webhooks may not call unless LITEMAAS_WEBHOOK_NETWORKS allows it."
        )


async def resolve(host: str, port: int, rules: WebhookURLRules) -> str:
    """One address of `host` to connect to; raises WebhookURLError if any of them is not allowed."""
    try:
        async with asyncio.timeout(RESOLVE_S):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError):
        raise WebhookURLError("The host name does not resolve.") from None
    addresses = [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if not addresses:
        raise WebhookURLError("The host name has no address.")
    for address in addresses:
        check_address(address, rules)
    return str(addresses[0])
