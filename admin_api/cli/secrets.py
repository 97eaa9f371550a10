"""`litemaas secrets …`"""

import typer

from admin_api.cli.session import AsJSON, act, operator
from admin_api.operations.maintenance.secrets import rotate_secrets
from admin_api.settings import SecretSettings

app = typer.Typer(no_args_is_help=True, help="Secrets that are kept sealed in the database.")


@app.callback()
def group() -> None:
    """So that `rotate` is a command of its group, though there is no other yet."""


@app.command()
def rotate(as_json: AsJSON = False) -> None:
    """Seal all secrets anew under the newest of LITEMAAS_SECRET_KEYS; then older keys may go."""
    settings = SecretSettings.from_env()
    keys = settings.encryption_keys
    count = act(lambda pool: rotate_secrets(pool, operator(), keys), settings)
    typer.echo(
        f'{{"encrypted_again":{count}}}' if as_json else f"{count} secrets sealed anew under version {keys.newest}."
    )
