"""`litemaas provider-keys …`"""

import os
import sys
from typing import Annotated, Final

import typer

from admin_api import settings as environment
from admin_api.cli.columns import columns
from admin_api.cli.session import AsJSON, Cursor, PageSize, act, operator, show, show_details, show_page
from admin_api.operations.models import provider_keys
from admin_api.operations.validation import invalid_now
from admin_api.schemas.provider_keys import ProviderKeyView
from admin_api.schemas.shapes import PageView

app = typer.Typer(no_args_is_help=True, help="API keys of providers, stored encrypted for LiteLLM.")
PROVIDER_KEYS: Final = columns("name", "provider", "last_four", "reference", "updated_by", "updated_at")
Name = Annotated[str, typer.Argument(help="Name, e.g. OPENAI.")]
# Variables hidden from the started program: it needs the provider keys, not the secrets that decrypt them.
OURS: Final = "LITEMAAS_"


@app.command("list")
def list_(limit: PageSize = 100, cursor: Cursor = None, as_json: AsJSON = False) -> None:
    """List provider keys. The keys themselves are never shown."""
    page = act(lambda pool: provider_keys.list_provider_keys(pool, operator(), limit=limit, cursor=cursor))
    view = PageView[ProviderKeyView].of(page, ProviderKeyView.of)
    show_page(view, what="provider keys", as_json=as_json, columns=PROVIDER_KEYS)


@app.command("show")
def show_(name: Name, as_json: AsJSON = False) -> None:
    """Show a provider key, but never the key itself."""
    found = act(lambda pool: provider_keys.find_provider_key(pool, operator(), name))
    show_details(ProviderKeyView.of(found), as_json=as_json)


@app.command()
def put(
    name: Name,
    provider: Annotated[str, typer.Option(help="The provider, e.g. openai.")],
    as_json: AsJSON = False,
) -> None:
    """Store a key or change it. The key is read from a prompt or standard input: arguments are visible to others."""
    settings = environment.SecretSettings.from_env()
    value = typer.prompt("Key", hide_input=True) if sys.stdin.isatty() else _first_line(sys.stdin.read())
    done = act(
        lambda pool: provider_keys.put_provider_key(
            pool, operator(), settings.encryption_keys, name, provider=provider, value=value
        ),
        settings,
    )
    view = ProviderKeyView.of(done.row)
    sentence = f"{view.name} is stored. Write 'api_key: {view.reference}' in LiteLLM's configuration, and restart it."
    show(view, as_json=as_json, sentence=sentence)


@app.command()
def delete(name: Name) -> None:
    """Delete a key. LiteLLM uses it until its next start."""
    act(lambda pool: provider_keys.delete_provider_key(pool, operator(), name))
    typer.echo(f"{name} is deleted.")


@app.command("exec", context_settings={"allow_interspersed_args": False})
def exec_(
    command: Annotated[list[str], typer.Argument(metavar="-- PROGRAM ARGUMENTS…", help="What to run.")],
) -> None:
    """Run a program, e.g. LiteLLM, with each key as PROVIDER_KEY_<name> in its environment and no LITEMAAS_ variables.

    The program replaces this process, so it receives all signals. If a key cannot be decrypted, nothing is started.
    """
    settings = environment.SecretSettings.from_env()
    opened = act(lambda pool: provider_keys.open_provider_keys(pool, operator(), settings.encryption_keys), settings)
    # Not a setting: the other program's environment. Names of settings are not case-sensitive.
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith(OURS)}  # noqa: TID251
    typer.echo(f"litemaas: {len(opened)} provider keys for {command[0]}: {', '.join(opened) or 'none'}.", err=True)
    try:
        os.execvpe(command[0], command, inherited | opened)  # noqa: S606  the purpose of the command
    except OSError as exc:
        raise invalid_now("program", f"'{command[0]}' cannot be run: {exc.strerror}.") from None


def _first_line(text: str) -> str:
    """The text without its last line end. More than one line is an error that the operation reports."""
    return text.removesuffix("\n").removesuffix("\r")
