"""`litemaas keys …`"""

from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from admin_api import settings as environment
from admin_api.cli.cells import owner_text, time_text
from admin_api.cli.columns import columns
from admin_api.cli.made_texts import made_lines
from admin_api.cli.options import moment_option, time_zone
from admin_api.cli.session import (
    AsJSON,
    Cursor,
    PageSize,
    act,
    act_on_key,
    operator,
    parse_age,
    parse_moment,
    show,
    show_details,
    show_page,
)
from admin_api.operations.keys import changes, keys, live_use
from admin_api.operations.limits.parsing import parse_usd
from admin_api.schemas.keys import CreatedKeyView, KeyUseView, KeyView, NewKeyView
from admin_api.schemas.shapes import PageView

app = typer.Typer(no_args_is_help=True, help="API keys.")
KEYS: Final = columns("id", "status", "owner", "name", "last_four", "models", "last_used_at", "expires_at")
USES: Final = columns("id", "owner", "name", "last_four", "calls", "prompt_tokens", "completion_tokens", "cost_usd")
User = Annotated[str | None, typer.Option("--user", help="E-mail address or id.")]
Team = Annotated[str | None, typer.Option("--team", help="Name or id of the team.")]

KeyRef = Annotated[
    str, typer.Argument(metavar="KEY", help="Its id, or the last four characters of its secret or the one before.")
]


@app.command()
def create(
    model: Annotated[list[str], typer.Option("--model", help="Name of a model; may be repeated.")],
    user: User = None,
    team: Team = None,
    name: Annotated[str, typer.Option(help="Display name.")] = "",
    rpm: Annotated[int | None, typer.Option(help="Requests per minute; unlimited if left out.")] = None,
    tpm: Annotated[int | None, typer.Option(help="Tokens per minute; unlimited if left out.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Concurrent calls; unlimited if left out.")] = None,
    monthly_cost_usd: Annotated[
        str | None, typer.Option(help="US dollars per month, e.g. 25.00; unlimited if left out.")
    ] = None,
    expires_at: Annotated[str | None, moment_option(help="When it expires.")] = None,
    allowed_ip: Annotated[list[str] | None, typer.Option(help="Address or network; may be repeated.")] = None,
    as_json: AsJSON = False,
) -> None:
    """Create a key and show it once. With --team alone it is a service key of the team."""
    settings = environment.KeySettings.from_env()
    input_ = keys.KeyInput(
        models=model,
        user=user,
        team=team,
        name=name,
        allowed_ips=allowed_ip or (),
        expires_at=parse_moment("expires_at", expires_at),
        rpm=rpm,
        tpm=tpm,
        concurrency=concurrency,
        monthly_cost_nano_usd=None if monthly_cost_usd is None else parse_usd("monthly_cost_usd", monthly_cost_usd),
    )
    made = act(lambda pool: keys.create_key(pool, operator(), settings.peppers, input_), settings)
    sentence = f"{made.row.id}  {made.secret}\nThis is the only time the key is shown."
    show(CreatedKeyView.of(made), as_json=as_json, sentence="\n".join([sentence, *made_lines((), made.limits)]))


@app.command("list")
def list_(
    user: User = None,
    team: Team = None,
    archived: Annotated[bool, typer.Option("--archived", help="Include archived keys.")] = False,
    unused_for: Annotated[
        str | None, typer.Option(help="Only working keys that were not used for so long, e.g. 90d; longest first.")
    ] = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """List keys, including revoked ones. Their secrets are never shown."""
    before = parse_age("unused_for", unused_for)
    which: dict[str, Any] = {"user": user, "team": team, "archived": archived, "last_used_before": before}
    page = act(lambda pool: keys.list_keys(pool, operator(), **which, limit=limit, cursor=cursor))
    statuses = {row.id: row.status_at(datetime.now(UTC)) for row in page.rows}
    show_page(
        PageView[KeyView].model_validate(page),
        what="keys",
        as_json=as_json,
        columns=KEYS,
        as_row=lambda key: (
            key | {"status": statuses[key["id"]], "owner": owner_text(key["account_name"], key["user_email"])}
        ),
    )


@app.command("use")
def list_uses(
    user: User = None,
    team: Team = None,
    archived: Annotated[bool, typer.Option("--archived", help="Include archived keys.")] = False,
    limit: PageSize = 100,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """List what keys are used today, which is a day of --time-zone."""
    which: dict[str, Any] = {"user": user, "team": team, "archived": archived, "time_zone": time_zone()}
    page = act(lambda pool: live_use.list_key_uses(pool, operator(), **which, limit=limit, cursor=cursor))
    view = PageView[KeyUseView].of(page, KeyUseView.of_use)
    show_page(
        view,
        what="keys",
        as_json=as_json,
        columns=USES,
        as_row=lambda key: key | {"owner": owner_text(key["account_name"], key["user_email"])},
    )


@app.command()
def rotate(
    key: KeyRef,
    grace_s: Annotated[
        int, typer.Option(help="Seconds during which the old secret still works: 0 for one that has leaked.")
    ] = changes.DEFAULT_GRACE_S,
    as_json: AsJSON = False,
) -> None:
    """Give a key a new secret and show it once. Limits and models stay."""
    settings = environment.KeySettings.from_env()
    made = act_on_key(
        key,
        lambda pool, key_id: changes.rotate_key(pool, operator(), settings.peppers, key_id, grace_s=grace_s),
        settings,
    )
    until = made.row.previous_ends_at
    end = "The old secret has ended." if until is None else f"The old secret works until {time_text(until)}."
    sentence = f"{made.row.id}  {made.secret}\nThis is the only time the key is shown. {end}"
    show(NewKeyView.of(made), as_json=as_json, sentence=sentence)


@app.command()
def archive(key: KeyRef, as_json: AsJSON = False) -> None:
    """Hide a revoked or expired key from the lists."""
    row = act_on_key(key, lambda pool, key_id: changes.archive_key(pool, operator(), key_id))
    show(KeyView.model_validate(row), as_json=as_json, sentence=f"Key {row.id} is archived.")


@app.command()
def revoke(key: KeyRef, as_json: AsJSON = False) -> None:
    """Revoke a key for good. It takes effect within a second."""
    row = act_on_key(key, lambda pool, key_id: keys.revoke_key(pool, operator(), key_id))
    show(KeyView.model_validate(row), as_json=as_json, sentence=f"Key {row.id} is revoked.")


@app.command()
def unarchive(key: KeyRef, as_json: AsJSON = False) -> None:
    """Show an archived key in the lists again."""
    row = act_on_key(key, lambda pool, key_id: changes.archive_key(pool, operator(), key_id, archived=False))
    show(KeyView.model_validate(row), as_json=as_json, sentence=f"Key {row.id} is in the lists again.")


@app.command("show")
def show_(key: KeyRef, as_json: AsJSON = False) -> None:
    """Show a key, but never its secret."""
    row = act_on_key(key, lambda pool, key_id: keys.find_key(pool, operator(), key_id))
    show_details(KeyView.model_validate(row), as_json=as_json)


@app.command()
def update(
    key: KeyRef,
    name: Annotated[str | None, typer.Option(help="New name.")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Model that it may call, in place of those now; may be repeated.")
    ] = None,
    allowed_ip: Annotated[
        list[str] | None, typer.Option(help="Address or network, in place of those now; may be repeated.")
    ] = None,
    any_ip: Annotated[bool, typer.Option("--any-ip", help="It may be used from everywhere.")] = False,
    expires_at: Annotated[str | None, moment_option(help="When it expires.")] = None,
    never_expires: Annotated[bool, typer.Option("--never-expires", help="It does not expire.")] = False,
    as_json: AsJSON = False,
) -> None:
    """Change a key. Options left out stay as they are."""
    change = changes.KeyChange(
        name=name,
        models=model or None,
        allowed_ips=[] if any_ip else allowed_ip or None,
        expires_at=parse_moment("expires_at", expires_at),
        never_expires=never_expires,
    )
    row = act_on_key(key, lambda pool, key_id: changes.update_key(pool, operator(), key_id, change))
    show_details(KeyView.model_validate(row), as_json=as_json)
