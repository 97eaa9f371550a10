"""docs/cli.md: every command with its options, from the program."""

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from admin_api.cli.app import build_app


def commands_text() -> str:
    """A heading for each group, a part for each command."""
    root: Any = get_command(build_app([]))
    lines: list[str] = []
    for name, command in root.commands.items():
        if not hasattr(command, "commands"):
            continue
        lines += ["", f"## {name}", "", str(command.help)]
        for verb, below in command.commands.items():
            lines += ["", f"### {name} {verb}", "", *_command(below)]
    programs = [one for one in root.commands.items() if not hasattr(one[1], "commands")]
    lines += ["", "## Programs"]
    for name, command in programs:
        lines += ["", f"### {name}", "", *_command(command)]
    return "\n".join(lines[1:]) + "\n"


def _command(command: Any) -> Iterator[str]:
    yield " ".join(str(command.help).split())
    rows = [row for parameter in command.params for row in _parameter(parameter)]
    if rows:
        yield ""
        yield "| option | what |"
        yield "|---|---|"
        yield from rows


def _parameter(parameter: Any) -> Iterator[str]:
    # They are the same everywhere, and stand in the page once.
    if parameter.opts[0] in ("--as", "--json", "--limit", "--cursor", "--time-zone") and parameter.name != "time_zone":
        return
    if parameter.opts[0].startswith("-"):
        names = "`, `".join([*parameter.opts, *parameter.secondary_opts])
        placeholder = "" if parameter.is_flag else f" {parameter.metavar}"
    else:
        names, placeholder = str(parameter.metavar), ""
    default = parameter.default
    shown = "" if default in (None, False, "") or callable(default) else f" Default: {default}."
    text = " ".join(str(parameter.help or "").split()).replace("|", "/")
    yield f"| `{names}{placeholder}` | {text}{' Required.' if parameter.required else ''}{shown} |"
