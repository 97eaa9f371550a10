"""The portal of an admin API with a fake identity provider; each visitor has a browser."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from browsers import oidc, running_admin_api, served_admin_api
from conftest import Database
from factories import ADMIN, make_model
from identity_providers import FakeProvider, log_in

from admin_api.operations.people import users
from gateway.storage.postgres import Pool
from portal.browser.windows import LOGIN, Looks, Window, Windows
from portal.visitors import Visitor

# A model that is open to everybody, and one that an admin approves each subscription to.
GATEWAY_URL = "https://models.example.org"
OPEN, RESTRICTED = "open-model", "restricted-model"
NewVisitor = Callable[..., Awaitable[Visitor]]
NewWindow = Callable[..., Awaitable[Window]]


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as server:
        yield server


@pytest.fixture
async def two_models(pool: Pool) -> None:
    await make_model(pool, OPEN)
    await make_model(pool, RESTRICTED, restricted=True)


@pytest.fixture
async def new_visitor(
    database: Database, pool: Pool, two_models: None, provider: FakeProvider, redis_url: str
) -> AsyncIterator[NewVisitor]:
    """Someone who has logged in, by the claims of the provider; or without `log_in`, not yet."""
    opened = []
    # No page may need the replica that answered the one before.
    settings = oidc(provider.url, gateway_url=GATEWAY_URL, redis_url=redis_url)
    async with running_admin_api(database, replicas=2, **settings) as new_browser:

        async def new(
            name: str = "ana", language: str = "en", *, has_logged_in: bool = True, is_admin: bool = False
        ) -> Visitor:
            visitor = Visitor(new_browser(), language, "UTC" if has_logged_in else None)
            opened.append(visitor.browser)
            if has_logged_in:
                provider.claims |= {"sub": name, "email": f"{name}@example.org", "name": name.title()}
                await log_in(visitor.browser, next="/home")
            if is_admin:
                await users.update_user(pool, ADMIN, f"{name}@example.org", role="admin")
            return visitor

        yield new
        for browser in opened:
            await browser.aclose()


@pytest.fixture
async def portal_url(
    database: Database, two_models: None, provider: FakeProvider, redis_url: str
) -> AsyncIterator[str]:
    """The address of a portal that is served."""
    settings = oidc(provider.url, gateway_url=GATEWAY_URL, redis_url=redis_url)
    async with served_admin_api(database.app_url, **settings) as url:
        yield url


@pytest.fixture
def new_window(windows: Windows, portal_url: str, pool: Pool, provider: FakeProvider) -> NewWindow:
    """A window of Chromium on the portal, at /home: of someone who has logged in; or without `has_logged_in`, on
    nothing yet."""

    async def new(
        name: str = "ana",
        looks: Looks | None = None,
        *,
        has_logged_in: bool = True,
        is_admin: bool = False,
        **more: Any,
    ) -> Window:
        window = await windows.open(portal_url, looks, **more)
        if has_logged_in:
            provider.claims |= {"sub": name, "email": f"{name}@example.org", "name": name.title()}
            await window.open(LOGIN)
        if is_admin:
            await users.update_user(pool, ADMIN, f"{name}@example.org", role="admin")
        return window

    return new
