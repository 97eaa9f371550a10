"""`/api/v1/webhooks`."""

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field

from admin_api.operations.notifications import webhooks
from admin_api.operations.notifications.channels import Sender
from admin_api.operations.notifications.events import Event
from admin_api.routes.dependencies import (
    ID,
    Admin,
    AppPool,
    AppSettings,
    AppWebhookRules,
    AsOf,
    Body,
    Cursor,
    PageSize,
    Reader,
)
from admin_api.routes.responses import CHANGED, ERRORS, TAGGED
from admin_api.schemas.alerts import NewWebhookView, WebhookView
from admin_api.schemas.deliveries import DeliveryView
from admin_api.schemas.shapes import PageView
from admin_api.storage.webhooks import Format
from admin_api.web.etags import tag

router = APIRouter(prefix="/api/v1/webhooks", tags=["webhooks"], responses=ERRORS)
URL = Annotated[str, Field(max_length=2000, description="https, to a public address unless settings allow more")]
Events = Annotated[list[Event], Field(min_length=1, max_length=100)]
Form = Annotated[
    Format,
    Field(
        description="standard: JSON as Standard Webhooks specifies; slack: a message for Slack's incoming webhooks; "
        "teams: an Adaptive Card for a workflow of Teams"
    ),
]


class NewWebhook(Body):
    """For the events of one account, or of all if neither user nor team is given."""

    url: URL
    events: Events
    format: Form = "standard"
    user: Annotated[str | None, Field(max_length=254, description="E-mail address or id")] = None
    team: Annotated[str | None, Field(max_length=254, description="Name or id")] = None


class WebhookChange(Body):
    """Fields left out stay unchanged."""

    url: URL | None = None
    events: Events | None = None
    format: Form | None = None
    enabled: bool | None = None


@router.get("")
async def list_webhooks(
    actor: Reader, pool: AppPool, limit: PageSize = 100, cursor: Cursor = None
) -> PageView[WebhookView]:
    """By id, without the secrets."""
    page = await webhooks.list_webhooks(pool, actor, limit=limit, cursor=cursor)
    return PageView[WebhookView].model_validate(page)


@router.post("", status_code=201)
async def create_webhook(
    actor: Admin, pool: AppPool, settings: AppSettings, rules: AppWebhookRules, body: NewWebhook
) -> NewWebhookView:
    """Creates a webhook and shows its signing secret, this once. How to verify: standardwebhooks.com."""
    made = await webhooks.create_webhook(
        pool,
        actor,
        settings.encryption_keys,
        rules,
        url=body.url,
        events=body.events,
        form=body.format,
        user=body.user,
        team=body.team,
    )
    return NewWebhookView.of(made)


@router.get("/{webhook_id}", responses=TAGGED)
async def show_webhook(actor: Reader, pool: AppPool, response: Response, webhook_id: ID) -> WebhookView:
    """One webhook, without the secret."""
    webhook = await webhooks.find_webhook(pool, actor, webhook_id)
    tag(response, webhook)
    return WebhookView.model_validate(webhook)


@router.patch("/{webhook_id}", responses=TAGGED | CHANGED)
async def update_webhook(
    actor: Admin,
    pool: AppPool,
    rules: AppWebhookRules,
    response: Response,
    webhook_id: ID,
    body: WebhookChange,
    as_of: AsOf,
) -> WebhookView:
    """Changes URL, events, format or whether it is enabled."""
    changed = await webhooks.update_webhook(
        pool,
        actor,
        rules,
        webhook_id,
        url=body.url,
        events=body.events,
        form=body.format,
        enabled=body.enabled,
        as_of=as_of,
    )
    tag(response, changed)
    return WebhookView.model_validate(changed)


@router.post("/{webhook_id}/secret", responses=CHANGED)
async def renew_webhook_secret(
    actor: Admin, pool: AppPool, settings: AppSettings, webhook_id: ID, as_of: AsOf
) -> NewWebhookView:
    """Replaces the signing secret at once and shows the new one, this once."""
    made = await webhooks.renew_secret(pool, actor, settings.encryption_keys, webhook_id, as_of=as_of)
    return NewWebhookView.of(made)


@router.post("/{webhook_id}/test")
async def send_test(
    actor: Admin, pool: AppPool, settings: AppSettings, rules: AppWebhookRules, webhook_id: ID
) -> DeliveryView:
    """Sends a test message now, once, also to a disabled webhook: `status`, `last_error` and `last_answer` say how it
    ended."""
    sender = Sender(keys=settings.encryption_keys, rules=rules, ca_file=settings.webhook_ca_file)
    return DeliveryView.model_validate(await webhooks.send_test(pool, actor, sender, webhook_id))


@router.delete("/{webhook_id}", status_code=204, responses=CHANGED)
async def delete_webhook(actor: Admin, pool: AppPool, webhook_id: ID, as_of: AsOf) -> None:
    """Deletes a webhook, with the messages that wait for it."""
    await webhooks.delete_webhook(pool, actor, webhook_id, as_of=as_of)
