"""`litemaas limits state`, `explain` and `repair`, which read counters."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from admin_api import settings as environment
from admin_api.cli.cells import OF_LIMIT, limit_cells, with_units
from admin_api.cli.columns import columns
from admin_api.cli.refusals import show_ as show_refused_call
from admin_api.cli.session import AsJSON, Cursor, PageSize, act, key_id_of, operator, show, show_page, table
from admin_api.operations.limits import explain as explanations
from admin_api.operations.limits import states
from admin_api.operations.validation import invalid
from admin_api.schemas.explanations import DriftView, ExplanationView, RepairView
from admin_api.schemas.limits import LimitWithStateView
from admin_api.schemas.shapes import PageView

if TYPE_CHECKING:
    from gateway.storage.counters.scripts import Counters
    from gateway.storage.postgres import Pool

T = TypeVar("T")
STATES: Final = columns(*OF_LIMIT, "used", "remaining", "resets_at", "expires_at")
EXPLAINED: Final = columns(
    "level", "kind", "window", "limit", "used", "reserved", "remaining", "requested", "would_refuse"
)


def state(
    user: Annotated[str | None, typer.Option(help="Of this user's personal account.")] = None,
    team: Annotated[str | None, typer.Option(help="Of this team.")] = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """Show the limits of an account, and what is used and left of each now."""
    found = _act_on_counters(
        lambda pool, counters: states.list_limit_states(
            pool, counters, operator(), user=user, team=team, limit=limit, cursor=cursor
        )
    )
    view = PageView[LimitWithStateView].of(found, LimitWithStateView.with_state)
    show_page(view, what="limits", as_json=as_json, columns=STATES, as_row=limit_cells)


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
    explanation = _act_on_counters(
        lambda pool, counters: explanations.explain_limits(pool, counters, operator(), key_id=key_id, call=call)
    )
    if as_json:
        typer.echo(ExplanationView.model_validate(explanation).model_dump_json())
        return
    typer.echo("The call would be admitted." if explanation.allowed else f"{explanation.code}: {explanation.message}")
    if explanation.missing_cause_text:
        typer.echo(explanation.missing_cause_text)
    if explanation.limits:
        typer.echo(table([_explained(row) for row in explanation.limits], EXPLAINED))


def repair(
    account: Annotated[int | None, typer.Option(min=1, help="Id of one account; without it, all of them.")] = None,
    as_json: AsJSON = False,
) -> None:
    """Rebuild counters from the ledger at the next call. Shows the difference between the two."""
    drifts = _act_on_counters(
        lambda pool, counters: explanations.repair_limits(pool, counters, operator(), account_id=account)
    )
    view = RepairView(drifted=[DriftView.of(drift) for drift in drifts])
    show(view, as_json=as_json, sentence=f"{len(view.drifted)} counters differed from the ledger; all will be rebuilt.")


def _act_on_counters(work: "Callable[[Pool, Counters], Awaitable[T]]") -> T:
    """As `act`, with the counters."""
    settings = environment.CounterSettings.from_env()

    async def run(pool: "Pool") -> T:
        url = settings.redis_url.get_secret_value()
        async with explanations.open_counters(url, tls=settings.tls("redis")) as counters:
            return await work(pool, counters)

    return act(run, settings)


def _explained(limit: dict[str, Any]) -> dict[str, Any]:
    """The cells of a limit of the key: a user's is of their personal account, or in a team."""
    level = f"user in team {limit['team']}" if limit["team"] else limit["level"]
    return with_units(limit) | {"level": level}
