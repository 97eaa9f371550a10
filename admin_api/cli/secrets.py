"""`litemaas secrets …`"""

import typer

from admin_api import settings as environment
from admin_api.cli.session import AsJSON, act, operator
from admin_api.operations.maintenance.secrets import rotate_secrets

app = typer.Typer(no_args_is_help=True, help="Secrets that are stored encrypted in the database.")


@app.callback()
def group() -> None:
    """Keeps `rotate` a subcommand: Typer would merge a single command with its group."""


@app.command()
def rotate(as_json: AsJSON = False) -> None:
    """Encrypt all secrets again with the newest key of LITEMAAS_SECRET_KEYS; older keys can then be removed."""
    settings = environment.SecretSettings.from_env()
    keys = settings.encryption_keys
    count = act(lambda pool: rotate_secrets(pool, operator(), keys), settings)
    typer.echo(
        f'{{"sealed_anew":{count}}}'
        if as_json
        else f"{count} secrets were encrypted again with key version {keys.newest}."
    )
