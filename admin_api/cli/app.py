"""Assembles the commands; turns every failure into one sentence and an exit code."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

# structlog and Typer would import it, which takes as long as all our modules, for output that we do not colour.
sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # means: cannot be imported
# It would look for plugins in the metadata of every installed package.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")  # noqa: TID251  pydantic's, no setting

import typer  # noqa: E402  after the line above

from admin_api.cli.completion import words_to_complete  # noqa: E402
from admin_api.cli.lazy_modules import load_when_used  # noqa: E402

# Command group -> what it is about. Its module is `admin_api.cli.<name>`, unless MODULES has another. Only the group
# that is called is imported: importing all takes a second.
GROUPS: Final = {
    "users": "Users and their roles.",
    "tokens": "Personal access tokens: for programs that call the admin API.",
    "teams": "Teams and their members.",
    "models": "Models that LiteLLM serves.",
    "prices": "Prices of models.",
    "subscriptions": "Subscriptions: which accounts may use which models.",
    "keys": "API keys.",
    "limits": "Limits at every level.",
    "settings": "Defaults and ceilings of keys and subscriptions; alerts; new models; what pages show.",
    "alerts": "Alerts: windows whose use has reached a threshold of their limit.",
    "webhooks": "Webhooks: URLs that receive notifications.",
    "deliveries": "Deliveries of notifications, by webhook and by e-mail.",
    "usage": "Usage reports and exports.",
    "usage-store": "ClickHouse, from which usage questions can be answered.",
    "refusals": "Refused calls: how many by hour, and one by its request id.",
    "ledger": "The usage ledger.",
    "secrets": "Secrets that are stored encrypted in the database.",
    "provider-keys": "API keys of providers, stored encrypted for LiteLLM.",
    "audit": "The audit log: every change, by whom and why.",
    "system": "The state of the whole system, and what an id belongs to.",
}
MODULES: Final = {
    "tokens": "personal_tokens",
    "settings": "runtime_settings",
    "provider-keys": "provider_keys",
    "usage-store": "usage_store",
}
# Options before the command that are followed by a value.
OPTIONS: Final = ("--as",)


def main() -> None:
    """The entry point of `litemaas`."""
    try:
        completed = words_to_complete(os.environ)  # noqa: TID251  the shell's, no setting
        arguments = completed or sys.argv[1:] or ["--help"]
        if _called(arguments) in GROUPS and not completed:
            load_when_used({"structlog": _log_warnings})
        build_app(arguments)(prog_name="litemaas")
    except Exception as exc:
        # Imported only here: the failure may be the import itself, and most commands do not fail.
        from admin_api.cli.failures import exit_code, explain

        typer.echo(f"litemaas: {explain(exc)}", err=True)
        sys.exit(exit_code(exc))


def _log_warnings() -> None:
    """Otherwise log lines would go to stdout, into the JSON that a program reads."""
    from gateway.web.logs import configure_logs

    configure_logs("warning")


def build_app(arguments: Sequence[str]) -> typer.Typer:
    """The app with the group that is called, and the names of the others; without arguments, with all groups."""
    from admin_api.cli import programs
    from admin_api.cli.single_options import RootGroup, make_strict

    app = typer.Typer(
        cls=RootGroup,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help="LiteMaaS: model subscriptions, keys and limits in front of LiteLLM.",
    )
    programs.add_to(app)
    called = _called(arguments)
    for name, text in GROUPS.items():
        if called == name or not arguments:
            module = MODULES.get(name, name)
            app.add_typer(import_module(f"admin_api.cli.{module}").app, name=name)
        else:
            app.add_typer(_only_named(text), name=name)
    make_strict(app)
    return app


def _only_named(text: str) -> typer.Typer:
    """A group of which the help of `litemaas` shows name and text."""
    group = typer.Typer(help=text)
    group.callback()(lambda: None)
    return group


def _called(arguments: Sequence[str]) -> str | None:
    """The first word that is neither an option nor the value of one."""
    before = ""
    for word in arguments:
        if not word.startswith("-") and before not in OPTIONS:
            return word
        before = word
    return None
