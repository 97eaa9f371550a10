"""`litemaas limits …`"""

from typing import Annotated, Literal

import typer

from admin_api.cli.session import AsJSON, Cursor, PageSize, act, operator, parse_moment, show, show_page
from admin_api.operations import limits
from admin_api.operations.limit_words import check_kind, parse_amount, parse_decimal
from admin_api.views.limits import LimitView
from admin_api.views.shapes import PageView, View

app = typer.Typer(no_args_is_help=True, help="Limits at every level.")
Level = Annotated[str | None, typer.Option("--level", help="key, key_model, subscription, user or team.")]
Target = Annotated[
    str | None, typer.Option("--id", help="What it hangs on: id of the key, subscription, user or team.")
]
Team = Annotated[str | None, typer.Option("--team", help="Level user: the user inside this team.")]


class UnlimitedView(View):
    """What `limits set --amount unlimited` tells: the row is gone."""

    id: None = None
    amount: Literal["unlimited"] = "unlimited"


@app.command("set")
def set_(
    level: Annotated[str, typer.Option(help="key, key_model, subscription, user or team.")],
    target: Annotated[str, typer.Option("--id", help="Id of the key, subscription, user or team.")],
    kind: Annotated[str, typer.Option(help="rpm, tpm, concurrency, requests, tokens or cost.")],
    amount: Annotated[str, typer.Option(help="A number (kind cost: USD, as 0.45) or 'unlimited'.")],
    model: Annotated[str | None, typer.Option(help="Level key_model: name of the model.")] = None,
    team: Team = None,
    window: Annotated[str | None, typer.Option(help="day, week, month, year or lifetime.")] = None,
    burst: Annotated[str, typer.Option(help="Kinds rpm and tpm: how many minutes' worth a full bucket holds.")] = "1",
    reserve: Annotated[str, typer.Option(help="expected or maximum.")] = "expected",
    shadow: Annotated[bool, typer.Option("--shadow", help="Only counts and reports, refuses nothing.")] = False,
    expires_at: Annotated[str | None, typer.Option(help="When it ends, as 2027-01-31T12:00:00Z.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why.")] = None,
    as_json: AsJSON = False,
) -> None:
    """Set a limit, or change the one of its kind; 'unlimited' removes it."""
    wish = limits.LimitWish(
        kind=kind,
        amount=parse_amount(check_kind(kind), amount),
        window=window,
        burst=parse_decimal("burst", burst),
        reserve=limits.check_reserve(reserve),
        shadow=shadow,
        expires_at=parse_moment("expires_at", expires_at),
        reason=reason,
    )
    row = act(lambda pool: limits.set_limit(pool, operator(), wish, level=level, target=target, model=model, team=team))
    if row is None:
        show(UnlimitedView(), as_json=as_json, sentence=f"{kind} is unlimited at this {level}.")
        return
    view = LimitView.of(row)
    told = f"{view.amount_usd} USD" if view.amount_usd else str(view.amount)
    per = f" a {view.window}" if view.window else ""
    show(view, as_json=as_json, sentence=f"Limit {row.id}: {told} {kind}{per} at {level} {target}.")


@app.command("list")
def list_(
    level: Level = None,
    target: Target = None,
    user: Annotated[str | None, typer.Option(help="All limits of this user's personal account.")] = None,
    team: Annotated[str | None, typer.Option(help="All limits of this team's account.")] = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """Show limits."""
    page = act(
        lambda pool: limits.list_limits(
            pool, operator(), level=level, target=target, user=user, team=team, limit=limit, cursor=cursor
        )
    )
    view = PageView[LimitView](rows=[LimitView.of(row) for row in page.rows], next_cursor=page.next_cursor)
    ids = ("account_id", "api_key_id", "model", "subscription_id", "user_id")
    columns = ("id", "level", *ids, "kind", "window", "amount", "amount_usd", "burst", "shadow", "expires_at")
    show_page(view, as_json=as_json, columns=columns)


@app.command()
def delete(limit: Annotated[int, typer.Argument(metavar="ID", help="Id of the limit.")]) -> None:
    """Remove a limit."""
    act(lambda pool: limits.delete_limit(pool, operator(), limit))
    typer.echo(f"Limit {limit} is removed.")
