"""A20: one command for one act, which is done as a whole or not at all; defaults for new users."""

import pytest
from command_line import CommandLine
from conftest import Database
from factories import ADMIN, make_model, make_user

from admin_api.operations.people import teams
from gateway.storage.postgres import Pool

BUDGETS = "SELECT level, amount FROM limits WHERE kind = 'cost' AND window_kind = 'month' ORDER BY id"


@pytest.fixture
async def command_line(database: Database) -> CommandLine:
    return CommandLine({"LITEMAAS_DATABASE_URL": database.app_url})


async def test_a20_a_team_with_people_models_and_a_budget_is_one_command(command_line: CommandLine, pool: Pool) -> None:
    ana, ben = await make_user(pool, "ana@example.org"), await make_user(pool, "ben@example.org")
    for name in ("small", "large"):
        await make_model(pool, name)
    command = [
        *(
            "teams",
            "create",
            "red",
            "--owner",
            ana.email,
            "--member",
            ben.email,
            "--model",
            "small",
            "--model",
            "large",
        ),
        *("--monthly-cost-usd", "25", "--time-zone", "Europe/Madrid", "--as", ana.email),
    ]

    made = await command_line.run(*command, "--json")
    again = await command_line.run(*command)

    team, members = await teams.find_team(pool, ADMIN, "red")
    assert (made.json()["id"], team.time_zone) == (team.id, "Europe/Madrid")
    assert {(member.user_id, member.role) for member in members} == {(ana.id, "owner"), (ben.id, "member")}
    assert await pool.fetchval("SELECT count(*) FROM subscriptions WHERE status = 'active'") == 2
    assert [tuple(row) for row in await pool.fetch(BUDGETS)] == [("team", 25 * 10**9)]
    assert (again.code, "(conflict)" in again.err) == (1, True)
    # One act, and a row for each thing that it made, by whom and why.
    noted = await pool.fetch("SELECT DISTINCT actor, cause FROM audit_logs WHERE $1 = ANY(about)", f"team:{team.id}")
    assert {tuple(row) for row in noted} == {("cli:ana@example.org", "litemaas teams create")}


@pytest.mark.parametrize(
    "wrong",
    ["--member nobody@example.org", "--model nothing", "--model small --model nothing", "--monthly-cost-usd lots"],
)
async def test_a20_a_team_that_cannot_be_made_whole_is_not_made(
    command_line: CommandLine, pool: Pool, wrong: str
) -> None:
    await make_user(pool, "ana@example.org")
    await make_model(pool)

    done = await command_line.run("teams", "create", "red", "--member", "ana@example.org", *wrong.split(" "))

    assert done.code == (2 if "lots" in wrong else 1)
    assert await pool.fetchval("SELECT count(*) FROM accounts WHERE kind = 'team'") == 0
    assert await pool.fetchval("SELECT count(*) FROM subscriptions") == 0
    assert await pool.fetchval("SELECT count(*) FROM audit_logs WHERE target_kind IN ('team', 'subscription')") == 0


async def test_a20_a_person_with_a_budget_is_one_command(command_line: CommandLine, pool: Pool) -> None:
    await make_model(pool)
    await teams.create_team(pool, ADMIN, name="red")

    made = await command_line.run(
        "users", "create", "--email", "ana@example.org", "--team", "red", "--model", "small", "--monthly-cost-usd",
        "12.50", "--json",
    )  # fmt: skip
    failed = await command_line.run("users", "create", "--email", "ben@example.org", "--team", "blue")

    assert made.json()["email"] == "ana@example.org"
    assert [tuple(row) for row in await pool.fetch(BUDGETS)] == [("user", 12_500_000_000)]
    assert [one.email for one in (await teams.find_team(pool, ADMIN, "red"))[1]] == ["ana@example.org"]
    assert failed.code == 1
    assert await pool.fetchval("SELECT count(*) FROM users") == 1


async def test_a20_many_models_are_one_command(command_line: CommandLine, pool: Pool) -> None:
    await make_user(pool, "ana@example.org")
    for name in ("small", "large"):
        await make_model(pool, name)
    to_ana = ("subscriptions", "create", "--user", "ana@example.org")

    none = await command_line.run(*to_ana, "--model", "small", "--model", "nothing")
    assert await pool.fetchval("SELECT count(*) FROM subscriptions") == 0
    both = await command_line.run(*to_ana, "--model", "small", "--model", "large", "--json")

    assert none.code == 1
    assert [row["model"] for row in both.json()["rows"]] == ["small", "large"]


async def test_a20_new_users_have_the_default_budget(command_line: CommandLine, pool: Pool) -> None:
    await make_user(pool, "before@example.org")
    await command_line.run("settings", "set", "user_default_monthly_cost_usd", "10")
    await make_user(pool, "after@example.org")
    await command_line.run("users", "create", "--email", "special@example.org", "--monthly-cost-usd", "5000000")

    assert [tuple(row) for row in await pool.fetch(BUDGETS)] == [("user", 10 * 10**9), ("user", 5 * 10**15)]
