"""Allowed URLs of webhooks: https to public addresses, unless settings allow more.

The check is on the address to which the connection is made, not on the host name. This prevents DNS rebinding.
"""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

from admin_api.operations.validation import invalid, invalid_now

MAX_URL: Final = 2000
RESOLVE_S: Final = 5.0
# Global unicast IPv6. Python also counts site-local addresses (fec0::/10) and ::/96 as global.
PUBLIC_IPV6: Final = ip_network("2000::/3")
# NAT64 and Teredo contain an IPv4 address, which a translator on the way may map into its own network.
TRANSLATED: Final = tuple(ip_network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2001::/32"))


class WebhookURLError(Exception):
    """An address that is not allowed or does not exist. The message is for the admin who set it."""


@dataclass(frozen=True, slots=True)
class WebhookURLRules:
    """What settings allow in addition to https to public addresses."""

    allow_http: bool = False
    networks: Sequence[IPv4Network | IPv6Network] = ()


def check_url(url: str, rules: WebhookURLRules) -> str:
    """Checks the form only. Raises GatewayError `validation_failed`."""
    if not (url.isascii() and url.isprintable() and len(url) <= MAX_URL) or " " in url:
        raise invalid("url", f"url must have at most {MAX_URL} ASCII characters.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise invalid("url", "url must be a URL, e.g. https://hooks.example.com/path.") from None
    schemes = ("https", "http") if rules.allow_http else ("https",)
    message = f"url must begin with {' or '.join(f'{s}://' for s in schemes)} and contain a host."
    if parts.scheme not in ("https", "http") or not parts.hostname or port == 0:
        raise invalid("url", message)
    if parts.scheme not in schemes:
        raise invalid_now("url", message)
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise invalid("url", "url must not contain a user, password or fragment. Messages are signed instead.")
    return url


def check_address(address: IPv4Address | IPv6Address, rules: WebhookURLRules) -> None:
    """Raises WebhookURLError for addresses that are not public."""
    # Addresses such as ::ffff:10.0.0.1 are treated as the IPv4 address they contain.
    plain = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None) or address
    if any(plain in network or address in network for network in rules.networks):
        return
    is_translated = any(address in network for network in TRANSLATED)
    is_allocated = plain.version == 4 or plain in PUBLIC_IPV6
    if is_translated or not is_allocated or not plain.is_global or plain.is_multicast or not address.is_global:
        raise WebhookURLError(
            "The address is not public. Webhooks may call it only if LITEMAAS_WEBHOOK_NETWORKS allows it."
        )


async def resolve(host: str, port: int, rules: WebhookURLRules) -> str:
    """An address of `host` to connect to. Raises WebhookURLError if any of its addresses is not allowed."""
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
