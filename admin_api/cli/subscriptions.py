"""`litemaas subscriptions …`"""

from typing import Annotated

import typer

from admin_api.cli.session import AsJSON, Cursor, PageSize, act, operator, parse_moment, show, show_page
from admin_api.operations import subscriptions
from admin_api.schemas.shapes import PageView
from admin_api.schemas.subscriptions import SubscriptionView
from gateway.domain.subscriptions import Action

app = typer.Typer(no_args_is_help=True, help="Subscriptions: which accounts may use which models.")
User = Annotated[str | None, typer.Option("--user", help="E-mail address or id.")]
Team = Annotated[str | None, typer.Option("--team", help="Name or id of the team.")]
SubscriptionID = Annotated[int, typer.Argument(metavar="ID", help="Id of the subscription.")]
Reason = Annotated[str | None, typer.Option(help="The reason, shown to the user.")]


@app.command()
def create(
    model: Annotated[str, typer.Option(help="Name of the model.")],
    user: User = None,
    team: Team = None,
    expires_at: Annotated[str | None, typer.Option(help="When it expires, e.g. 2027-01-31T12:00:00Z.")] = None,
    as_json: AsJSON = False,
) -> None:
    """Subscribe a user or a team to a model."""
    ends = parse_moment("expires_at", expires_at)
    row = act(
        lambda pool: subscriptions.create_subscription(
            pool, operator(), model=model, user=user, team=team, expires_at=ends
        )
    )
    sentence = f"Subscription {row.id}: {row.account_name} to {row.model_name}, {row.status}."
    show(SubscriptionView.model_validate(row), as_json=as_json, sentence=sentence)


@app.command("list")
def list_(
    user: User = None,
    team: Team = None,
    status: Annotated[str | None, typer.Option(help="Only subscriptions with this status.")] = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """List subscriptions."""
    page = act(
        lambda pool: subscriptions.list_subscriptions(
            pool, operator(), user=user, team=team, status=status, limit=limit, cursor=cursor
        )
    )
    columns = ("id", "account_name", "model", "status", "expires_at", "reason")
    show_page(PageView[SubscriptionView].model_validate(page), as_json=as_json, columns=columns)


@app.command()
def approve(subscription: SubscriptionID, reason: Reason = None, as_json: AsJSON = False) -> None:
    """Approve a pending subscription."""
    _change(subscription, "approve", reason, as_json=as_json)


@app.command()
def deny(subscription: SubscriptionID, reason: Reason = None, as_json: AsJSON = False) -> None:
    """Deny a pending subscription. Needs a reason."""
    _change(subscription, "deny", reason, as_json=as_json)


@app.command()
def request_review(subscription: SubscriptionID, reason: Reason = None, as_json: AsJSON = False) -> None:
    """Request another review of a denied subscription."""
    _change(subscription, "request_review", reason, as_json=as_json)


@app.command()
def suspend(subscription: SubscriptionID, reason: Reason = None, as_json: AsJSON = False) -> None:
    """Suspend an active subscription. Needs a reason."""
    _change(subscription, "suspend", reason, as_json=as_json)


@app.command()
def reactivate(subscription: SubscriptionID, reason: Reason = None, as_json: AsJSON = False) -> None:
    """Reactivate a suspended subscription."""
    _change(subscription, "reactivate", reason, as_json=as_json)


@app.command()
def cancel(subscription: SubscriptionID, reason: Reason = None, as_json: AsJSON = False) -> None:
    """Cancel a subscription on behalf of its owner."""
    _change(subscription, "cancel", reason, as_json=as_json)


def _change(subscription_id: int, action: Action, reason: str | None, *, as_json: bool) -> None:
    row = act(lambda pool: subscriptions.change_subscription(pool, operator(), subscription_id, action, reason=reason))
    show(SubscriptionView.model_validate(row), as_json=as_json, sentence=f"Subscription {row.id} is {row.status}.")
