"""Webhooks: create, list, change, test, renew the secret, delete."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

from admin_api.encryption import SecretKeys
from admin_api.operations.actors import Actor, note, require_admin, require_reader
from admin_api.operations.lookups import get_account
from admin_api.operations.notifications.channels import PURPOSE, Sender, new_signing_secret, try_once
from admin_api.operations.notifications.events import EVENTS, TEST
from admin_api.operations.notifications.outbox import LEASE, record
from admin_api.operations.notifications.webhook_urls import WebhookURLRules, check_url
from admin_api.operations.pagination import MAX_ID, Page, check_limit, page, parse_id_cursor
from admin_api.operations.preconditions import check_version, version_of
from admin_api.operations.validation import check_word, invalid
from admin_api.storage import deliveries
from admin_api.storage import webhooks as rows
from admin_api.storage.delivery_reports import DeliveryReport, find_delivery
from admin_api.storage.webhooks import FORMATS, Format, Webhook
from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool


CHANGEABLE: Final = ("url", "events", "format", "enabled")


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """A webhook and its signing secret, which is shown once."""

    webhook: Webhook
    secret: str


async def create_webhook(
    pool: "Pool",
    actor: Actor,
    keys: SecretKeys,
    rules: WebhookURLRules,
    *,
    url: str,
    events: Sequence[str],
    form: str = "standard",
    user: str | None = None,
    team: str | None = None,
) -> NewWebhook:
    """For one account, or for all accounts if neither user nor team is named. Raises GatewayError `validation_failed`
    or `not_found`."""
    require_admin(actor)
    check_url(url, rules)
    wanted, form = _check_events(events), _check_format(form)
    if user is not None and team is not None:
        raise invalid("team", "Name either a user or a team, not both.")
    async with pool.acquire() as connection, connection.transaction():
        account = await get_account(connection, user=user, team=team) if user or team else None
        webhook_id = await rows.insert_webhook(
            connection,
            account_id=account.id if account else None,
            url=url,
            events=wanted,
            form=form,
            created_by=actor.name,
        )
        secret = await _give_secret(connection, keys, webhook_id)
        new = {
            "url": _audited_url(url, form),
            "events": wanted,
            "format": form,
            "account_id": account.id if account else None,
        }
        await note(connection, actor, "webhook.create", "webhook", webhook_id, new=new)
        return NewWebhook(await _lock(connection, webhook_id), secret)


async def list_webhooks(pool: "Pool", actor: Actor, *, limit: int = 100, cursor: str | None = None) -> Page[Webhook]:
    """By id."""
    require_reader(actor)
    check_limit(limit)
    after = parse_id_cursor(cursor)
    async with pool.acquire() as connection:
        found = await rows.list_webhooks(connection, after_id=after, limit=limit + 1)
    return page(found, limit, lambda row: row.id)


async def find_webhook(pool: "Pool", actor: Actor, webhook_id: int) -> Webhook:
    """Raises GatewayError `not_found`."""
    require_reader(actor)
    async with pool.acquire() as connection:
        found = await rows.list_webhooks(connection, after_id=webhook_id - 1, limit=1)
    if not found or found[0].id != webhook_id:
        raise _is_missing(webhook_id)
    return found[0]


async def update_webhook(
    pool: "Pool",
    actor: Actor,
    rules: WebhookURLRules,
    webhook_id: int,
    *,
    url: str | None = None,
    events: Sequence[str] | None = None,
    form: str | None = None,
    enabled: bool | None = None,
    as_of: str | None = None,
) -> Webhook:
    """Changes the given fields. Raises GatewayError `not_found`, `validation_failed`, or `precondition_failed` if
    `as_of` does not match."""
    require_admin(actor)
    given: dict[str, Any] = {
        "url": None if url is None else check_url(url, rules),
        "events": None if events is None else _check_events(events),
        "format": None if form is None else _check_format(form),
        "enabled": enabled,
    }
    async with pool.acquire() as connection, connection.transaction():
        old = await _lock(connection, webhook_id, as_of)
        new = replace(old, **{name: value for name, value in given.items() if value is not None})
        changed = [name for name in CHANGEABLE if getattr(old, name) != getattr(new, name)]
        if changed:
            await rows.update_webhook(connection, new)
            before, after = ({name: _audited(state, name) for name in changed} for state in (old, new))
            await note(connection, actor, "webhook.update", "webhook", old.id, old=before, new=after)
        return await _lock(connection, webhook_id)


async def renew_secret(
    pool: "Pool", actor: Actor, keys: SecretKeys, webhook_id: int, *, as_of: str | None = None
) -> NewWebhook:
    """Creates a new signing secret, in force at once. Raises GatewayError `not_found` or `precondition_failed`."""
    require_admin(actor)
    async with pool.acquire() as connection, connection.transaction():
        await _lock(connection, webhook_id, as_of)
        secret = await _give_secret(connection, keys, webhook_id)
        await note(connection, actor, "webhook.renew_secret", "webhook", webhook_id)
        return NewWebhook(await _lock(connection, webhook_id), secret)


async def send_test(pool: "Pool", actor: Actor, sender: Sender, webhook_id: int) -> DeliveryReport:
    """Sends a test message now, once, also to a disabled webhook, and returns how it ended. Raises GatewayError
    `not_found`."""
    require_admin(actor)
    payload = {"webhook_id": webhook_id, "by": actor.name}
    async with pool.acquire() as connection, connection.transaction():
        await _lock(connection, webhook_id)
        delivery = await deliveries.insert_taken(connection, webhook_id, event=TEST, payload=payload, lease=LEASE)
        await note(connection, actor, "webhook.test", "webhook", webhook_id, new={"delivery_id": delivery.id})
    attempt = await try_once(sender, [delivery])
    async with pool.acquire() as connection:
        await record(connection, delivery, attempt, pause=None)
        report = await find_delivery(connection, delivery.id)
    if report is None:
        # The webhook was deleted meanwhile, and its deliveries with it.
        raise _is_missing(webhook_id)
    return report


async def delete_webhook(pool: "Pool", actor: Actor, webhook_id: int, *, as_of: str | None = None) -> None:
    """Also deletes its waiting messages. Raises GatewayError `not_found` or `precondition_failed`."""
    require_admin(actor)
    async with pool.acquire() as connection, connection.transaction():
        old = await _lock(connection, webhook_id, as_of)
        await rows.delete_webhook(connection, webhook_id)
        await note(connection, actor, "webhook.delete", "webhook", webhook_id, old={"url": _audited(old, "url")})


async def _give_secret(executor: "Executor", keys: SecretKeys, webhook_id: int) -> str:
    secret = new_signing_secret()
    await rows.update_secret(executor, webhook_id, keys.encrypt(secret.encode(), purpose=PURPOSE, row=webhook_id))
    return secret


async def _lock(executor: "Executor", webhook_id: int, as_of: str | None = None) -> Webhook:
    webhook = await rows.lock_webhook(executor, webhook_id) if 0 < webhook_id <= MAX_ID else None
    if webhook is None:
        raise _is_missing(webhook_id)
    check_version(version_of(webhook), as_of)
    return webhook


def _audited(webhook: Webhook, name: str) -> object:
    return _audited_url(webhook.url, webhook.format) if name == "url" else getattr(webhook, name)


def _audited_url(url: str, form: Format) -> str:
    """Without what comes after the host, if the URL alone lets anybody post, as those of chat services do."""
    return url if form == "standard" else f"{url.split('://')[0]}://{urlsplit(url).netloc}/…"


def _is_missing(webhook_id: int) -> GatewayError:
    return GatewayError("not_found", f"There is no webhook {webhook_id}.")


def _check_format(form: str) -> Format:
    return cast("Format", check_word("format", form, FORMATS))


def _check_events(events: Sequence[str]) -> list[str]:
    if not events:
        raise invalid("events", f"Name at least one event: {', '.join(EVENTS)}.")
    return sorted({check_word("events", event, EVENTS) for event in events})
