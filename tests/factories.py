"""Rows for tests, created by the product's own operations."""

from collections.abc import Awaitable
from decimal import Decimal
from itertools import count
from typing import Any

from admin_api.operations import subscriptions
from admin_api.operations.actors import Actor
from admin_api.operations.keys import keys
from admin_api.operations.models.litellm_info import Catalogue, SeenModel
from admin_api.operations.models.sync import SyncReport, apply_model_info
from admin_api.operations.people import personal_tokens, teams, users
from admin_api.storage import models as model_rows
from admin_api.storage import prices as price_rows
from admin_api.storage.accounts import Account
from admin_api.storage.subscriptions import Subscription
from admin_api.storage.users import User
from gateway.domain.errors import GatewayError
from gateway.domain.keys import Peppers
from gateway.domain.prices import Price
from gateway.storage.postgres import Pool

ADMIN = Actor(name="test", role="admin")
READER = Actor(name="reader", role="admin-readonly")
PEPPERS = Peppers.parse("1:" + "ab" * 32)
_numbers = count(1)


def seen_model(name: str = "small", units: dict[str, Decimal] | None = None, **changes: Any) -> SeenModel:
    """A model as a sync reads it; without a price unless `units` are given, or a price."""
    prices: dict[str, Any] = units or {}
    about: dict[str, Any] = {
        "name": name,
        "provider": "openai",
        "mode": "chat",
        "max_input_tokens": None,
        "max_output_tokens": None,
        "capabilities": (),
        "deployments": 1,
        "price": Price(id=0, **prices) if prices else None,
        "unused": (),
        "do_prices_differ": False,
    }
    return SeenModel(**(about | changes))


async def apply(pool: Pool, *seen: SeenModel, accept_missing: bool = False) -> SyncReport:
    """A sync with these models."""
    async with pool.acquire() as connection, connection.transaction():
        await model_rows.lock_sync(connection)
        return await apply_model_info(connection, ADMIN, Catalogue(seen, ()), accept_missing=accept_missing)


async def make_model(pool: Pool, name: str = "small", *, mode: str = "chat", restricted: bool = False) -> str:
    """Creates a model at 1 and 2 USD a million tokens; returns its name."""
    async with pool.acquire() as connection:
        info = model_rows.ModelInfo(
            provider="openai",
            mode=mode,
            max_input_tokens=8192,
            max_output_tokens=4096,
            capabilities=[],
            deployments=1,
        )
        model_id = await model_rows.insert_model(connection, name, info, restricted=restricted, hidden=False)
        price = Price(id=0, input=Decimal("0.000001"), output=Decimal("0.000002"))
        await price_rows.insert_price(connection, model_id, source="litellm", price=price)
    return name


async def make_user(pool: Pool, email: str | None = None, *, role: str = "user") -> User:
    return await users.create_user(pool, ADMIN, email=email or f"user{next(_numbers)}@example.org", role=role)


async def make_team(pool: Pool, *members: User, name: str | None = None) -> Account:
    team = await teams.create_team(pool, ADMIN, name=name or f"team {next(_numbers)}")
    for member in members:
        await teams.add_member(pool, ADMIN, team.name, user=member.email)
    return team


async def make_subscription(pool: Pool, user: User, model: str) -> Subscription:
    return await subscriptions.create_subscription(pool, ADMIN, model=model, user=user.email)


async def make_key(pool: Pool, user: User | None = None, model: str = "small") -> keys.NewKey:
    """A key of a user with an active subscription; both are created if they do not exist."""
    if user is None:
        user = await make_user(pool)
        await make_subscription(pool, user, await make_model(pool, model))
    return await keys.create_key(pool, ADMIN, PEPPERS, keys.KeyInput(models=[model], user=user.email))


async def make_token(pool: Pool, user: User, *, role: str | None = None) -> personal_tokens.NewToken:
    """A personal token for the admin API: send `secret` as a bearer token."""
    return await personal_tokens.create_token(pool, ADMIN, PEPPERS, user=user.email, role=role)


def owner_of(user: User) -> Actor:
    """The user as the actor of their own changes."""
    return Actor(name=user.email, role="user", user_id=user.id)


async def code_of(attempt: Awaitable[Any]) -> str:
    """The error code of an operation, or `done`."""
    try:
        await attempt
    except GatewayError as error:
        return error.code
    return "done"
