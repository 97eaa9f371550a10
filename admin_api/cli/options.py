"""Kinds of options that many commands have: dates, and words of a list."""

from collections.abc import Sequence
from typing import Any, Final

import typer

from admin_api.cli.operator import context_value

# By this placeholder a command gets the option --time-zone, in which its dates are read.
TIME: Final = "TIME"
TIME_ZONE: Final = "litemaas.time_zone"


def moment_option(*names: str, help: str) -> Any:
    """A date, month, time or distance, as `parse_moment` reads it."""
    return typer.Option(*names, metavar=TIME, help=f"{help} E.g. 2027-01-31, 2027-01 or +30d.")


def words_option(allowed: Sequence[str], *names: str, help: str = "", hint: str = "") -> Any:
    """One of these words; any other is refused with the list. `hint` follows the list in the help."""
    text = " ".join(part for part in (help, f"{any_of(allowed)}.", hint) if part)
    return typer.Option(*names, metavar="WORD", help=text, callback=_checker(allowed), autocompletion=_lister(allowed))


def words_argument(allowed: Sequence[str], *, help: str = "") -> Any:
    """As `words_option`, by its place."""
    text = " ".join(part for part in (help, f"{any_of(allowed)}.") if part)
    return typer.Argument(metavar="WORD", help=text, callback=_checker(allowed), autocompletion=_lister(allowed))


def any_of(words: Sequence[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def time_zone() -> str:
    """The zone of --time-zone; UTC without it."""
    return context_value(TIME_ZONE) or "UTC"


def _checker(allowed: Sequence[str]) -> Any:
    def check(value: Any) -> Any:
        for word in value if isinstance(value, list | tuple) else [value]:
            if word is not None and word not in allowed:
                raise typer.BadParameter(f"'{word}' is not one of {', '.join(allowed)}.")
        return value

    return check


def _lister(allowed: Sequence[str]) -> Any:
    def complete(incomplete: str) -> list[str]:
        return [word for word in allowed if word.startswith(incomplete)]

    return complete
