"""`litemaas settings …`"""

import json
from typing import Annotated, Any

import typer

from admin_api.cli.session import AsJSON, Confirm, act, operator
from admin_api.operations import runtime_settings
from admin_api.schemas.runtime_settings import RuntimeSettingsView

app = typer.Typer(
    no_args_is_help=True,
    help="Defaults and ceilings of keys and subscriptions; alerts; new models; what pages show.",
)


@app.command("show")
def show_(as_json: AsJSON = False) -> None:
    """Show all settings."""
    _show(act(lambda pool: runtime_settings.show_settings(pool, operator())), as_json=as_json)


@app.command("set")
def set_(
    name: Annotated[str, typer.Argument(help="Name, as in `settings show`.")],
    value: Annotated[str, typer.Argument(help="A number, comma-separated numbers, a text, or `none`.")],
    confirm: Confirm = False,
    as_json: AsJSON = False,
) -> None:
    """Change a setting. Existing keys and subscriptions stay as they are."""
    given = _parse_list(value) if name == "alert_thresholds" else _parse(name, value)
    settings = act(lambda pool: runtime_settings.update_settings(pool, operator(), {name: given}, confirmed=confirm))
    _show(settings, as_json=as_json)


def _parse_list(value: str) -> list[Any]:
    return [] if value in ("none", "") else [_parse("", part) for part in value.split(",")]


def _parse(name: str, value: str) -> Any:
    if value == "none":
        return None
    if name in runtime_settings.TEXTS:
        return value
    # USD stay text: as a float they would not be exact.
    if name.endswith("_usd") and not name.endswith(runtime_settings.NANO_USD_END):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        # The operation reports what is wrong with it.
        return value


def _show(settings: runtime_settings.RuntimeSettings, *, as_json: bool) -> None:
    view = RuntimeSettingsView.of(settings)
    if as_json:
        typer.echo(view.model_dump_json())
        return
    for name, value in view.model_dump().items():
        shown = ",".join(map(str, value)) if isinstance(value, list) else value
        typer.echo(f"{name}  {'none' if shown in (None, '') else shown}")
