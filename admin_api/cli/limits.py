"""`litemaas limits …`"""

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from admin_api import settings as environment
from admin_api.cli import limit_requests
from admin_api.cli.cells import key_text, owner_text, target_text, with_units
from admin_api.cli.columns import columns
from admin_api.cli.made_texts import change_text
from admin_api.cli.options import moment_option, words_option
from admin_api.cli.refusals import show_ as show_refused_call
from admin_api.cli.session import (
    AsJSON,
    Confirm,
    Cursor,
    PageSize,
    act,
    key_id_of,
    operator,
    parse_moment,
    show,
    show_details,
    show_page,
    table,
)
from admin_api.operations.limits import bulk, limits, states
from admin_api.operations.limits import explain as explanations
from admin_api.operations.limits.parsing import AmountInput, check_kind, parse_decimal
from admin_api.operations.validation import invalid
from admin_api.schemas.explanations import DriftView, ExplanationView, RepairView
from admin_api.schemas.limits import LimitView, LimitWithStateView, PreviewView, SetLimitView, UnlimitedView
from admin_api.schemas.shapes import PageView
from gateway.domain.limits import KINDS, LEVELS, amount_text
from gateway.domain.windows import WINDOW_KINDS

if TYPE_CHECKING:
    from admin_api.operations.limits.states import LimitWithState
    from admin_api.operations.pagination import Page
    from admin_api.storage.bulk_limits import BulkTarget
    from gateway.storage.counters.drift import Drift
    from gateway.storage.postgres import Pool


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


OF_LIMIT: Final = ("id", "level", "applies_to", "model", "kind", "window", "amount")
LIMITS: Final = columns(*OF_LIMIT, "shadow", "expires_at")
STATES: Final = columns(*OF_LIMIT, "used", "remaining", "resets_at", "expires_at")
EXPLAINED: Final = columns(
    "level", "kind", "window", "limit", "used", "reserved", "remaining", "requested", "would_refuse"
)
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
    reserve: Annotated[str, words_option(limits.RESERVE_MODES, help="What of a call is reserved:")] = "expected",
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
        reserve=limits.check_reserve(reserve),
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
    view = PageView[LimitView](rows=[LimitView.of(row) for row in page.rows], next_cursor=page.next_cursor)
    show_page(view, what="limits", as_json=as_json, columns=LIMITS, as_row=_row)


@app.command("show")
def show_(
    limit: Annotated[int, typer.Argument(metavar="ID", help="Id of the limit.")], as_json: AsJSON = False
) -> None:
    """Show a limit."""
    row = act(lambda pool: limits.find_limit(pool, operator(), limit))
    show_details(LimitView.of(row), as_json=as_json)


@app.command()
def state(
    user: Annotated[str | None, typer.Option(help="Of this user's personal account.")] = None,
    team: Annotated[str | None, typer.Option(help="Of this team.")] = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """Show the limits of an account, and what is used and left of each now."""
    settings = environment.CounterSettings.from_env()
    url, ca_file = settings.redis_url.get_secret_value(), settings.redis_ca_file

    async def work(pool: "Pool") -> "Page[LimitWithState]":
        async with explanations.open_counters(url, ca_file=ca_file) as counters:
            return await states.list_limit_states(
                pool, counters, operator(), user=user, team=team, limit=limit, cursor=cursor
            )

    found = act(work, settings)
    rows = [LimitWithStateView.with_state(row) for row in found.rows]
    view = PageView[LimitWithStateView](rows=rows, next_cursor=found.next_cursor)
    show_page(view, what="limits", as_json=as_json, columns=STATES, as_row=_row)


@app.command()
def delete(limit: Annotated[int, typer.Argument(metavar="ID", help="Id of the limit.")]) -> None:
    """Remove a limit."""
    act(lambda pool: limits.delete_limit(pool, operator(), limit))
    typer.echo(f"Limit {limit} is removed.")


@app.command()
def explain(
    key: Annotated[str | None, typer.Option(metavar="KEY", help="Its id, or its last four characters.")] = None,
    model: Annotated[str | None, typer.Option(help="Name of the model.")] = None,
    request_id: Annotated[
        str | None,
        typer.Option(help="Instead of key and model: a call that was refused, as `refusals show`."),
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(help="Tokens, prompt and completion together. Default: an ordinary call.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="The call's bound on its answer. Default: none.")] = None,
    address: Annotated[str | None, typer.Option(help="The caller's address. Default: one that the key allows.")] = None,
    as_json: AsJSON = False,
) -> None:
    """Show whether a call would be admitted now, and why, or why one was refused. Counts nothing against the limits."""
    if request_id is not None:
        if key is not None or model is not None:
            raise invalid("request_id", "Give either a request id, or a key and a model.")
        show_refused_call(request_id, as_json=as_json)
        return
    key_id = key_id_of(key)
    if key_id is None or model is None:
        raise invalid("key", "Give a key and a model, or the request id of a refused call.")
    call = explanations.CallInput(model=model, tokens=tokens, max_tokens=max_tokens, address=address)
    settings = environment.CounterSettings.from_env()
    url, ca_file = settings.redis_url.get_secret_value(), settings.redis_ca_file

    async def work(pool: "Pool") -> explanations.Explanation:
        async with explanations.open_counters(url, ca_file=ca_file) as counters:
            return await explanations.explain_limits(pool, counters, operator(), key_id=key_id, call=call)

    explanation = act(work, settings)
    if as_json:
        typer.echo(ExplanationView.model_validate(explanation).model_dump_json())
        return
    typer.echo("The call would be admitted." if explanation.allowed else f"{explanation.code}: {explanation.message}")
    if explanation.missing_cause_text:
        typer.echo(explanation.missing_cause_text)
    if explanation.limits:
        typer.echo(table([_explained(row) for row in explanation.limits], EXPLAINED))


@app.command()
def repair(
    account: Annotated[int | None, typer.Option(min=1, help="Id of one account; without it, all of them.")] = None,
    as_json: AsJSON = False,
) -> None:
    """Rebuild counters from the ledger at the next call. Shows the difference between the two."""
    settings = environment.CounterSettings.from_env()
    url, ca_file = settings.redis_url.get_secret_value(), settings.redis_ca_file

    async def work(pool: "Pool") -> "list[Drift]":
        async with explanations.open_counters(url, ca_file=ca_file) as counters:
            return await explanations.repair_limits(pool, counters, operator(), account_id=account)

    view = RepairView(drifted=[DriftView.of(drift) for drift in act(work, settings)])
    show(view, as_json=as_json, sentence=f"{len(view.drifted)} counters differed from the ledger; all will be rebuilt.")


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
        lambda pool: limits.boost_limit(
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


def _row(limit: dict[str, Any]) -> dict[str, Any]:
    """The cells of a limit: whose it is in one column, money as `25 USD`."""
    owner = owner_text(limit["account_name"], limit["user_email"])
    applies_to = target_text(owner, key_text(limit["key_name"], limit["key_last_four"]))
    return with_units(limit) | {"applies_to": applies_to, "shadow": limit["shadow"] or None}


def _explained(limit: dict[str, Any]) -> dict[str, Any]:
    """The cells of a limit of the key: a user's is of their personal account, or in a team."""
    level = f"user in team {limit['team']}" if limit["team"] else limit["level"]
    return with_units(limit) | {"level": level}
