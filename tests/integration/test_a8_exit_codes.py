"""A8: exit code 2 says that the command line itself is wrong, whatever is stored; 1 that the system refused, or that
something failed."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from admin_client import SECRET_KEYS
from command_line import CommandLine
from conftest import Database
from factories import ADMIN, make_key, make_model, make_subscription, make_team, make_user
from test_a20_refused_commands import leaves
from typer.core import TyperOption
from typer.main import get_command
from typer.testing import CliRunner

from admin_api.cli.app import build_app
from admin_api.cli.failures import exit_code
from admin_api.operations.limits.limits import LimitInput, set_limit
from deploy.embedded.valkey import Valkey
from gateway.storage.postgres import Pool

# By the placeholder of an option or argument: values that no state of the system makes right.
WRONG = {
    "NUMBER": ("many", "-1"), "ID": ("first",), "WORD": ("wrong value",), "TIME": ("someday", "2026-13"),
    "ZONE": ("Nowhere",), "PERIOD": ("a-blue-moon",), "DAY": ("someday",), "AGE": ("old",), "USD": ("cheap", "-1"),
    "AMOUNT": ("some",), "FACTOR": ("0.5", "much"), "TIER": ("night=1",), "ADDRESS": ("here",), "URL": ("elsewhere",),
    "EMAIL": ("ana",), "REQUEST-ID": ("1",), "CURSOR": ("next",), "LANGUAGE": ("klingon",), "CODE": ("teapot",),
    "ANCHOR": ("0",), "KIND:NAME": ("ana",), "TEXT": ("\a",),
}  # fmt: skip
# What these name is looked up here or elsewhere: another state of the system has it.
NAMES = {"USER", "TEAM", "MODEL", "NAME", "KEY", "TO", "HOST", "FILE", "VALUE", "-- PROGRAM ARGUMENTS"}
RIGHT = {
    "TIME": "2026-01", "DAY": "2026-01-01", "USD": "1", "EMAIL": "ben@example.org", "URL": "https://example.org/",
    "REQUEST-ID": "0197f000-0000-7000-8000-000000000000", "FILE": __file__,
}  # fmt: skip


def placeholder(parameter: Any) -> str:
    return str(parameter.metavar).strip("[]…")


def needed(command: Any, but: Any) -> list[str]:
    """Values for what the command needs, apart from one parameter, so that only that one is wrong."""
    words: list[str] = []
    for parameter in command.params:
        if parameter is but or not parameter.required:
            continue
        value = RIGHT.get(placeholder(parameter), "1")
        if parameter.metavar == "WORD":
            value = (parameter.help or "").replace(" or ", ", ").split(",")[0].split()[-1].strip(".")
        words += [parameter.opts[0], value] if isinstance(parameter, TyperOption) else [value]
    return words


def wrong_lines() -> Iterator[list[str]]:
    for path, command in leaves(get_command(build_app([]))):
        for parameter in command.params:
            if getattr(parameter, "is_flag", False) or "--as" in parameter.opts or placeholder(parameter) in NAMES:
                continue
            for value in WRONG[placeholder(parameter)]:
                wrong = [parameter.opts[0], value] if isinstance(parameter, TyperOption) else [value]
                yield [*path, *needed(command, parameter), *wrong]


@pytest.fixture
async def env(database: Database, valkey: Valkey, pool: Pool) -> dict[str, str]:
    """Of commands. What the number 1 may name is there."""
    user = await make_user(pool, "ana@example.org")
    await make_team(pool, user, name="1")
    await make_subscription(pool, user, await make_model(pool, "1"))
    await make_key(pool, user, "1")
    await set_limit(pool, ADMIN, LimitInput(kind="rpm", amount=5), level="key", target="1", model=None, team=None)
    return {
        "LITEMAAS_DATABASE_URL": database.app_url,
        "LITEMAAS_OWNER_DATABASE_URL": database.owner_url,
        "LITEMAAS_REDIS_URL": valkey.url(),
        "LITEMAAS_KEY_PEPPERS": "1:" + "ab" * 32,
        "LITEMAAS_SECRET_KEYS": SECRET_KEYS,
    }


async def code_of(words: Sequence[str], env: dict[str, str]) -> tuple[int, str]:
    """As `litemaas` exits with, in this process: on a thread, for a command has a loop of its own."""
    done = await asyncio.to_thread(CliRunner().invoke, build_app(words), list(words), env=env)
    error = done.exception
    if error is None or isinstance(error, SystemExit):
        return done.exit_code, done.output
    return exit_code(error), f"{error!r}"


async def test_a8_every_wrong_value_of_every_option_is_exit_code_2(env: dict[str, str]) -> None:
    others = []
    tried = 0
    for words in wrong_lines():
        code, printed = await code_of(words, env)
        tried += 1
        if code != 2:
            others.append((" ".join(words), code, printed[-200:]))

    assert not others, "\n".join(map(str, others))
    assert tried > 300


@pytest.mark.parametrize(
    "line",
    [
        "subscriptions suspend 1", "subscriptions deny --model 1", "subscriptions deny 1 2", "limits explain",
        "limits boost 1 --amount 9 --expires-at +1d --reason=", "limits boost 1 --amount 9 --expires-at -1d --reason x",
        "limits set --level key --id 1 --kind cost --amount-usd 5", "limits set --level key --id 1 --kind rpm",
        "usage summary --period today --since 2026-01", "usage export --format focus --detail calls",
        "usage summary --since 2026-02 --until 2026-01", "users list --limit 0", "keys rotate 1 --grace-s 999999999",
        "webhooks create --url ftp://example.org --event key.ended", "settings set nothing 1",
        "settings set key_default_rpm lots", "keys show", "nothing", "audit prune --before -1d",
    ],
)  # fmt: skip
async def test_a8_a_wrong_command_line_is_exit_code_2(env: dict[str, str], line: str) -> None:
    code, printed = await code_of(line.split(" "), env)

    assert code == 2, printed


MORE_THAN_THE_CEILING = ["settings set key_maximum_rpm 5", "settings set key_default_rpm 6"]
BUDGET = "limits set --level key --id 1 --kind cost --window month --amount-usd"


@pytest.mark.parametrize(
    "lines",
    [
        ["users show nobody@example.org"],
        ["keys show zzzz"],
        ["subscriptions suspend 99 --reason x"],
        ["limits boost 99 --amount 9 --expires-at +1d --reason x"],
        ["webhooks create --event key.ended --url http://example.org"],
        ["prices set --model 1 --replace --input-per-million-usd 1"],
        ["prices set --model 1 --input-per-million-usd 1 --corrects 9"],
        ["ledger rebuild-rollups --from 2020-01-01"],
        MORE_THAN_THE_CEILING,
        [f"{BUDGET} 1", f"{BUDGET} 9000000"],
    ],
    ids=lambda lines: lines[-1],
)
async def test_a8_what_is_stored_refuses_with_exit_code_1(env: dict[str, str], lines: list[str]) -> None:
    codes = [(await code_of(line.split(" "), env))[0] for line in lines]

    assert codes == [0] * (len(lines) - 1) + [1]


async def test_a8_the_program_exits_so(database: Database) -> None:
    command_line = CommandLine({"LITEMAAS_DATABASE_URL": database.app_url})

    wrong = await command_line.run("usage", "summary", "--period", "a-blue-moon")
    refused = await command_line.run("users", "show", "nobody@example.org")
    away = await CommandLine({"LITEMAAS_DATABASE_URL": "postgresql://a@127.0.0.1:1/b"}).run("users", "list")

    assert (wrong.code, wrong.err.endswith("(validation_failed)\n")) == (2, True)
    assert (refused.code, away.code) == (1, 1)
