"""The admin API with an identity provider, and browser clients of it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx2
from admin_client import settings_for
from conftest import Database
from identity_providers import ADMIN_URL, PLANTED_SECRET
from loopback_servers import LoopbackServer

from admin_api.main import create_app

ME: Final = "/api/v1/users/me"
CSRF: Final = {"x-litemaas-csrf": "1"}


@asynccontextmanager
async def running_admin_api(database: Database, **settings: Any) -> AsyncIterator[Callable[[], httpx2.AsyncClient]]:
    """Runs the admin API with these settings; yields a function that makes a browser client."""
    app = create_app(settings_for(database.app_url, admin_url=ADMIN_URL, **settings))
    transport = httpx2.ASGITransport(app=app)
    async with app.router.lifespan_context(app):
        yield lambda: httpx2.AsyncClient(transport=transport, base_url=ADMIN_URL)


@asynccontextmanager
async def served_admin_api(database_url: str, **settings: Any) -> AsyncIterator[str]:
    """Serves the admin API to real browsers; yields its address."""
    server = LoopbackServer([])
    server.app = create_app(settings_for(database_url, admin_url=server.url, **settings))
    async with server.app.router.lifespan_context(server.app), server:
        yield server.url


def oidc(url: str, **more: Any) -> dict[str, Any]:
    about = {"oidc_issuer": url, "oidc_client_id": "litemaas", "oidc_client_secret": PLANTED_SECRET}
    return about | more


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}
