"""Every `litemaas …` that a page or a message shows is a command of the program, with options that it has."""

import re
import shlex
from collections.abc import Iterator
from typing import Any, Final

import pytest
from typer.main import get_command

from admin_api.cli.app import build_app
from tests.contract.test_docs import PAGES, ROOT

# Where a command may begin in a line of a block: at its start, in a container, after settings, or in another command.
BEGINNING: Final = re.compile(
    r"(?:^|\bexec (?:deploy/)?[\w-]+ (?:-- )?|\brun --rm [\w-]+ |[A-Z_]+=\S+ |\$\(|\| |-- )litemaas (.+)"
)
SHOWN: Final = re.compile(r"`litemaas ([a-z][^`\n…]*)`")
SHOWING: Final = {".py", ".yml", ".yaml", ".txt", ".sql", ".sh", ".html", ".po"}
PROGRAM: Any = get_command(build_app([]))


def shown_commands(text: str) -> Iterator[str]:
    """What follows `litemaas`, up to a comment, a pipe or a redirection."""
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if found := BEGINNING.search(line.split(" #")[0]):
                yield re.split(r" [|>&] |\)", found[1])[0].strip()
    yield from SHOWN.findall(text)


def faults(command: str) -> list[str]:
    words, below = shlex.split(command), PROGRAM
    while words and words[0] in getattr(below, "commands", {}):
        below = below.commands[words.pop(0)]
    if hasattr(below, "commands") and words and words[0] not in ("--help", "--version"):
        return words[:1]
    own = words[: words.index("--")] if "--" in words else words
    known = {name for parameter in below.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    return [word for word in own if word.startswith("--") and word.partition("=")[0] not in known]


@pytest.mark.parametrize("page", PAGES)
def test_commands_shown_in_the_pages_exist_with_their_options(page: str) -> None:
    found = {command: faults(command) for command in shown_commands((ROOT / page).read_text())}

    assert {command: named for command, named in found.items() if named} == {}


@pytest.mark.parametrize("folder", ["admin_api", "deploy", "gateway", "migrations"])
def test_commands_shown_by_the_programs_exist_with_their_options(folder: str) -> None:
    files = [path for path in (ROOT / folder).rglob("*") if path.suffix in SHOWING]
    found = {command for path in files for command in SHOWN.findall(path.read_text())}

    assert {command: named for command in sorted(found) if (named := faults(command))} == {}
    assert found or folder == "migrations"


def test_commands_are_found_and_judged() -> None:
    assert sum(len(list(shown_commands((ROOT / page).read_text()))) for page in PAGES) > 150
    assert list(
        shown_commands("```\nkubectl exec deploy/x -- litemaas models sync  # now\n```\n`litemaas users list`")
    ) == [
        "models sync",
        "users list",
    ]
    assert faults("models sink") == ["sink"]
    assert faults("models sync --jason") == ["--jason"]
    assert faults("keys create --user a@example.org --model x") == []
