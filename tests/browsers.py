"""The admin API with an identity provider, and browser clients of it."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle
from typing import Any, Final

import httpx2
from admin_client import settings_for
from conftest import Database
from identity_providers import ADMIN_URL, PLANTED_SECRET
from loopback_servers import LoopbackServer

from admin_api.main import create_app

ME: Final = "/api/v1/users/me"
CSRF: Final = {"x-litemaas-csrf": "1"}


class RoundRobin(httpx2.AsyncBaseTransport):
    """Each request of a browser goes to the next replica, as a load balancer without affinity sends it."""

    def __init__(self, apps: Sequence[Any]) -> None:
        self._turns = cycle(apps)

    def next_app(self) -> Any:
        return next(self._turns)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return await httpx2.ASGITransport(app=self.next_app()).handle_async_request(request)


@asynccontextmanager
async def running_admin_api(
    database: Database, *, replicas: int = 1, **settings: Any
) -> AsyncIterator[Callable[[], httpx2.AsyncClient]]:
    """Runs so many admin APIs with these settings; yields a function that makes a browser client."""
    chosen = settings_for(database.app_url, admin_url=ADMIN_URL, **settings)
    apps = [create_app(chosen) for _ in range(replicas)]
    async with AsyncExitStack() as running:
        for app in apps:
            await running.enter_async_context(app.router.lifespan_context(app))
        yield lambda: httpx2.AsyncClient(transport=RoundRobin(apps), base_url=ADMIN_URL)


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
