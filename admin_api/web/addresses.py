"""The client address of a request."""

from typing import TYPE_CHECKING

from starlette.requests import Request

from gateway.web.addresses import client_address, parse_networks

if TYPE_CHECKING:
    from admin_api.settings import Settings


def address_of(request: Request) -> str | None:
    """The address that trusted proxies report; None for a Unix socket, and where they wrote what is no address."""
    settings: Settings = request.app.state.settings
    peer = request.client.host if request.client else None
    address = client_address(peer, request.scope["headers"], parse_networks(settings.trusted_proxies))
    return str(address) if address else None


def rated_address_of(request: Request) -> str:
    """Whose calls without a login are counted together: the caller, or the connection where that is not known."""
    return address_of(request) or (request.client.host if request.client else "none")
