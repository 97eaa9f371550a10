"""Completion by the shell: the script that it runs, and what it asks when Tab is pressed."""

import shlex
from collections.abc import Mapping
from typing import Final

SHELLS: Final = ("bash", "zsh", "fish")
# Set by the script when it calls `litemaas` for completions.
ASKED: Final = "_LITEMAAS_COMPLETE"


def completion_script(shell: str) -> str:
    """To be evaluated by the shell."""
    from typer._completion_shared import get_completion_script

    return get_completion_script(prog_name="litemaas", complete_var=ASKED, shell=shell)


def words_to_complete(environment: Mapping[str, str]) -> list[str]:
    """What stands in the shell's line behind `litemaas`; [] if this is no call for completions."""
    if ASKED not in environment:
        return []
    from typer._completion_classes import completion_init

    completion_init()
    line = environment.get("COMP_WORDS") or environment.get("_TYPER_COMPLETE_ARGS") or ""
    try:
        words = shlex.split(line)
    except ValueError:
        # A quote that is still open.
        words = line.split()
    return words[1:] or ["--help"]
