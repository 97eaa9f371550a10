"""`litemaas provider-keys …`"""

import os
import sys
from typing import Annotated, Final

import typer

from admin_api.cli.session import AsJSON, Cursor, PageSize, act, operator, show, show_page
from admin_api.operations.models import provider_keys
from admin_api.operations.validation import invalid
from admin_api.schemas.provider_keys import ProviderKeyView
from admin_api.schemas.shapes import PageView
from admin_api.settings import SecretSettings

app = typer.Typer(no_args_is_help=True, help="Keys of providers, kept sealed for LiteLLM.")
Name = Annotated[str, typer.Argument(help="Name, as OPENAI.")]
# What the program that is started must not see: it needs the keys, not what opens them.
OURS: Final = "LITEMAAS_"


@app.command("list")
def list_(limit: PageSize = 100, cursor: Cursor = None, as_json: AsJSON = False) -> None:
    """Show them; never the keys."""
    page = act(lambda pool: provider_keys.list_provider_keys(pool, operator(), limit=limit, cursor=cursor))
    rows = [ProviderKeyView.of(row) for row in page.rows]
    view = PageView[ProviderKeyView](rows=rows, next_cursor=page.next_cursor)
    show_page(view, as_json=as_json, columns=("name", "provider", "last_four", "reference", "updated_by", "updated_at"))


@app.command()
def put(
    name: Name,
    provider: Annotated[str, typer.Option(help="Whose key it is, as openai.")],
    as_json: AsJSON = False,
) -> None:
    """Keep a key, or another value for it. It is asked for, or read from standard input: others see arguments."""
    settings = SecretSettings.from_env()
    value = typer.prompt("Key", hide_input=True) if sys.stdin.isatty() else _first_line(sys.stdin.read())
    done = act(
        lambda pool: provider_keys.put_provider_key(
            pool, operator(), settings.encryption_keys, name, provider=provider, value=value
        ),
        settings,
    )
    view = ProviderKeyView.of(done.row)
    sentence = f"{view.name} is kept. Write 'api_key: {view.reference}' in LiteLLM's configuration, and restart it."
    show(view, as_json=as_json, sentence=sentence)


@app.command()
def delete(name: Name) -> None:
    """Forget a key; LiteLLM goes on with it until its next start."""
    act(lambda pool: provider_keys.delete_provider_key(pool, operator(), name))
    typer.echo(f"{name} is forgotten.")


@app.command("exec", context_settings={"allow_interspersed_args": False})
def exec_(
    command: Annotated[list[str], typer.Argument(metavar="-- PROGRAM ARGUMENTS…", help="What to run.")],
) -> None:
    """Run a program, as LiteLLM, with the keys in its environment: PROVIDER_KEY_<name> each, and nothing of ours.

    The program takes the place of this one, so it gets all signals. If a key does not open, nothing is started.
    """
    settings = SecretSettings.from_env()
    opened = act(lambda pool: provider_keys.open_provider_keys(pool, operator(), settings.encryption_keys), settings)
    # Not a setting: what is handed on to the other program. Settings are read in whatever case they are written.
    around = {name: value for name, value in os.environ.items() if not name.upper().startswith(OURS)}  # noqa: TID251
    typer.echo(f"litemaas: {len(opened)} provider keys for {command[0]}: {', '.join(opened) or 'none'}.", err=True)
    try:
        os.execvpe(command[0], command, around | opened)  # noqa: S606  that is what it is for
    except OSError as exc:
        raise invalid("program", f"'{command[0]}' can not be run: {exc.strerror}.") from None


def _first_line(text: str) -> str:
    """Without the end of its line; more lines are for the operation to refuse."""
    return text.removesuffix("\n").removesuffix("\r")
