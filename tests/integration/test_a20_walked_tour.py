"""A20: what an administrator who read only README and docs ran into."""

from datetime import timedelta

import httpx2
import pytest
from command_line import CommandLine
from conftest import Database
from factories import ADMIN, PEPPERS, make_key, make_model, make_team, make_user
from usage_rows import TODAY, make_usage_row, write_rows

from admin_api.operations.keys import changes, keys
from admin_api.operations.people import teams
from gateway.domain.calls import ENDINGS
from gateway.storage.postgres import Pool


@pytest.fixture
def command_line(database: Database) -> CommandLine:
    return CommandLine({"LITEMAAS_DATABASE_URL": database.app_url})


async def test_a20_what_only_litellm_priced_has_nothing_to_undo(
    admin: httpx2.AsyncClient, command_line: CommandLine, pool: Pool
) -> None:
    model = await make_model(pool)

    undone = await command_line.run("prices", "undo", "--model", model, "--confirm")

    assert (undone.code, "nothing of an admin to take back" in undone.err) == (1, True)
    shown = (await admin.get(f"/api/v1/models/{model}")).json()["price"]
    assert (shown["source"], shown["input_per_million_usd"]) == ("litellm", "1")


async def test_a20_a_model_is_left_without_a_price_only_if_that_is_confirmed(
    command_line: CommandLine, pool: Pool
) -> None:
    model = "unpriced"
    await pool.execute("INSERT INTO models (name, mode, listed, enabled) VALUES ($1, 'chat', true, true)", model)
    units = ("--input-per-million-usd", "2", "--output-per-million-usd", "2")
    done = await command_line.run("prices", "set", "--model", model, *units, "--confirm")
    assert done.code == 0, done.err

    refused = await command_line.run("prices", "undo", "--model", model)
    assert (refused.code, "would be without a price" in refused.err) == (1, True)
    undone = await command_line.run("prices", "undo", "--model", model, "--confirm", "--json")
    assert undone.json()["input_per_million_usd"] is None
    again = await command_line.run("prices", "undo", "--model", model, "--json")
    assert again.json()["input_per_million_usd"] == "2"


async def test_a20_a_key_is_found_by_the_end_of_its_earlier_secret(command_line: CommandLine, pool: Pool) -> None:
    first = await make_key(pool)
    await changes.rotate_key(pool, ADMIN, PEPPERS, first.row.id, grace_s=3600)

    shown = await command_line.run("keys", "show", first.secret[-4:], "--json")
    limits = await command_line.run("limits", "list", "--level", "key", "--id", first.secret[-4:], "--json")

    assert (shown.json()["id"], shown.json()["previous_last_four"]) == (first.row.id, first.secret[-4:])
    assert (limits.code, limits.err) == (0, "")


async def test_a20_the_table_of_keys_says_which_have_ended(command_line: CommandLine, pool: Pool) -> None:
    made = {status: (await make_key(pool, model=status)).row.id for status in ("active", "expired", "revoked")}
    await keys.revoke_key(pool, ADMIN, made["revoked"])
    await pool.execute("UPDATE api_keys SET expires_at = now() - interval '1 s' WHERE id = $1", made["expired"])

    listed = await command_line.run("keys", "list")

    head, *lines = [line.split() for line in listed.out.splitlines()]
    assert {line[1]: int(line[0]) for line in lines if line[0].isdigit()} == made, (head, listed.out)


@pytest.mark.parametrize(("role", "code"), [("admin", 0), ("user", 0), ("admin-readonly", 1)])
async def test_a20_commands_named_as_one_who_reads_change_nothing(
    command_line: CommandLine, pool: Pool, role: str, code: int
) -> None:
    person = await make_user(pool, role=role)

    done = await command_line.run("--as", person.email, "teams", "create", "red")
    listed = await command_line.run("--as", person.email, "teams", "list", "--json")

    assert done.code == code, done.err
    assert len(listed.json()["rows"]) == 1 - code


async def test_a20_a_token_of_another_preview_is_answered_with_what_may_differ(
    command_line: CommandLine, pool: Pool
) -> None:
    team = await make_team(pool)
    change = ("limits", "set-many", "--level", "team", "--team", team.name, "--kind", "rpm")
    seen = (await command_line.run(*change, "--amount", "5", "--json")).json()

    other = await command_line.run(*change, "--amount", "6", "--token", seen["token"])

    assert (other.code, "other options were given" in other.err) == (1, True)


async def test_a20_a_breakdown_says_how_many_rows_there_are_and_the_zone_of_its_days(
    command_line: CommandLine, pool: Pool
) -> None:
    madrid = await teams.create_team(pool, ADMIN, name="madrid", time_zone="Europe/Madrid")
    rows = [make_usage_row(TODAY + timedelta(hours=1), account_id=madrid.id, ending=one) for one in ENDINGS[:3]]
    await write_rows(pool, rows)
    day = ("--since", f"{TODAY:%Y-%m-%d}", "--until", f"{TODAY + timedelta(days=1):%Y-%m-%d}")

    of_all = await command_line.run("usage", "breakdown", "ending", *day)
    of_team = await command_line.run("usage", "breakdown", "ending", *day, "--team", "madrid", "--limit", "2")

    tomorrow = TODAY + timedelta(days=1)
    period = f"From {TODAY:%Y-%m-%d} 00:00 to {tomorrow:%Y-%m-%d} 00:00"
    assert of_all.out.splitlines()[-1] == f"3 rows. {period}, UTC."
    assert of_team.out.splitlines()[-1] == (
        f"2 rows of 3, the largest by cost; --limit shows more. {period}, Europe/Madrid."
    )
