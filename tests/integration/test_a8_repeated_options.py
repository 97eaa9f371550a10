"""A8: an option that a command does not have, or a single one given twice, is refused and never ignored."""

from collections.abc import Iterator
from typing import Any

import pytest
from typer.core import TyperGroup, TyperOption
from typer.main import get_command
from typer.testing import CliRunner

from admin_api.cli.app import build_app

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def root() -> Any:
    return get_command(build_app([]))


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and group, with the words that call it."""
    yield path, command
    if isinstance(command, TyperGroup):
        for name, below in command.commands.items():
            yield from commands(below, (*path, name))


def options_of(command: Any) -> list[TyperOption]:
    return [p for p in command.params if isinstance(p, TyperOption) and p.name != "help"]


def names_of(option: TyperOption) -> list[str]:
    return [*option.opts, *option.secondary_opts]


def refused(words: list[str]) -> str:
    """What a refused command prints, without the line breaks; it read no settings and reached no database."""
    done = RUNNER.invoke(build_app(words), words, env={"LITEMAAS_DATABASE_URL": ""})
    assert done.exit_code == 2, (words, done.output)
    return " ".join(done.output.split())


def test_a8_every_command_names_its_options_when_one_is_unknown(root: Any) -> None:
    tried = 0
    for path, command in commands(root):
        printed = refused([*path, "--statu", "pending"])
        assert "No such option: --statu" in printed
        assert all(name in printed for option in options_of(command) for name in names_of(option)), path
        tried += 1
    assert tried > 70


def test_a8_every_single_option_may_be_given_once_only(root: Any) -> None:
    single, lists = 0, 0
    for path, command in commands(root):
        for option in options_of(command):
            twice = []
            for name in (names_of(option)[0], names_of(option)[-1]):
                twice += [name] if option.is_flag else [name, *["1"] * option.nargs]
            if option.multiple:
                lists += 1
                continue
            single += 1
            assert f"{max(option.opts, key=len)} may be given once only." in refused([*path, *twice]), (path, option)
    assert single > 200
    assert lists > 10


@pytest.mark.parametrize(
    "words",
    [
        ["keys", "create", "--model=a", "--user", "ann@x.org", "--user", "ben@x.org"],
        ["subscriptions", "list", "--limit", "5", "--limit=5"],
        ["usage", "summary", "--key", "1", "--model", "a", "--model", "b", "--key", "2"],
        ["gateway", "--port", "4000", "--port", "4001"],
    ],
)
def test_a8_the_last_of_two_values_does_not_win(words: list[str]) -> None:
    assert "may be given once only." in refused(words)
