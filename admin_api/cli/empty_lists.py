"""What a command says when it has found nothing: a sentence with what it looked for."""

import shlex
from collections.abc import Iterator
from typing import Any, Final

from typer._click.core import ParameterSource
from typer._click.globals import get_current_context
from typer.core import TyperOption

# Options of lists that select nothing.
OTHERS: Final = ("as_json", "limit", "cursor", "order", "step", "time_zone")


def none_found(what: str) -> str:
    """`No keys.`, with options `No keys match --user ana@example.org.`, and after a page `No more keys.`"""
    context = get_current_context(silent=True)
    if context is None:
        return f"No {what}."
    if context.params.get("cursor") is not None:
        return f"No more {what}."
    given = [word for parameter in context.command.params for word in _given(context, parameter)]
    return f"No {what} match {shlex.join(given)}." if given else f"No {what}."


def _given(context: Any, parameter: Any) -> Iterator[str]:
    """The words of an option on the command line, if it selects."""
    name = parameter.name
    if not isinstance(parameter, TyperOption) or name in OTHERS or name not in context.params:
        return
    if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
        return
    value = context.params[name]
    if parameter.is_flag:
        yield max(parameter.opts if value else parameter.secondary_opts, key=len)
        return
    for one in value if isinstance(value, list | tuple) else [value]:
        yield from (max(parameter.opts, key=len), str(one))
