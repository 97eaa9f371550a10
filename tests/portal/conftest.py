"""The portal of an admin API with a fake identity provider; each visitor has a browser."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from browsers import oidc, running_admin_api
from conftest import Database
from factories import ADMIN, make_model
from identity_providers import FakeProvider, log_in

from admin_api.operations.people import users
from gateway.storage.postgres import Pool
from portal.visitors import Visitor

# A model that is open to everybody, and one that an admin approves each subscription to.
GATEWAY_URL = "https://models.example.org"
OPEN, RESTRICTED = "open-model", "restricted-model"
NewVisitor = Callable[..., Awaitable[Visitor]]


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as server:
        yield server


@pytest.fixture
async def new_visitor(database: Database, pool: Pool, provider: FakeProvider) -> AsyncIterator[NewVisitor]:
    """Someone who has logged in, by the claims of the provider; or without `log_in`, not yet."""
    await make_model(pool, OPEN)
    await make_model(pool, RESTRICTED, restricted=True)
    opened = []
    async with running_admin_api(database, **oidc(provider.url, gateway_url=GATEWAY_URL)) as new_browser:

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
