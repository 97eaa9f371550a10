"""`litemaas webhooks …`"""

from typing import Annotated, Final

import typer

from admin_api import settings as environment
from admin_api.cli.columns import columns
from admin_api.cli.options import words_option
from admin_api.cli.session import AsJSON, Cursor, PageSize, act, operator, show, show_details, show_page
from admin_api.operations.notifications import channels, webhooks
from admin_api.operations.notifications.events import EVENTS
from admin_api.operations.notifications.webhook_urls import WebhookURLRules
from admin_api.schemas.alerts import NewWebhookView, WebhookView
from admin_api.schemas.deliveries import DeliveryView
from admin_api.schemas.shapes import PageView
from admin_api.storage.webhooks import FORMATS

app = typer.Typer(no_args_is_help=True, help="Webhooks: URLs that receive notifications.")
WEBHOOKS: Final = columns("id", "account", "url", "format", "events", "enabled", "created_by")
ID = Annotated[int, typer.Argument(metavar="ID", help="Id of the webhook.")]


@app.command("list")
def list_(limit: PageSize = 100, cursor: Cursor = None, as_json: AsJSON = False) -> None:
    """List webhooks. Their secrets are never shown."""
    page = act(lambda pool: webhooks.list_webhooks(pool, operator(), limit=limit, cursor=cursor))
    view = PageView[WebhookView].model_validate(page)
    show_page(
        view,
        what="webhooks",
        as_json=as_json,
        columns=WEBHOOKS,
        as_row=lambda webhook: webhook | {"account": webhook["account_name"] or "all"},
    )


@app.command("show")
def show_(webhook: ID, as_json: AsJSON = False) -> None:
    """Show a webhook, but never its secret."""
    found = act(lambda pool: webhooks.find_webhook(pool, operator(), webhook))
    show_details(WebhookView.model_validate(found), as_json=as_json)


@app.command()
def create(
    url: Annotated[str, typer.Option(help="https URL of a public address, unless settings allow others.")],
    event: Annotated[list[str], words_option(EVENTS, "--event", help="Event to send:", hint="May be repeated.")],
    form: Annotated[
        str, words_option(FORMATS, "--format", help="Form of its messages; standard is of Standard Webhooks:")
    ] = "standard",
    user: Annotated[str | None, typer.Option(help="Only events of this user's account.")] = None,
    team: Annotated[str | None, typer.Option(help="Only events of this team.")] = None,
    as_json: AsJSON = False,
) -> None:
    """Create a webhook and show its signing secret once."""
    settings = environment.WebhookSettings.from_env()
    made = act(
        lambda pool: webhooks.create_webhook(
            pool,
            operator(),
            settings.encryption_keys,
            _rules(settings),
            url=url,
            events=event,
            form=form,
            user=user,
            team=team,
        ),
        settings,
    )
    sentence = f"Webhook {made.webhook.id} to {url}. Its signing secret, shown this once: {made.secret}"
    show(NewWebhookView.of(made), as_json=as_json, sentence=sentence)


@app.command()
def update(
    webhook: ID,
    url: Annotated[str | None, typer.Option(help="The new URL.")] = None,
    event: Annotated[
        list[str] | None,
        words_option(EVENTS, "--event", help="Event to send, in place of the present ones:", hint="May be repeated."),
    ] = None,
    form: Annotated[str | None, words_option(FORMATS, "--format", help="Form of its messages:")] = None,
    enabled: Annotated[bool | None, typer.Option("--enable/--disable", help="Whether events are sent.")] = None,
    as_json: AsJSON = False,
) -> None:
    """Change a webhook. Options left out stay as they are."""
    settings = environment.WebhookSettings.from_env()
    changed = act(
        lambda pool: webhooks.update_webhook(
            pool, operator(), _rules(settings), webhook, url=url, events=event, form=form, enabled=enabled
        ),
        settings,
    )
    state = "enabled" if changed.enabled else "disabled"
    sentence = (
        f"Webhook {changed.id} to {changed.url} is {state}. Events: {', '.join(changed.events)}, as {changed.format}."
    )
    show(WebhookView.model_validate(changed), as_json=as_json, sentence=sentence)


@app.command("renew-secret")
def renew_secret(webhook: ID, as_json: AsJSON = False) -> None:
    """Create a new signing secret, in force at once, and show it once."""
    settings = environment.WebhookSettings.from_env()
    made = act(lambda pool: webhooks.renew_secret(pool, operator(), settings.encryption_keys, webhook), settings)
    show(NewWebhookView.of(made), as_json=as_json, sentence=f"The new signing secret, shown this once: {made.secret}")


@app.command("test")
def send_test(webhook: ID, as_json: AsJSON = False) -> None:
    """Send a test message now, once. Exit code 1 if it failed."""
    settings = environment.WebhookSettings.from_env()
    sender = channels.Sender(keys=settings.encryption_keys, rules=_rules(settings), ca_file=settings.webhook_ca_file)
    row = act(lambda pool: webhooks.send_test(pool, operator(), sender, webhook), settings)
    ended = "The receiver took the test message" if row.last_error is None else f"It failed: {row.last_error[:-1]}"
    answered = "" if row.last_answer is None else f" It answered: {row.last_answer}"
    show(DeliveryView.model_validate(row), as_json=as_json, sentence=f"{ended}.{answered}")
    if row.status != "delivered":
        raise typer.Exit(1)


@app.command()
def delete(webhook: ID) -> None:
    """Delete a webhook and its waiting deliveries."""
    act(lambda pool: webhooks.delete_webhook(pool, operator(), webhook))
    typer.echo(f"Webhook {webhook} is deleted.")


def _rules(settings: "environment.WebhookSettings") -> WebhookURLRules:
    return WebhookURLRules(settings.webhook_allow_http, settings.webhook_networks)
