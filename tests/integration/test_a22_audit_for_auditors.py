"""A22: audit rows name the target, the account and a cause; the CLI's actor is the person who ran it."""

import csv
import io
import pwd
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from command_line import CommandLine
from conftest import Database
from factories import ADMIN, make_key, make_model, make_subscription, make_team, make_user

from admin_api.cli import operator as operators
from admin_api.operations.keys import keys
from admin_api.operations.limits import limits
from admin_api.operations.people import teams, users
from gateway.storage.postgres import Pool

PATH = "/api/v1/admin/audit"


@pytest.fixture
async def command_line(database: Database) -> CommandLine:
    return CommandLine({"LITEMAAS_DATABASE_URL": database.app_url, "LITEMAAS_OWNER_DATABASE_URL": database.owner_url})


async def test_a22_everything_about_a_person_is_one_question(
    admin: httpx2.AsyncClient, command_line: CommandLine, pool: Pool
) -> None:
    ana, ben = await make_user(pool, "ana@example.org"), await make_user(pool, "ben@example.org")
    team = await make_team(pool, ana, ben, name="red")
    await make_subscription(pool, ana, await make_model(pool))
    key = (await make_key(pool, ana)).row
    wanted = limits.LimitInput(kind="cost", window="month", amount=25 * 10**9)
    await limits.set_limit(pool, ADMIN, wanted, level="key", target=str(key.id), model=None, team=None)
    await teams.remove_member(pool, ADMIN, "red", user=ana.email)
    await users.update_user(pool, ADMIN, ben.email, role="admin")

    rows = (await admin.get(PATH, params={"about": "user:ana@example.org"})).json()["rows"]
    shown = await command_line.run("audit", "list", "--about", "user:ana@example.org")
    of_team = (await admin.get(PATH, params={"about": "team:red"})).json()["rows"]
    of_key = (await admin.get(PATH, params={"about": f"key:{key.id}"})).json()["rows"]

    assert [row["action"] for row in rows] == [
        "team.remove_member",
        "limit.set",
        "key.create",
        "subscription.create",
        "limit.set",
        "limit.set",
        "team.add_member",
        "user.create",
    ]
    assert [row["action"] for row in of_team][:2] == ["team.remove_member", "team.add_member"]
    assert of_team[0]["account_id"] == team.id
    assert [row["action"] for row in of_key] == ["limit.set", "key.create"]
    assert rows[1]["target_name"] == "cost per month at level key"
    assert rows[1]["account_name"] == "ana@example.org"
    assert "amount: 25 USD" in rows[1]["changes"]
    assert shown.out.count("  test  ") == 8
    assert "team.remove_member  team red\n" in shown.out
    assert "ben@" not in shown.out
    assert max(map(len, shown.out.splitlines())) <= 100


async def test_a22_values_are_words_before_and_after(admin: httpx2.AsyncClient, command_line: CommandLine) -> None:
    await admin.post("/api/v1/users", json={"email": "ana@example.org"})
    await command_line.run("users", "promote", "ana@example.org", "--role", "admin-readonly")

    shown = await command_line.run("audit", "list", "--action", "user.update")
    exported = await command_line.run("audit", "export", "--about", "user:ana@example.org")

    assert "    role: user → admin-readonly" in shown.out.splitlines()
    assert "    cause: litemaas users promote" in shown.out.splitlines()
    lines = list(csv.DictReader(io.StringIO(exported.out)))
    assert [line["cause"] for line in lines] == ["litemaas users promote", "POST /api/v1/users"]
    assert {line["target_name"] for line in lines} == {"ana@example.org"}
    assert "role: user → admin-readonly" in lines[0]["changes"]


async def test_a22_a_boost_is_an_act_of_its_own_and_its_reason_the_cause(admin: httpx2.AsyncClient, pool: Pool) -> None:
    key = (await make_key(pool)).row
    target = {"level": "key", "id": key.id, "kind": "requests", "window": "day"}
    limit = (await admin.put("/api/v1/limits", json=target | {"amount": 7})).json()
    ends = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    more = {"amount": 9, "expires_at": ends, "reason": "demo day"}
    boosted = (await admin.post(f"/api/v1/admin/limits/{limit['id']}/boost", json=more)).json()
    for one in (boosted, limit):
        await admin.delete(f"/api/v1/limits/{one['id']}")

    rows = (await admin.get(PATH, params={"about": f"key:{key.id}"})).json()["rows"]

    assert [(row["action"], row["cause"]) for row in rows[:4]] == [
        ("limit.delete", "DELETE /api/v1/limits/{limit_id}"),
        ("limit.delete", "demo day"),
        ("limit.boost", "demo day"),
        ("limit.set", "PUT /api/v1/limits"),
    ]
    # Its name is known although it is deleted.
    assert {row["target_name"] for row in rows[:4]} == {"requests per day at level key"}


async def test_a22_names_are_those_of_today(admin: httpx2.AsyncClient, pool: Pool) -> None:
    ana = await make_user(pool, "ana@example.org")
    await make_subscription(pool, ana, await make_model(pool))
    key = (await make_key(pool, ana)).row
    await keys.revoke_key(pool, ADMIN, key.id)
    await users.update_user(pool, ADMIN, str(ana.id), email="ana.perez@example.org")

    rows = (await admin.get(PATH, params={"action": "key.revoke"})).json()["rows"]

    assert rows[0]["account_name"] == "ana.perez@example.org"
    assert rows[0]["target_name"] == f"…{key.last_four}"


@pytest.mark.parametrize("place", ["before", "after", "setting"])
async def test_a22_the_actor_of_a_command_is_the_person_it_names(
    command_line: CommandLine, pool: Pool, place: str
) -> None:
    ana = await make_user(pool, "ana@example.org", role="admin")
    words, env = ["teams", "create", "red"], {}
    if place == "before":
        words = ["--as", ana.email, *words]
    elif place == "after":
        words += ["--as", str(ana.id)]
    else:
        env = {"LITEMAAS_OPERATOR": ana.email}

    assert (await command_line.run(*words, **env)).code == 0

    row = await pool.fetchrow("SELECT actor, actor_user_id FROM audit_logs WHERE action = 'team.create'")
    assert row is not None
    assert tuple(row) == ("cli:ana@example.org", ana.id)


async def test_a22_nobody_can_be_named_who_is_not_there(command_line: CommandLine, pool: Pool) -> None:
    ana = await make_user(pool, "ana@example.org")
    await users.update_user(pool, ADMIN, ana.email, status="deactivated")

    unknown = await command_line.run("teams", "create", "red", "--as", "nobody@example.org")
    gone = await command_line.run("--as", ana.email, "teams", "create", "red")

    assert (unknown.code, unknown.err) == (1, "litemaas: There is no user 'nobody@example.org'. (not_found)\n")
    assert (gone.code, gone.err.endswith("is deactivated and can run no command. (forbidden)\n")) == (1, True)
    assert await pool.fetchval("SELECT count(*) FROM audit_logs WHERE action = 'team.create'") == 0


def test_a22_root_is_who_called_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a login user of the kernel, as in most containers."""
    monkeypatch.setattr(operators, "LOGIN_UID", operators.LOGIN_UID / "none")
    monkeypatch.setattr(operators.os, "getuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "ana")
    assert operators.operator().name == "cli:ana"
    monkeypatch.delenv("SUDO_USER")
    assert operators.operator().name == f"cli:{pwd.getpwuid(0).pw_name}"
    monkeypatch.setenv("SUDO_USER", "ana")
    monkeypatch.setattr(operators.os, "getuid", lambda: 12345678)
    assert operators.operator().name == "cli:12345678"


@pytest.mark.parametrize("about", ["ana@example.org", "user:", ":7", "account:7", "unknown:7", "user:nobody@x.org"])
async def test_a22_a_question_about_nothing_is_refused(admin: httpx2.AsyncClient, about: str) -> None:
    answer = await admin.get(PATH, params={"about": about})

    assert answer.status_code == (404 if "nobody" in about else 422), answer.text
    if answer.status_code == 422:
        assert "user, team, key, model" in answer.json()["error"]["message"]
