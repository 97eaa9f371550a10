"""A20: a refused command says what it may be given, in no words of a library; tables of every list fit 100 columns."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from test_a8_repeated_options import commands, options_of, refused
from typer.core import TyperArgument, TyperOption
from typer.main import get_command

from admin_api.cli.app import build_app
from admin_api.cli.options import TIME

# What pydantic, Typer and Python say of values.
LIBRARY_WORDS = re.compile(
    r"Input should|constrained|pydantic|unable to parse|Value error|valid (integer|boolean)|int_parsing"
    r"|<(str|int|bool|float)|\[str\]|NoneType|literal|Traceback"
)
NAMES_OF_DATES = ("at", "since", "until", "before")


@pytest.fixture(scope="module")
def root() -> Any:
    return get_command(build_app([]))


def leaves(root: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    return ((path, command) for path, command in commands(root) if not hasattr(command, "commands"))


def required(command: Any, but: Any) -> list[str]:
    """Values for what the command needs, apart from one parameter, so that only that one is wrong."""
    words: list[str] = []
    for parameter in command.params:
        if parameter is but or not parameter.required:
            continue
        value = __file__ if parameter.metavar == "FILE" else "1"
        if parameter.metavar == "WORD":
            value = (parameter.help or "").replace(" or ", ", ").split(",")[0].split()[-1].strip(".")
        words += [parameter.opts[0], value] if isinstance(parameter, TyperOption) else [value]
    return words


def test_a20_a_wrong_value_is_answered_with_the_right_ones(root: Any) -> None:
    numbers, words = 0, 0
    for path, command in leaves(root):
        for parameter in command.params:
            if parameter.metavar not in ("NUMBER", "WORD"):
                continue
            wrong = [parameter.opts[0], "wrong value"] if isinstance(parameter, TyperOption) else ["wrong value"]
            printed = refused([*path, *required(command, parameter), *wrong])
            assert not LIBRARY_WORDS.search(printed), printed
            if parameter.metavar == "NUMBER":
                numbers += 1
                assert "must be a whole number" in printed, printed
            else:
                words += 1
                assert "'wrong value' is not one of " in printed, printed
    assert numbers > 40
    assert words > 20


def test_a20_help_has_no_words_of_a_library(root: Any) -> None:
    for path, command in commands(root):
        with command.make_context(" ".join(path) or "litemaas", [], resilient_parsing=True) as context:
            text = command.get_help(context)
        assert not LIBRARY_WORDS.search(text), (path, text)


def test_a20_every_option_with_a_date_takes_dates_of_a_time_zone(root: Any) -> None:
    dates = 0
    for path, command in leaves(root):
        times = [one for one in options_of(command) if str(one.name).rsplit("_", 1)[-1] in NAMES_OF_DATES]
        if not times:
            continue
        dates += len(times)
        assert all(one.metavar == TIME for one in times), path
        assert any("--time-zone" in one.opts for one in options_of(command)), path
    assert dates > 12


def test_a20_every_list_can_be_json(root: Any) -> None:
    lists = 0
    for path, command in leaves(root):
        if path[-1] in ("list", "show", "identities", "invitations"):
            lists += 1
            assert any("--json" in option.opts for option in options_of(command)), path
    assert lists > 15


def test_a20_arguments_are_named(root: Any) -> None:
    for path, command in leaves(root):
        for parameter in command.params:
            assert parameter.help, (path, parameter.name)
            assert isinstance(parameter, TyperArgument | TyperOption)
