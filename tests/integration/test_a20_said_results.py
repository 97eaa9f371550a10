"""Commands and routes say what came of an act: each thing that was made, the limit that was replaced, and that a user's
limit in a team is not that of their personal account (A20)."""

from typing import Any

import httpx2
import pytest
from command_line import CommandLine
from conftest import Database
from factories import ADMIN, make_key, make_model, make_team, make_user

from admin_api.operations import runtime_settings
from gateway.storage.postgres import Pool

LATER = "2099-01-31T12:00:00Z"
LIMITS = "/api/v1/limits"


@pytest.fixture
async def command_line(database: Database, redis_url: str) -> CommandLine:
    return CommandLine(
        {
            "LITEMAAS_DATABASE_URL": database.app_url,
            "LITEMAAS_REDIS_URL": redis_url,
            "LITEMAAS_KEY_PEPPERS": "1:" + "ab" * 32,
        }
    )


@pytest.fixture
async def models(pool: Pool) -> None:
    await make_model(pool, "small")
    await make_model(pool, "large", restricted=True)


TEAM = (
    "--owner", "ana@example.org", "--member", "ben@example.org", "--model", "small", "--model", "large",
    "--monthly-cost-usd", "25",
)  # fmt: skip


@pytest.mark.usefixtures("models")
async def test_a20_a_new_team_says_what_came_of_each_option(command_line: CommandLine, pool: Pool) -> None:
    for name in ("ana", "ben"):
        await make_user(pool, f"{name}@example.org")
    await runtime_settings.update_settings(pool, ADMIN, {"subscription_default_monthly_requests": 1000})

    said = (await command_line.run("teams", "create", "red", *TEAM)).out.splitlines()
    made = (await command_line.run("teams", "create", "blue", *TEAM, "--json")).json()

    pending = await pool.fetchval("SELECT min(id) FROM subscriptions WHERE status = 'pending'")
    assert said[1:3] == ["ana@example.org is owner.", "ben@example.org is member."]
    assert said[3].endswith(": red to small, active.")
    assert said[4] == (
        f"Subscription {pending}: red to large, pending. An admin approves it: litemaas subscriptions approve {pending}"
    )
    limits = [line.split(": ", 1)[1] for line in said[5:]]
    assert limits[0] == "requests 1000 per month for the subscription of team red to small."
    assert limits[-1] == "cost 25 USD per month for team red."
    assert [(row["email"], row["role"]) for row in made["members"]] == [
        ("ana@example.org", "owner"), ("ben@example.org", "member"),
    ]  # fmt: skip
    assert [(row["model"], row["status"]) for row in made["subscriptions"]] == [
        ("small", "active"), ("large", "pending"),
    ]  # fmt: skip
    by_default = [("subscription", "requests", None), ("subscription", "tokens", None)]
    assert [(row["level"], row["kind"], row["amount_usd"]) for row in made["limits"]] == [
        *by_default, *by_default, ("team", "cost", "25"),
    ]  # fmt: skip
    assert (made["name"], made["id"] > 0) == ("blue", True)


@pytest.mark.usefixtures("models")
async def test_a20_a_new_user_says_what_came_of_each_option(command_line: CommandLine, pool: Pool) -> None:
    await make_team(pool, name="red")
    await runtime_settings.update_settings(pool, ADMIN, {"user_default_monthly_cost_usd": "10"})
    options = ("--team", "RED", "--model", "large")

    said = (await command_line.run("users", "create", "--email", "ana@example.org", *options)).out.splitlines()
    made = (await command_line.run("users", "create", "--email", "ben@example.org", *options, "--json")).json()

    assert said[1] == "They are member of team red."
    assert ": ana@example.org to large, pending. An admin approves it: litemaas subscriptions approve " in said[2]
    # The default budget, which no option asked for.
    (budget,) = [line for line in said if "USD" in line]
    assert budget.endswith(": cost 10 USD per month for ana@example.org.")
    assert [(team["name"], team["role"]) for team in made["teams"]] == [("red", "member")]
    assert [(row["model"], row["status"]) for row in made["subscriptions"]] == [("large", "pending")]
    assert [(row["level"], row["amount_usd"], row["team"]) for row in made["limits"] if row["amount_usd"]] == [
        ("user", "10", None)
    ]


@pytest.mark.usefixtures("models")
async def test_a20_a_new_key_says_its_limits(command_line: CommandLine, pool: Pool) -> None:
    user = await make_user(pool, "ana@example.org")
    await command_line.run("subscriptions", "create", "--user", user.email, "--model", "small")
    await runtime_settings.update_settings(pool, ADMIN, {"key_default_tpm": 900})
    options = ("keys", "create", "--user", user.email, "--model", "small", "--name", "ci", "--rpm", "5")

    said = (await command_line.run(*options)).out.splitlines()
    made = (await command_line.run(*options, "--json")).json()

    number, secret = said[0].split("  ")
    on = f"for key {number} (ci …{secret[-4:]}) of ana@example.org."
    assert sorted(line.split(": ", 1)[1] for line in said[2:]) == [f"rpm 5 {on}", f"tpm 900 {on}"]
    assert sorted((row["kind"], row["amount"]) for row in made["limits"]) == [("rpm", 5), ("tpm", 900)]


async def test_a20_a_limit_says_which_it_replaced(
    command_line: CommandLine, admin: httpx2.AsyncClient, pool: Pool
) -> None:
    key = (await make_key(pool)).row
    on = ("limits", "set", "--level", "key", "--id", str(key.id), "--kind", "rpm", "--amount")
    body: dict[str, Any] = {"level": "key", "id": key.id, "kind": "cost", "window": "month"}

    first, more, same = [await command_line.run(*on, amount) for amount in ("10", "20", "20")]
    as_json = (await command_line.run(*on, "30", "--json")).json()
    removed = await command_line.run(*on, "unlimited")
    nothing = (await command_line.run(*on, "unlimited", "--json")).json()
    put = [(await admin.put(LIMITS, json=body | {"amount_usd": usd})).json() for usd in ("2.50", "3")]

    whose = f"for key {key.id} (…{key.last_four}) of {key.user_email}"
    assert first.out.endswith(f": rpm 10 {whose}.\n")
    assert more.out.endswith(f": rpm 20 {whose}; it was 10.\n")
    assert same.out.endswith(f": rpm 20 {whose}; it was 20.\n")
    assert (as_json["amount"], as_json["replaced_amount"]) == (30, 20)
    assert removed.out == f"rpm is unlimited {whose} now; it was 30.\n"
    assert (nothing["amount"], nothing["replaced_amount"]) == ("unlimited", None)
    assert [(row["replaced_amount_usd"], row["replaced_amount_nano_usd"]) for row in put] == [
        (None, None), ("2.5", 2_500_000_000),
    ]  # fmt: skip
    assert {row["replaced_amount"] for row in put} == {None}


async def test_a20_a_boost_that_would_lower_a_limit_needs_to_be_confirmed(
    command_line: CommandLine, admin: httpx2.AsyncClient, pool: Pool
) -> None:
    key = (await make_key(pool)).row
    body = {"level": "key", "id": key.id, "kind": "rpm", "amount": 100}
    limit = (await admin.put(LIMITS, json=body)).json()["id"]
    lower = {"amount": 40, "expires_at": LATER, "reason": "maintenance"}
    on = ("limits", "boost", str(limit), "--expires-at", LATER, "--reason", "maintenance", "--amount")

    refused = await admin.post(f"/api/v1/admin/limits/{limit}/boost", json=lower)
    by_command = await command_line.run(*on, "40")
    assert await pool.fetchval("SELECT count(*) FROM limits WHERE expires_at IS NOT NULL") == 0
    confirmed = await admin.post(f"/api/v1/admin/limits/{limit}/boost", json=lower | {"confirm": True})
    again = await command_line.run(*on, "30", "--confirm")
    higher = await command_line.run(*on, "200", "--json")

    message = "The boost would lower the limit from 100 to 40 until 2099-01-31 12:00:00Z."
    assert (refused.status_code, refused.json()["error"]["message"].startswith(message)) == (422, True)
    assert (by_command.code, message in by_command.err, "--confirm" in by_command.err) == (1, True, True)
    assert (confirmed.status_code, confirmed.json()["replaced_amount"]) == (201, 100)
    assert again.out.endswith(f" until 2099-01-31 12:00Z; it was 40. Then limit {limit} applies again.\n")
    assert (higher.json()["amount"], higher.json()["replaced_amount"]) == (200, 30)


async def test_a20_an_expired_boost_is_not_what_held_before(admin: httpx2.AsyncClient, pool: Pool) -> None:
    key = (await make_key(pool)).row
    limit = (await admin.put(LIMITS, json={"level": "key", "id": key.id, "kind": "rpm", "amount": 100})).json()["id"]
    boost = {"amount": 400, "expires_at": LATER, "reason": "launch"}
    await admin.post(f"/api/v1/admin/limits/{limit}/boost", json=boost)
    await pool.execute("UPDATE limits SET expires_at = now() - interval '1 minute' WHERE amount = 400")

    again = await admin.post(f"/api/v1/admin/limits/{limit}/boost", json=boost | {"amount": 500})

    assert again.json()["replaced_amount"] == 100


@pytest.mark.usefixtures("models")
async def test_a20_a_limit_of_a_user_in_a_team_is_shown_as_such(
    command_line: CommandLine, admin: httpx2.AsyncClient, pool: Pool
) -> None:
    ana = await make_user(pool, "ana@example.org")
    await make_team(pool, ana, name="red")
    await command_line.run("subscriptions", "create", "--team", "red", "--model", "small")
    key = (
        await command_line.run("keys", "create", "--team", "red", "--user", ana.email, "--model", "small", "--json")
    ).json()
    on = ("limits", "set", "--level", "user", "--id", ana.email, "--kind", "rpm", "--amount")

    inside = await command_line.run(*on, "5", "--team", "red")
    own = await command_line.run(*on, "6")
    listed = (await admin.get(LIMITS, params={"level": "user"})).json()["rows"]
    explained = ("limits", "explain", "--key", str(key["id"]), "--model", "small")
    table = (await command_line.run(*explained)).out
    rows = (await command_line.run(*explained, "--json")).json()["limits"]
    many = (
        await command_line.run(
            "limits", "set-many", "--level", "user", "--team", "red", "--kind", "rpm", "--amount", "7"
        )
    ).out
    shown = (await command_line.run("limits", "list", "--level", "user")).out

    assert inside.out.endswith(": rpm 5 for ana@example.org in team red.\n")
    assert own.out.endswith(": rpm 6 for ana@example.org.\n")
    assert [(row["amount"], row["team"]) for row in listed] == [(5, "red"), (6, None)]
    assert "user in team red" in table
    assert [row["team"] for row in rows if row["level"] == "user"] == ["red"]
    assert {row["team"] for row in rows if row["level"] != "user"} <= {None}
    assert "ana@example.org in team red" in many
    assert "ana@example.org in red" in shown
