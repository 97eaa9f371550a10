"""A19: every operation of the admin API has a command, or a reason why not."""

from collections.abc import Iterator
from typing import Any

import pytest
from admin_client import openapi_document
from typer.main import get_command

from admin_api.cli.app import build_app
from admin_api.cli.verbs import COMMANDS, WITHOUT_COMMAND

# Another word for a verb that other commands have.
SYNONYMS = {
    "get": "show", "info": "show", "view": "show", "describe": "show", "ls": "list", "new": "create", "add": "create",
    "edit": "update", "change": "update", "modify": "update", "remove": "delete", "rm": "delete",
    "destroy": "delete", "disable": "deactivate", "enable": "activate", "block": "suspend", "dump": "export",
}  # fmt: skip


@pytest.fixture(scope="module")
def commands() -> dict[str, Any]:
    def below(command: Any, path: str = "") -> Iterator[tuple[str, Any]]:
        for name, one in getattr(command, "commands", {}).items():
            yield f"{path} {name}".strip(), one
            yield from below(one, f"{path} {name}".strip())

    return dict(below(get_command(build_app([]))))


def test_a19_every_operation_has_a_command_or_a_reason(commands: dict[str, Any]) -> None:
    paths = openapi_document()["paths"]
    operations = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    known = set(COMMANDS) | set(WITHOUT_COMMAND)
    assert operations - known == set(), "a command for these, in admin_api/cli/verbs.py, or the reason why not"
    assert known - operations == set(), "these routes are gone"
    assert not set(COMMANDS) & set(WITHOUT_COMMAND)
    assert {words for words in COMMANDS.values() if words not in commands} == set()


def test_a20_verbs_are_the_same_for_all_nouns(commands: dict[str, Any]) -> None:
    verbs = {path: path.split()[-1] for path, one in commands.items() if not hasattr(one, "commands")}
    assert {path: SYNONYMS[verb] for path, verb in verbs.items() if verb in SYNONYMS} == {}, "use the common verb"


def test_a20_every_command_says_what_it_does(commands: dict[str, Any]) -> None:
    for path, one in commands.items():
        assert str(one.help).strip()[0].isupper(), path
