"""`litemaas limits …`"""

from typing import TYPE_CHECKING, Annotated, Final

import typer

from admin_api.cli import limit_counters, limit_requests
from admin_api.cli.cells import OF_LIMIT, limit_cells
from admin_api.cli.columns import columns
from admin_api.cli.made_texts import change_text
from admin_api.cli.options import moment_option, words_option
from admin_api.cli.session import (
    AsJSON,
    Confirm,
    Cursor,
    PageSize,
    act,
    operator,
    parse_moment,
    show,
    show_details,
    show_page,
    table,
)
from admin_api.operations.limits import boosts, bulk, limits
from admin_api.operations.limits.parsing import RESERVE_MODES, AmountInput, check_kind, check_reserve, parse_decimal
from admin_api.operations.validation import invalid
from admin_api.schemas.limits import LimitView, PreviewView, SetLimitView, UnlimitedView
from admin_api.schemas.shapes import PageView
from gateway.domain.limits import KINDS, LEVELS, amount_text
from gateway.domain.windows import WINDOW_KINDS

if TYPE_CHECKING:
    from admin_api.storage.bulk_limits import BulkTarget


app = typer.Typer(no_args_is_help=True, help="Limits at every level.")
app.command("requests")(limit_requests.list_requests)
app.command()(limit_requests.approve)
app.command()(limit_requests.deny)
Level = Annotated[str | None, words_option(LEVELS, "--level")]
Target = Annotated[
    str | None, typer.Option("--id", help="The key, subscription, user or team it applies to, by name or id.")
]
AmountOption = Annotated[
    str | None, typer.Option("--amount", help="A whole number (not for kind cost) or 'unlimited'.")
]
AmountUSD = Annotated[str | None, typer.Option("--amount-usd", help="For kind cost: US dollars, e.g. 25.00.")]
AmountNanoUSD = Annotated[
    int | None, typer.Option("--amount-nano-usd", min=0, help="For kind cost: billionths of a US dollar.")
]
Team = Annotated[str | None, typer.Option("--team", help="At level user: the user within this team.")]


LIMITS: Final = columns(*OF_LIMIT, "shadow", "expires_at")
CHANGES: Final = columns("label", "limit_id", "old", "new", "boost")


@app.command("set")
def set_(
    level: Annotated[str, words_option(LEVELS)],
    target: Annotated[str, typer.Option("--id", help="The key, subscription, user or team, by name or id.")],
    kind: Annotated[str, words_option(KINDS)],
    amount: AmountOption = None,
    amount_usd: AmountUSD = None,
    amount_nano_usd: AmountNanoUSD = None,
    model: Annotated[str | None, typer.Option(help="At level key_model: name of the model.")] = None,
    team: Team = None,
    window: Annotated[str | None, words_option(WINDOW_KINDS)] = None,
    burst: Annotated[str, typer.Option(help="For kinds rpm and tpm: size of the bucket, in minutes.")] = "1",
    reserve: Annotated[str, words_option(RESERVE_MODES, help="What of a call is reserved:")] = "expected",
    shadow: Annotated[bool, typer.Option("--shadow", help="Only count and report; never reject a call.")] = False,
    expires_at: Annotated[str | None, moment_option(help="When it expires.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why.")] = None,
    confirm: Confirm = False,
    as_json: AsJSON = False,
) -> None:
    """Create or change a limit; 'unlimited' removes it."""
    given = AmountInput(amount=amount, amount_usd=amount_usd, amount_nano_usd=amount_nano_usd)
    input_ = limits.LimitInput(
        kind=kind,
        amount=given.of_kind(check_kind(kind)),
        window=window,
        burst=parse_decimal("burst", burst),
        reserve=check_reserve(reserve),
        shadow=shadow,
        expires_at=parse_moment("expires_at", expires_at),
        reason=reason,
        confirmed=confirm,
    )
    done = act(
        lambda pool: limits.set_limit(pool, operator(), input_, level=level, target=target, model=model, team=team)
    )
    view = UnlimitedView.of(done) if done.row is None else SetLimitView.of_change(done.row, done.replaced)
    show(view, as_json=as_json, sentence=change_text(done, kind))


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
    """List limits."""
    page = act(
        lambda pool: limits.list_limits(
            pool, operator(), level=level, target=target, user=user, team=team, limit=limit, cursor=cursor
        )
    )
    view = PageView[LimitView].of(page, LimitView.of)
    show_page(view, what="limits", as_json=as_json, columns=LIMITS, as_row=limit_cells)


@app.command("show")
def show_(
    limit: Annotated[int, typer.Argument(metavar="ID", help="Id of the limit.")], as_json: AsJSON = False
) -> None:
    """Show a limit."""
    row = act(lambda pool: limits.find_limit(pool, operator(), limit))
    show_details(LimitView.of(row), as_json=as_json)


app.command()(limit_counters.state)


@app.command()
def delete(limit: Annotated[int, typer.Argument(metavar="ID", help="Id of the limit.")]) -> None:
    """Remove a limit."""
    act(lambda pool: limits.delete_limit(pool, operator(), limit))
    typer.echo(f"Limit {limit} is removed.")


app.command()(limit_counters.explain)
app.command()(limit_counters.repair)


@app.command()
def boost(
    limit: Annotated[int, typer.Argument(metavar="ID", help="Id of a permanent limit.")],
    expires_at: Annotated[str, moment_option(help="When it expires.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    amount: AmountOption = None,
    amount_usd: AmountUSD = None,
    amount_nano_usd: AmountNanoUSD = None,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="It may be lower, or change money by more than a thousandfold.")
    ] = False,
    as_json: AsJSON = False,
) -> None:
    """Replace a limit by a temporary one; the permanent one applies again when that expires."""
    ends = parse_moment("expires_at", expires_at)
    if ends is None:
        raise invalid("expires_at", "A boost must have an expiry time.")
    given = AmountInput(amount=amount, amount_usd=amount_usd, amount_nano_usd=amount_nano_usd)
    done = act(
        lambda pool: boosts.boost_limit(
            pool, operator(), limit, amount=given, expires_at=ends, reason=reason, confirmed=confirm
        )
    )
    view = SetLimitView.of_change(done.limit, done.replaced)
    show(view, as_json=as_json, sentence=f"{change_text(done, done.limit.kind)} Then limit {limit} applies again.")


@app.command("set-many")
def set_many(
    level: Annotated[str, words_option(bulk.BULK_LEVELS)],
    kind: Annotated[str, words_option(KINDS)],
    amount: AmountOption = None,
    amount_usd: AmountUSD = None,
    amount_nano_usd: AmountNanoUSD = None,
    window: Annotated[str | None, words_option(WINDOW_KINDS)] = None,
    user: Annotated[list[str] | None, typer.Option(help="Only of this user; may be repeated.")] = None,
    team: Annotated[str | None, typer.Option(help="Only of this team; at level user: its members.")] = None,
    model: Annotated[str | None, typer.Option(help="At levels subscription and key: only of this model.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why.")] = None,
    confirm: Confirm = False,
    token: Annotated[str | None, typer.Option(help="Token of the preview to apply.")] = None,
    as_json: AsJSON = False,
) -> None:
    """Preview one limit on many targets; with the same options and the --token of the preview, apply exactly that."""
    given = AmountInput(amount=amount, amount_usd=amount_usd, amount_nano_usd=amount_nano_usd)
    input_ = limits.LimitInput(
        kind=kind, amount=given.of_kind(check_kind(kind)), window=window, reason=reason, confirmed=confirm
    )
    filter_ = bulk.Filter(level=level, users=user or None, team=team, model=model)
    if token is None:
        preview = act(lambda pool: bulk.preview_limits(pool, operator(), filter_, input_))
        doubtful = f"{preview.doubtful} by more than a thousandfold. " if preview.doubtful else ""
        options = f"--token {preview.token}{' --confirm' if preview.doubtful else ''}"
        summary = f"{len(preview.targets)} would change. {doubtful}To apply it, add: {options}"
    else:
        preview = act(lambda pool: bulk.apply_limits(pool, operator(), filter_, input_, token))
        summary = f"{len(preview.targets)} changed."
    view = PreviewView.of(preview)
    if as_json:
        typer.echo(view.model_dump_json())
        return
    if view.rows:
        typer.echo(table([_change(preview, target) for target in preview.targets[:1000]], CHANGES))
    typer.echo(summary)


def _change(preview: bulk.Preview, target: "BulkTarget") -> dict[str, str | int | None]:
    """A row of the preview's table: the amount now and the new one, money with its unit."""
    kind, boost = preview.kind, target.boost_amount
    return {
        "label": target.label,
        "limit_id": target.limit_id,
        "old": amount_text(kind, target.amount),
        "new": amount_text(kind, preview.amount),
        "boost": None if boost is None else amount_text(kind, boost),
    }
