"""Concurrent changes do not deadlock."""

import asyncio
from collections import Counter
from typing import Any

import asyncpg
from admin_client import SECRET_KEYS
from factories import ADMIN, PEPPERS, make_model, make_subscription, make_user, owner_of

from admin_api.encryption import SecretKeys
from admin_api.operations import subscriptions
from admin_api.operations.keys import keys
from admin_api.operations.notifications.webhook_urls import WebhookURLRules
from admin_api.operations.notifications.webhooks import create_webhook, delete_webhook
from admin_api.operations.people import users
from admin_api.storage import webhooks
from gateway.domain.errors import GatewayError
from gateway.storage.postgres import Pool

KEYS = SecretKeys.parse(SECRET_KEYS)
ROUNDS = 15
EVENTS = ["subscription.suspended", "subscription.active"]


def outcomes(done: list[Any]) -> Counter[str]:
    """The outcome of each change. A failed one may leave a state that refuses the next, so refusals count too."""
    for one in done:
        if isinstance(one, BaseException) and not isinstance(one, asyncpg.PostgresError | GatewayError):
            raise one
    return Counter(type(one).__name__ if isinstance(one, BaseException) else "done" for one in done)


async def test_changing_a_user_while_they_create_keys_does_not_deadlock(pool: Pool) -> None:
    user = await make_user(pool)
    await make_subscription(pool, user, await make_model(pool))
    fields = keys.KeyInput(models=["small"], user=user.email)
    seen: Counter[str] = Counter()
    for number in range(ROUNDS):
        zone = ("Europe/Madrid", "Asia/Tokyo")[number % 2]
        work = [users.update_user(pool, ADMIN, user.email, time_zone=zone)]
        work += [keys.create_key(pool, owner_of(user), PEPPERS, fields) for _ in range(4)]  # type: ignore[list-item]
        seen += outcomes(await asyncio.gather(*work, return_exceptions=True))
        await pool.execute("UPDATE api_keys SET revoked_at = now()")

    assert seen == {"done": 5 * ROUNDS}


async def test_writing_notifications_while_secrets_are_rotated_does_not_deadlock(pool: Pool) -> None:
    row = await make_subscription(pool, await make_user(pool), await make_model(pool))
    url = "https://hooks.example.com/"
    made = await create_webhook(pool, ADMIN, KEYS, WebhookURLRules(), url=url, events=EVENTS)
    async with pool.acquire() as connection, connection.transaction():
        # As a rotation has it, until the last secret is encrypted again.
        await webhooks.lock_webhook(connection, made.webhook.id)
        async with asyncio.timeout(10):
            await subscriptions.change_subscription(pool, ADMIN, row.id, "suspend", reason="because")

    assert await pool.fetchval("SELECT count(*) FROM deliveries WHERE event = 'subscription.suspended'") == 2


async def test_deleting_a_webhook_while_notifications_are_written_does_not_deadlock(pool: Pool) -> None:
    owner = await make_user(pool)
    row = await make_subscription(pool, owner, await make_model(pool))
    seen: Counter[str] = Counter()
    for number in range(2 * ROUNDS):
        made = await create_webhook(
            pool, ADMIN, KEYS, WebhookURLRules(), url="https://hooks.example.com/", events=EVENTS
        )
        work: list[Any] = [
            delete_webhook(pool, ADMIN, made.webhook.id),
            subscriptions.change_subscription(
                pool, ADMIN, row.id, ("suspend", "reactivate")[number % 2], reason="because"
            ),
        ]
        seen += outcomes(await asyncio.gather(*work, return_exceptions=True))

    assert seen == {"done": 4 * ROUNDS}
