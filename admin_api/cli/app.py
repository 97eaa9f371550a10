"""Assembles the commands; turns every failure into one sentence and exit code 1."""

import sys
from importlib import import_module
from typing import Final

import typer

from gateway.web.logs import configure_logs

# Command group -> its module. Only the group that is called is imported: importing all takes a second.
GROUPS: Final = {
    "users": "admin_api.cli.users",
    "tokens": "admin_api.cli.personal_tokens",
    "teams": "admin_api.cli.teams",
    "models": "admin_api.cli.models",
    "prices": "admin_api.cli.prices",
    "subscriptions": "admin_api.cli.subscriptions",
    "keys": "admin_api.cli.keys",
    "limits": "admin_api.cli.limits",
    "settings": "admin_api.cli.runtime_settings",
    "alerts": "admin_api.cli.alerts",
    "webhooks": "admin_api.cli.webhooks",
    "deliveries": "admin_api.cli.deliveries",
    "usage": "admin_api.cli.usage",
    "ledger": "admin_api.cli.ledger",
    "secrets": "admin_api.cli.secrets",
    "provider-keys": "admin_api.cli.provider_keys",
    "audit": "admin_api.cli.audit",
}


def main() -> None:
    """The entry point of `litemaas`."""
    try:
        # Otherwise log lines would go to stdout, into the JSON that a program reads.
        configure_logs("warning")
        build_app(sys.argv[1:])(prog_name="litemaas")
    except Exception as exc:
        # Imported only here: the failure may be the import itself, and most commands do not fail.
        from admin_api.cli.failures import explain

        typer.echo(f"litemaas: {explain(exc)}", err=True)
        sys.exit(1)


def build_app(arguments: list[str]) -> typer.Typer:
    """The app with the group that is called, or with all groups for help and for unknown commands."""
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
    called = arguments[0] if arguments else None
    if called not in programs.NAMES:
        for name, module in GROUPS.items():
            if called == name or called not in GROUPS:
                app.add_typer(import_module(module).app, name=name)
    make_strict(app)
    return app
