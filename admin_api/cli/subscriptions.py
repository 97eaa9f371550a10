"""`litemaas subscriptions …`"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer

from admin_api.cli.columns import columns
from admin_api.cli.made_texts import subscription_text
from admin_api.cli.options import moment_option, words_option
from admin_api.cli.session import AsJSON, Cursor, PageSize, act, operator, parse_moment, show, show_details, show_page
from admin_api.operations import subscriptions
from admin_api.operations.decisions import MAX_DECISIONS, Decided, Decision, check_decision_reason
from admin_api.operations.people.new_accounts import subscribe
from admin_api.operations.validation import invalid
from admin_api.schemas.shapes import PageView
from admin_api.schemas.subscriptions import DecisionsView, SubscriptionDetailView, SubscriptionView
from gateway.domain.subscriptions import STATUSES, Action, Status

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

app = typer.Typer(no_args_is_help=True, help="Subscriptions: which accounts may use which models.")
SUBSCRIPTIONS: Final = columns("id", "account_name", "model", "status", "expires_at", "reason")
User = Annotated[str | None, typer.Option("--user", help="E-mail address or id.")]
Team = Annotated[str | None, typer.Option("--team", help="Name or id of the team.")]
Model = Annotated[str | None, typer.Option("--model", help="Name of the model.")]
IDs = Annotated[list[int] | None, typer.Argument(metavar="[ID]…", help="Ids of subscriptions.")]
SubscriptionID = Annotated[int, typer.Argument(metavar="ID", help="Id of the subscription.")]
Reason = Annotated[str | None, typer.Option(help="The reason, shown to the user.")]


@app.command()
def create(
    model: Annotated[list[str], typer.Option(help="Name of the model; may be repeated.")],
    user: User = None,
    team: Team = None,
    expires_at: Annotated[str | None, moment_option(help="When it expires.")] = None,
    as_json: AsJSON = False,
) -> None:
    """Subscribe a user or a team to models: to all that are named, or to none. Pending if a model is restricted."""
    ends = parse_moment("expires_at", expires_at)
    made = act(lambda pool: subscribe(pool, operator(), model, user=user, team=team, expires_at=ends))
    if as_json and len(made) > 1:
        rows = [SubscriptionView.model_validate(row) for row in made]
        typer.echo(PageView[SubscriptionView](rows=rows, next_cursor=None).model_dump_json())
        return
    for row in made:
        show(SubscriptionView.model_validate(row), as_json=as_json, sentence=subscription_text(row))


@app.command("list")
def list_(
    user: User = None,
    team: Team = None,
    model: Model = None,
    status: Annotated[str | None, words_option(STATUSES, help="Only subscriptions that are")] = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """List subscriptions."""
    page = act(
        lambda pool: subscriptions.list_subscriptions(
            pool, operator(), user=user, team=team, model=model, status=status, limit=limit, cursor=cursor
        )
    )
    view = PageView[SubscriptionView].model_validate(page)
    show_page(view, what="subscriptions", as_json=as_json, columns=SUBSCRIPTIONS)


@app.command("show")
def show_(subscription: SubscriptionID, as_json: AsJSON = False) -> None:
    """Show a subscription and its history."""
    row, history = act(lambda pool: subscriptions.find_subscription(pool, operator(), subscription))
    show_details(SubscriptionDetailView.of(row, history), as_json=as_json)


@app.command()
def approve(
    ids: IDs = None,
    model: Model = None,
    user: User = None,
    team: Team = None,
    reason: Reason = None,
    as_json: AsJSON = False,
) -> None:
    """Approve pending subscriptions: those with these ids, or all of a model, user or team."""
    _decide("approve", Pending(ids or (), model, user, team), reason, as_json=as_json)


@app.command()
def deny(
    ids: IDs = None,
    model: Model = None,
    user: User = None,
    team: Team = None,
    reason: Reason = None,
    as_json: AsJSON = False,
) -> None:
    """Deny pending subscriptions: those with these ids, or all of a model, user or team. Needs a reason."""
    _decide("deny", Pending(ids or (), model, user, team), reason, as_json=as_json)


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


class Pending(NamedTuple):
    """Which subscriptions to decide."""

    ids: Sequence[int]
    model: str | None
    user: str | None
    team: str | None


def _decide(decision: Decision, pending: Pending, reason: str | None, *, as_json: bool) -> None:
    if len(pending.ids) == 1:
        _change(pending.ids[0], decision, reason, as_json=as_json)
        return
    if not pending.ids and pending[1:] == (None, None, None):
        raise invalid("ids", "Give ids, or a model, user or team.")
    check_decision_reason(decision, reason)

    async def work(pool: "Pool") -> list[Decided[Status]]:
        ids = pending.ids
        if not ids:
            page = await subscriptions.list_subscriptions(
                pool,
                operator(),
                status="pending",
                model=pending.model,
                user=pending.user,
                team=pending.team,
                limit=MAX_DECISIONS,
            )
            ids = [row.id for row in page.rows]
        return await subscriptions.decide_subscriptions(pool, operator(), ids, decision, reason=reason) if ids else []

    view = DecisionsView.of(act(work))
    if as_json:
        typer.echo(view.model_dump_json())
    else:
        for row in view.rows:
            typer.echo(
                f"Subscription {row.id} is {row.status}." if row.error is None else f"{row.id}: {row.error.message}"
            )
        typer.echo(f"{view.successful} decided, {view.failed} failed.")
    if view.failed:
        raise typer.Exit(1)
