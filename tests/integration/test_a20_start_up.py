"""A20: `litemaas` imports what a command needs, and the shell completes its words."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from admin_api.cli.app import GROUPS, build_app

PROGRAM = Path(sys.executable).with_name("litemaas")
# Of servers, of other programs, and of output that we do not colour.
# What a command does with them comes after the command line is read.
OF_WORK = {"asyncio", "asyncpg", "structlog", "redis", "idna", "cryptography", "jsonschema", "pydantic_settings"}
NEVER = {"rich", "fastapi", "starlette", "uvicorn", "aiohttp", "httpx2", "authlib", "redis", "cryptography"}
LISTING = """
import json, sys
sys.argv = ["litemaas", *json.loads(sys.argv[1])]
from admin_api.cli.app import main
try:
    main()
except SystemExit:
    pass
from types import ModuleType
# Those that wait to be used are of another class.
print(json.dumps(sorted(name for name, module in sys.modules.items() if type(module) is ModuleType)))
"""


def imported(*words: str, **env: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", LISTING, json.dumps(words)], capture_output=True, text=True, check=True, env=env
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_a20_the_help_of_litemaas_imports_no_library_of_its_commands() -> None:
    modules = imported("--help")
    assert {"pydantic", "asyncpg", "structlog"} & modules == set()
    assert NEVER & modules == set()
    assert not [name for name in modules if name.startswith("admin_api.operations")]
    # It was 1,100 when every group was imported, and Python itself has 60.
    assert len(modules) < 250


@pytest.mark.parametrize("group", ["users", "audit", "subscriptions", "tokens"])
def test_a20_a_command_imports_its_own_group_only(group: str) -> None:
    modules = imported(group, "list", "--help")
    others = {f"admin_api.cli.{name.replace('-', '_')}" for name in GROUPS} - {f"admin_api.cli.{group}"}
    assert modules & others == set()
    assert NEVER & modules == set()


@pytest.mark.parametrize("group", GROUPS)
def test_a20_the_help_of_a_group_loads_nothing_of_what_its_commands_do(group: str) -> None:
    modules = imported(group, "--help")
    assert (NEVER | OF_WORK) & modules == set()
    assert "pydantic" in modules


# An address where nothing listens: all that comes before the first byte to the database is loaded.
NOBODY = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.mark.parametrize("group", ["users", "teams", "models", "keys", "subscriptions", "limits", "audit", "alerts"])
def test_a20_a_list_loads_the_database_and_no_other_client(group: str) -> None:
    modules = imported(group, "list", LITEMAAS_DATABASE_URL=NOBODY)
    assert "asyncpg" in modules
    assert NEVER & modules == set()
    assert (OF_WORK - {"asyncio", "asyncpg", "pydantic_settings"}) & modules == set()


def test_a20_log_lines_of_commands_go_to_stderr_although_structlog_is_loaded_late() -> None:
    script = (
        "import sys; from admin_api.cli.app import load_when_used, _log_warnings; "
        "load_when_used({'structlog': _log_warnings}); import structlog; "
        "assert type(structlog).__name__ == '_Unloaded'; structlog.get_logger('x').warning('event', n=1)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, json.loads(done.stderr)["event"]) == ("", "event")


def test_a20_the_help_says_of_each_group_what_its_help_says() -> None:
    root = get_command(build_app([]))
    assert {name: command.help for name, command in root.commands.items() if name in GROUPS} == GROUPS  # type: ignore[attr-defined]


COMPLETED = {
    ("litemaas", "use"): {"users"},
    ("litemaas", "users", "cr"): {"create"},
    ("litemaas", "users", "create", "--role", "admin"): {"admin", "admin-readonly"},
    ("litemaas", "limits", "set", "--ki"): {"--kind"},
    ("litemaas", "--as", "ana@example.org", "keys", "rot"): {"rotate"},
}


@pytest.mark.parametrize("words", COMPLETED, ids=" ".join)
def test_a20_bash_completes_commands_options_and_words(words: tuple[str, ...]) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    line = " ".join(f"'{word}'" for word in words)
    script = (
        f'eval "$(litemaas completion bash)"; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1};'
        ' _litemaas_completion litemaas; echo "${COMPREPLY[@]}"'
    )
    path = f"{PROGRAM.parent}:{os.environ['PATH']}"
    done = subprocess.run([bash, "-c", script], capture_output=True, text=True, check=True, env={"PATH": path})
    assert set(done.stdout.split()) == COMPLETED[words], done.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_a20_other_shells_ask_and_are_answered(shell: str) -> None:
    script = subprocess.run([PROGRAM, "completion", shell], capture_output=True, text=True, check=True).stdout
    assert f"_LITEMAAS_COMPLETE=complete_{shell}" in script
    asked = {"_LITEMAAS_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": "litemaas users cr"}
    asked["_TYPER_COMPLETE_FISH_ACTION"] = "get-args"
    done = subprocess.run([PROGRAM], capture_output=True, text=True, check=False, env=asked)
    assert "create" in done.stdout, done.stderr


def test_a20_an_unknown_shell_is_answered_with_those_there_are() -> None:
    done = subprocess.run([PROGRAM, "completion", "csh"], capture_output=True, text=True, check=False)
    assert (done.returncode, "is not one of bash, zsh, fish" in done.stderr) == (2, True)
