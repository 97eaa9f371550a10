"""`litemaas tokens …`"""

from typing import Annotated, Final

import typer

from admin_api import settings as environment
from admin_api.cli.columns import columns
from admin_api.cli.options import moment_option, words_option
from admin_api.cli.session import AsJSON, Cursor, PageSize, act, operator, parse_moment, show, show_page
from admin_api.operations.people import personal_tokens
from admin_api.schemas.personal_tokens import NewPersonalTokenView, PersonalTokenView
from admin_api.schemas.shapes import PageView
from gateway.domain.roles import ROLES

app = typer.Typer(no_args_is_help=True, help="Personal access tokens: for programs that call the admin API.")
TOKENS: Final = columns("id", "name", "role", "last_four", "expires_at", "revoked_at", "last_used_at")
User = Annotated[str, typer.Option("--user", help="E-mail address or id.")]


@app.command()
def create(
    user: User,
    name: Annotated[str, typer.Option(help="Display name.")] = "",
    role: Annotated[str | None, words_option(ROLES, hint="The user's role if left out.")] = None,
    expires_at: Annotated[str | None, moment_option(help="When it expires; in 90 days if left out.")] = None,
    as_json: AsJSON = False,
) -> None:
    """Create a token and show it once."""
    settings = environment.KeySettings.from_env()
    moment = parse_moment("expires_at", expires_at)
    made = act(
        lambda pool: personal_tokens.create_token(
            pool, operator(), settings.peppers, user=user, name=name, role=role, expires_at=moment
        ),
        settings,
    )
    sentence = f"{made.row.id}  {made.secret}\nThis is the only time the token is shown."
    show(NewPersonalTokenView.of(made), as_json=as_json, sentence=sentence)


@app.command("list")
def list_(user: User, limit: PageSize = 100, cursor: Cursor = None, as_json: AsJSON = False) -> None:
    """List a user's tokens, including revoked ones. Their secrets are never shown."""
    page = act(lambda pool: personal_tokens.list_tokens(pool, operator(), user=user, limit=limit, cursor=cursor))
    view = PageView[PersonalTokenView].model_validate(page)
    show_page(view, what="tokens", as_json=as_json, columns=TOKENS)


@app.command()
def revoke(
    token: Annotated[int, typer.Argument(metavar="ID", help="Id of the token.")], user: User, as_json: AsJSON = False
) -> None:
    """Revoke a token for good. It takes effect with the next call."""
    row = act(lambda pool: personal_tokens.revoke_token(pool, operator(), token, user=user))
    show(PersonalTokenView.model_validate(row), as_json=as_json, sentence=f"Token {row.id} is revoked.")
