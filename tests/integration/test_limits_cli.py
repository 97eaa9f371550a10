"""Every command that sets limits, teams and prices, with every option."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from conftest import Database
from factories import make_model, make_user
from typer.testing import CliRunner

from admin_api.cli.app import build_app
from gateway.domain.limits import LIMIT_KINDS, LIMIT_LEVELS
from gateway.storage.postgres import Pool

Run = Callable[..., Any]
PROGRAM = Path(sys.executable).with_name("litemaas")
LATER = "2099-01-31T12:00:00Z"


@pytest.fixture
def run(database: Database, redis_url: str) -> Run:
    """A command's JSON; mostly in this process, for starting one takes longer than what it does."""
    env = {
        "LITEMAAS_DATABASE_URL": database.app_url,
        "LITEMAAS_REDIS_URL": redis_url,
        "LITEMAAS_KEY_PEPPERS": "1:" + "ab" * 32,
    }

    async def run(line: str, *, as_json: bool = True, in_child: bool = False) -> Any:
        words = line.split() + (["--json"] if as_json else [])
        if in_child:
            command: Any = [PROGRAM, *words]
            child = await asyncio.to_thread(
                subprocess.run, command, env=env, capture_output=True, text=True, check=True
            )
            return json.loads(child.stdout)
        done = await asyncio.to_thread(CliRunner().invoke, build_app(words), words, env=env, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout) if as_json else done.stdout

    return run


@pytest.fixture
async def team(run: Run, pool: Pool) -> dict[str, Any]:
    """A team in a zone of its own, with a member, a subscription and a key."""
    await make_model(pool, "small")
    ann = await make_user(pool)
    team = await run("teams create research --timezone Asia/Kathmandu")
    member = await run(f"teams add-member research --user {ann.email} --role owner")
    price = await run("prices set --model small --input-per-million-usd 2.5 --output-per-million-usd 10")
    subscription = await run("subscriptions create --team research --model small")
    key = await run("keys create --team research --model small --rpm 50 --tpm 9000 --concurrency 4")

    assert (team["time_zone"], member["role"], subscription["status"]) == ("Asia/Kathmandu", "owner", "active")
    assert price["input_per_million_usd"] == "2.5"
    return {"team": team["id"], "user": ann.id, "subscription": subscription["id"], "key": key["id"]}


async def test_a_limit_of_every_kind_at_every_level_is_set_and_listed(run: Run, team: dict[str, Any]) -> None:
    kinds = {
        "rpm": "--amount 60 --burst 1.5",
        "tpm": "--amount 6000 --burst 2 --reserve maximum",
        "concurrency": "--amount 7",
        "requests": "--amount 1000 --window day",
        "tokens": "--amount 50000 --window week --reserve expected",
        "cost": "--amount-usd 12.50 --window lifetime --shadow",
    }
    levels = {
        "key": str(team["key"]),
        "key_model": f"{team['key']} --model small",
        "subscription": str(team["subscription"]),
        "user": f"{team['user']} --team research",
        "team": "research",
    }
    assert (kinds.keys(), levels.keys()) == (LIMIT_KINDS.keys(), LIMIT_LEVELS.keys())
    made = {}
    for level, target in levels.items():
        for kind, options in kinds.items():
            made[level, kind] = await run(f"limits set --level {level} --id {target} --kind {kind} {options}")

    for (level, kind), row in made.items():
        assert (row["level"], row["kind"], row["amount_nano_usd"]) == (
            level,
            kind,
            12_500_000_000 if kind == "cost" else None,
        )
    assert made["key", "rpm"]["burst"] == "1.5"
    assert [made["team", kind]["reserve"] for kind in ("tpm", "tokens")] == ["maximum", "expected"]
    assert [made["user", kind]["window"] for kind in ("requests", "tokens", "cost")] == ["day", "week", "lifetime"]
    assert [made["key", kind]["shadow"] for kind in ("cost", "tpm")] == [True, False]
    listed = (await run("limits list --team research"))["rows"]
    assert {row["id"] for row in made.values()} <= {row["id"] for row in listed}
    only = (await run(f"limits list --level key --id {team['key']}"))["rows"]
    assert {row["level"] for row in only} == {"key"}


async def test_limits_are_made_temporary_lifted_and_removed(run: Run, team: dict[str, Any]) -> None:
    on = f"limits set --level key --id {team['key']} --kind tokens --window month"
    lasting = await run(f"{on} --amount 1000")
    passing = await run(f"{on} --amount 5000 --expires-at {LATER} --reason launch")

    assert (passing["expires_at"][:10], passing["reason"]) == ("2099-01-31", "launch")
    assert passing["id"] != lasting["id"]
    await run(f"limits delete {passing['id']}", as_json=False)
    assert [row["id"] for row in (await run("limits list --team research"))["rows"] if row["kind"] == "tokens"][-1] == (
        lasting["id"]
    )
    assert (await run(f"{on} --amount unlimited"))["amount"] == "unlimited"


async def test_explaining_a_call_takes_nothing(run: Run, team: dict[str, Any], redis_url: str) -> None:
    await run(f"limits set --level key --id {team['key']} --kind tokens --window month --amount 1000")
    explain = f"limits explain --key {team['key']} --model small --tokens"

    # The first makes the counters, and says so in the log, not among its output.
    fits = await run(f"{explain} 800", in_child=True)
    refused = await run(f"{explain} 1200")
    reported = await run(f"{explain} 800", as_json=False)

    assert (fits["allowed"], fits["code"]) == (True, None)
    assert (refused["allowed"], refused["code"]) == (False, "request_exceeds_limit")
    assert [row["kind"] for row in refused["limits"] if row["would_refuse"]] == ["tokens"]
    assert reported.startswith("The call would be admitted.\n")
    assert [row["used"] + row["reserved"] for row in refused["limits"]] == [0] * len(refused["limits"])
    async with redis.asyncio.from_url(redis_url) as client:
        assert [name async for name in client.scan_iter("*") if b"l|" in b"".join(await client.hkeys(name))] == []


async def test_counters_are_repaired_and_the_ledger_verified(run: Run, team: dict[str, Any]) -> None:
    assert (await run("limits repair"))["drifted"] == []
    assert (await run("ledger verify"))["agrees"] is True
    assert (await run("ledger verify --days 2", as_json=False)).startswith("0 rows, 0 of them reaped")


async def test_every_command_of_keys_teams_settings_and_limits_works(run: Run, team: dict[str, Any]) -> None:
    changed = await run("settings set key_maximum_rpm 60")
    shown = await run("settings show")
    text = await run("settings set key_maximum_rpm none", as_json=False)
    rotated = await run("keys rotate 1 --grace-s 60")
    listed = await run("keys list")
    preview = await run("limits set-many --level key --kind rpm --amount 7 --team research")
    done = await run(f"limits set-many --level key --kind rpm --amount 7 --team research --token {preview['token']}")
    (limit,) = [row for row in (await run("limits list --level key"))["rows"] if row["kind"] == "rpm"]
    boost = await run(f"limits boost {limit['id']} --amount 9 --expires-at {LATER} --reason fair")
    member = await run("teams set-role research --user 1 --role member")
    moved = await run("teams update research --name search --timezone UTC")
    await run("keys revoke 1")
    archived = await run("keys archive 1")

    assert changed == shown
    assert shown["key_maximum_rpm"] == 60
    assert "key_maximum_rpm  none" in text
    assert rotated["key"].startswith("sk-lm-")
    assert listed["rows"][0]["previous_ends_at"] == rotated["previous_ends_at"]
    assert (preview["changes"], preview["rows"][0]["amount"], done, limit["amount"]) == (1, 50, preview, 7)
    assert (boost["amount"], boost["set_by"], boost["reason"]) == (9, "admin", "fair")
    assert (member["role"], moved["name"], moved["time_zone"]) == ("member", "search", "UTC")
    assert archived["archived_at"] is not None
    assert (await run("keys list"))["rows"] == []
