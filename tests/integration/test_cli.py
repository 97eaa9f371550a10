"""`litemaas …` as a child process: stdout, stderr and the exit code."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
from command_line import CommandLine
from conftest import Database
from factories import make_model, make_subscription, make_user
from loopback_servers import LiteLLMInfoServer
from usage_rows import TODAY, make_usage_row, write_rows

from gateway.storage.postgres import Pool


@pytest.fixture
async def command_line(database: Database, litellm_info_server: LiteLLMInfoServer) -> CommandLine:
    return CommandLine(
        {
            "LITEMAAS_DATABASE_URL": database.app_url,
            "LITEMAAS_OWNER_DATABASE_URL": database.owner_url,
            "LITEMAAS_LITELLM_URLS": litellm_info_server.url,
            "LITEMAAS_LITELLM_API_KEY": LiteLLMInfoServer.KEY,
            "LITEMAAS_KEY_PEPPERS": "1:" + "ab" * 32,
        }
    )


async def test_seven_commands_create_a_key_in_an_empty_database(
    command_line: CommandLine, litellm_info_server: LiteLLMInfoServer
) -> None:
    litellm_info_server.answer('{"data":[{"model_name":"small","model_info":{"input_cost_per_token":1e-6}}]}')

    migrated = (await command_line.run("migrate", "--json")).json()
    await command_line.run("settings", "set", "new_models", "open")
    synced = (await command_line.run("models", "sync", "--json")).json()
    user = (await command_line.run("users", "create", "--email", "ann@x.org", "--json")).json()
    subscription = (
        await command_line.run("subscriptions", "create", "--user", "ann@x.org", "--model", "small", "--json")
    ).json()
    key = (
        await command_line.run("keys", "create", "--user", "ann@x.org", "--model", "small", "--rpm", "5", "--json")
    ).json()
    usage = (await command_line.run("usage", "show", "--key", str(key["id"]), "--json")).json()

    assert migrated == {"applied": []}
    assert (synced["added"], synced["problem"]) == (["small"], None)
    assert (user["email"], subscription["status"]) == ("ann@x.org", "active")
    assert key["key"].startswith("sk-lm-")
    assert usage["rows"] == []
    assert usage["totals"]["calls"] == 0


async def test_a_token_is_created_shown_once_and_revoked(command_line: CommandLine, pool: Pool) -> None:
    user = await make_user(pool)

    made = (await command_line.run("tokens", "create", "--user", user.email, "--json")).json()
    revoked = await command_line.run("tokens", "revoke", str(made["id"]), "--user", user.email)
    listed = (await command_line.run("tokens", "list", "--user", user.email, "--json")).json()

    assert made["token"].startswith("lmp-")
    assert revoked.out == f"Token {made['id']} is revoked.\n"
    assert listed["rows"][0]["revoked_at"] is not None
    assert "token" not in listed["rows"][0]


async def test_usage_is_shown_as_table_json_and_file(command_line: CommandLine, pool: Pool, tmp_path: Path) -> None:
    row = make_usage_row(TODAY, model_asked="small")
    await write_rows(pool, [row])
    log = tmp_path / "litellm.jsonl"
    log.write_text(
        json.dumps({"litellm_call_id": str(row.request_id), "status": "success", "prompt_tokens": 11}) + "\n"
    )
    commands = (
        ("usage", "summary", "--json"),
        ("usage", "breakdown", "ending", "--order", "calls"),
        ("usage", "export", "--format", "json", "--detail", "calls"),
        ("ledger", "reconcile", "--litellm-log", str(log), "--json"),
    )
    done = await asyncio.gather(*(command_line.run(*command) for command in commands))
    summary, breakdown, export, reconciled = done

    assert [one.code for one in done] == [0, 0, 0, 1], [one.err for one in done]
    assert (summary.json()["calls"], summary.json()["cost_usd"]) == (1, "0.000023")
    *_, group, total, below = breakdown.out.splitlines()
    assert (group.split()[:2], total.split()[:2]) == (["completed", "1"], ["total", "1"])
    assert below.startswith("1 row. From ")
    assert [one["request_id"] for one in json.loads(export.out)] == [str(row.request_id)]
    assert json.loads(reconciled.out)["counts"]["different"]["calls"] == 1


@pytest.mark.parametrize(
    "command",
    [
        ("deliveries", "list", "--webhook", "9" * 20),
        ("deliveries", "list", "--alert", "-1"),
        ("tokens", "create", "--user", "ann@example.org", "--expires-at", "9999-12-31T23:59:59-14:00"),
        ("audit", "prune", "--before", "0001-01-01T00:00:00+14:00"),
        ("settings", "set", "key_maximum_rpm", "[" * 5000),
    ],
)
async def test_an_impossible_value_is_a_usage_error(
    command_line: CommandLine, pool: Pool, command: tuple[str, ...]
) -> None:
    await make_user(pool, "ann@example.org")

    done = await command_line.run(*command)

    assert (done.code, done.out) == (2, "")
    assert done.err.endswith(" (validation_failed)\n")


async def test_an_existing_user_is_a_conflict_in_one_sentence(command_line: CommandLine, pool: Pool) -> None:
    user = await make_user(pool)

    done = await command_line.run("users", "create", "--email", user.email)

    assert (done.code, done.out) == (1, "")
    assert done.err == f"litemaas: There is already a user '{user.email}'. (conflict)\n"


async def test_an_unreachable_database_is_reported_in_one_sentence(command_line: CommandLine) -> None:
    done = await command_line.run("users", "list", LITEMAAS_DATABASE_URL="postgresql://x:secret@127.0.0.1:1/x")

    assert done.code == 1
    assert "Postgres does not answer" in done.err
    assert done.err.count("\n") == 1
    assert "secret" not in done.err


async def test_the_error_for_a_database_without_tables_names_the_command(
    command_line: CommandLine, empty_database: Database
) -> None:
    done = await command_line.run("users", "list", LITEMAAS_DATABASE_URL=empty_database.app_url)

    assert done.code == 1
    assert "litemaas migrate" in done.err


async def test_all_missing_settings_are_named_together() -> None:
    done = await CommandLine({}).run("models", "sync")

    assert done.code == 1
    assert "LITEMAAS_DATABASE_URL: is not set" in done.err
    assert "LITEMAAS_LITELLM_URLS: is not set" in done.err


async def test_the_admin_api_requires_encryption_keys(command_line: CommandLine) -> None:
    token = {"LITEMAAS_ADMIN_TOKEN": "0123456789abcdef" * 2}
    missing = await command_line.run("admin-api", "--port", "1", **token)
    weak = await command_line.run("admin-api", "--port", "1", **token, LITEMAAS_SECRET_KEYS="1:" + "ab" * 32)

    assert (missing.code, weak.code) == (1, 1)
    assert "  LITEMAAS_SECRET_KEYS: is not set (1:<64 hex digits>" in missing.err
    assert missing.err.count("LITEMAAS_") == 1
    assert "a key is not random; make one: openssl rand -hex 32" in weak.err


async def test_migrate_needs_the_owner_database_url(command_line: CommandLine) -> None:
    env = {name: value for name, value in command_line.env.items() if "OWNER" not in name}

    done = await CommandLine(env).run("migrate")

    assert done.code == 1
    assert "LITEMAAS_OWNER_DATABASE_URL" in done.err


async def test_migrate_sets_up_an_empty_database(command_line: CommandLine, empty_database: Database) -> None:
    urls = {
        "LITEMAAS_DATABASE_URL": empty_database.app_url,
        "LITEMAAS_OWNER_DATABASE_URL": empty_database.owner_url,
    }

    done = await command_line.run("migrate", "--json", **urls)
    listed = await command_line.run("users", "list", "--json", **urls)

    assert done.json()["applied"][0].startswith("0001_")
    assert listed.json() == {"rows": [], "next_cursor": None}


async def test_a_budget_in_usd_is_set_listed_and_removed(command_line: CommandLine, pool: Pool) -> None:
    user, model = await make_user(pool), await make_model(pool)
    subscription = await make_subscription(pool, user, model)
    on = ("limits", "set", "--level", "subscription", "--id", str(subscription.id), "--kind", "cost")

    made = (await command_line.run(*on, "--window", "month", "--amount-usd", "0.45", "--json")).json()
    listed = (await command_line.run("limits", "list", "--user", user.email, "--json")).json()
    lifted = (await command_line.run(*on, "--window", "month", "--amount", "unlimited", "--json")).json()

    assert (made["amount_nano_usd"], made["amount_usd"]) == (450_000_000, "0.45")
    assert [row["kind"] for row in listed["rows"]] == ["requests", "tokens", "cost"]
    assert lifted["amount"] == "unlimited"


async def test_commands_change_states_and_refuse_invalid_transitions(command_line: CommandLine, pool: Pool) -> None:
    row = await make_subscription(pool, await make_user(pool), await make_model(pool, restricted=True))

    approved = await command_line.run("subscriptions", "approve", str(row.id))
    again = await command_line.run("subscriptions", "approve", str(row.id))

    assert (approved.code, approved.out) == (0, f"Subscription {row.id} is active.\n")
    assert (again.code, "conflict" in again.err) == (1, True)


async def test_a_sync_with_a_problem_reports_it_and_fails(
    command_line: CommandLine, pool: Pool, litellm_info_server: LiteLLMInfoServer
) -> None:
    await make_model(pool)
    litellm_info_server.answer('{"data":[]}')

    done = await command_line.run("models", "sync", "--json")

    assert done.code == 1
    assert json.loads(done.out)["problem"] in done.err


@pytest.mark.parametrize(
    "group", ["users", "tokens", "teams", "models", "prices", "subscriptions", "keys", "limits", "usage"]
)
async def test_every_command_group_has_a_description(group: str) -> None:
    done = await CommandLine({}).run(group, "--help")

    assert done.code == 0
    assert "Usage: litemaas" in done.out


async def test_help_names_every_command() -> None:
    done = await CommandLine({}).run("--help")

    assert all(name in done.out for name in ("migrate", "gateway", "admin-api", "keys", "limits", "usage"))


async def test_an_unknown_command_prints_no_traceback() -> None:
    done = await CommandLine({}).run("fly")

    assert done.code == 2
    assert "fly" in done.err


async def test_listing_imports_no_web_framework_or_server(command_line: CommandLine) -> None:
    script = (
        "import sys; sys.argv = ['litemaas', 'users', '--help']\n"
        "from types import ModuleType\n"
        "from admin_api.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        # One that waits to be used is of another class.
        "loaded = {name for name, module in sys.modules.items() if type(module) is ModuleType}\n"
        "print(sorted({'fastapi', 'uvicorn', 'httpx2', 'aiohttp', 'gateway.main'} & loaded))"
    )

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE, env=dict(command_line.env)
    )
    out, _ = await process.communicate()

    assert out.splitlines()[-1] == b"[]"
