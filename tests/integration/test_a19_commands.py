"""A19, A20: every resource can be listed and shown by its name; tables fit 100 columns, whatever the values."""

import asyncio
import json

import pytest
from command_line import CommandLine
from conftest import Database
from factories import ADMIN, PEPPERS, make_key, make_model, make_subscription, make_team, make_token, make_user
from loopback_servers import LiteLLMInfoServer
from typer.testing import CliRunner
from usage_rows import TODAY, make_usage_row, write_rows

from admin_api.cli.app import build_app
from admin_api.cli.tables import WIDTH
from admin_api.operations import subscriptions
from admin_api.operations.actors import Actor
from admin_api.operations.keys import keys
from admin_api.operations.limits.limits import LimitInput, set_limit
from deploy.embedded.valkey import Valkey
from gateway.storage.postgres import Pool

LONG = "a-very-long-name-that-somebody-gave-to-it-without-thinking-of-tables-" * 2


@pytest.fixture
async def command_line(database: Database, valkey: Valkey, litellm_info_server: LiteLLMInfoServer) -> CommandLine:
    litellm_info_server.answer('{"data":[{"model_name":"small"}]}')
    return CommandLine(
        {
            "LITEMAAS_DATABASE_URL": database.app_url,
            "LITEMAAS_REDIS_URL": valkey.url(),
            "LITEMAAS_LITELLM_URLS": litellm_info_server.url,
            "LITEMAAS_LITELLM_API_KEY": LiteLLMInfoServer.KEY,
            "LITEMAAS_KEY_PEPPERS": "1:" + "ab" * 32,
            "LITEMAAS_SECRET_KEYS": "1:" + "ab" * 32,
        }
    )


async def test_a20_every_list_fits_100_columns(command_line: CommandLine, pool: Pool) -> None:
    user = await make_user(pool, f"{LONG[:60]}@{LONG[:60]}.example.org")
    model = await make_model(pool, LONG[:200])
    team = await make_team(pool, user, name=LONG[:130])
    await make_subscription(pool, user, model)
    await make_token(pool, user)
    wanted = keys.KeyInput(models=[model], user=user.email, name=LONG[:130], rpm=5, monthly_cost_nano_usd=10**14)
    key = (await keys.create_key(pool, ADMIN, PEPPERS, wanted)).row
    limit = LimitInput(kind="cost", window="month", amount=9_007_199_254_740_991, reason=LONG)
    await set_limit(pool, ADMIN, limit, level="team", target=team.name, model=None, team=None)
    of_key = {"account_id": user.account_id, "user_id": user.id, "api_key_id": key.id}
    call = make_usage_row(TODAY, model_asked=model, **of_key)
    await write_rows(pool, [call])
    lists = (
        "users list", f"users show {user.id}", f"users identities {user.id}", f"users sessions {user.id}",
        f"tokens list --user {user.id}", "teams list", f"teams show {team.id}", f"teams members {team.id}",
        f"teams invitations {team.id}", "models list", f"models show {model}", "models syncs", "models health",
        f"prices list --model {model}", "subscriptions list", "subscriptions show 1", "keys list",
        f"keys show {key.id}", "limits list", "limits show 1", f"limits state --team {team.id}",
        "limits set-many --level key --kind rpm --amount 7", "settings show", "alerts list", "webhooks list",
        "deliveries list", "provider-keys list", "usage show", "usage summary", "usage series", "usage breakdown user",
        "usage breakdown model", "usage percentiles", "ledger status", "audit list",
    )  # fmt: skip
    printed = {}
    for words in lists:
        # In this process, where everything is imported already: on a thread, for a command has a loop of its own.
        app = build_app(words.split(" "))
        done = await asyncio.to_thread(CliRunner().invoke, app, words.split(" "), env=dict(command_line.env))
        assert done.exit_code == 0, (words, done.output, done.exception)
        assert done.stdout.strip(), words
        printed[words] = "".join(done.stdout.split())
        widest = max(done.stdout.splitlines(), key=len)
        # The line that tells how to go on is meant to be copied.
        assert len(widest) <= WIDTH or "--token" in widest, (words, widest)
    # What the next command needs is whole, although it may be longer than a line.
    named = {
        "users list": user.email, "teams list": team.name, "models list": model, "subscriptions list": model,
        "keys list": user.email, "limits list": team.name, f"limits state --team {team.id}": team.name,
        "usage show": str(call.request_id), "usage breakdown user": user.email, "audit list": model,
        f"teams members {team.id}": user.email, "limits set-many --level key --kind rpm --amount 7": user.email,
    }  # fmt: skip
    assert {words: name for words, name in named.items() if name not in printed[words]} == {}


async def test_a20_a_key_is_named_by_its_end(command_line: CommandLine, pool: Pool) -> None:
    one = (await make_key(pool)).row

    shown = await command_line.run("keys", "show", one.last_four, "--json")
    updated = await command_line.run("keys", "update", f"…{one.last_four}", "--name", "ci", "--json")
    limited = await command_line.run(
        "limits", "set", "--level", "key", "--id", one.last_four, "--kind", "rpm", "--amount", "5", "--json"
    )
    used = await command_line.run("usage", "summary", "--key", one.last_four, "--json")
    explained = await command_line.run("limits", "explain", "--key", one.last_four, "--model", "small", "--json")
    revoked = await command_line.run("keys", "revoke", one.last_four)
    unknown = await command_line.run("keys", "show", "zz")

    assert shown.json()["id"] == updated.json()["id"] == limited.json()["api_key_id"] == one.id
    assert updated.json()["name"] == "ci"
    assert used.json()["calls"] == 0
    assert explained.json()["allowed"] is True
    assert revoked.out == f"Key {one.id} is revoked.\n"
    assert (unknown.code, "give an id, or the last four characters" in unknown.err) == (1, True)


async def test_a20_an_ambiguous_end_is_refused_with_the_choices(
    command_line: CommandLine, database: Database, pool: Pool
) -> None:
    first = (await make_key(pool)).row
    user = await make_user(pool, "ben@example.org")
    await make_subscription(pool, user, "small")
    second = (await make_key(pool, user)).row
    await database.execute_as_owner("UPDATE api_keys SET last_four = 'Abcd'")

    refused = await command_line.run("keys", "revoke", "Abcd")
    by_id = await command_line.run("keys", "revoke", str(second.id))
    # Only one of them is in use now.
    now_clear = await command_line.run("keys", "revoke", "Abcd")

    assert refused.code == 1
    assert f"{first.id} of " in refused.err
    assert f"{second.id} of ben@example.org" in refused.err
    assert (by_id.code, now_clear.out) == (0, f"Key {first.id} is revoked.\n")


async def test_a20_a_team_with_a_number_as_its_name_is_not_taken_for_another(
    command_line: CommandLine, pool: Pool
) -> None:
    red = await make_team(pool, name="red")
    number = await make_team(pool, name=str(red.id))

    ambiguous = await command_line.run("teams", "update", str(red.id), "--status", "suspended")

    assert (ambiguous.code, "is the id of one team and the name of another" in ambiguous.err) == (1, True)
    assert (await command_line.run("teams", "show", "red", "--json")).json()["id"] == red.id
    assert (await command_line.run("teams", "show", str(number.id), "--json")).json()["name"] == str(red.id)


async def test_a19_many_requests_are_decided_at_once(command_line: CommandLine, pool: Pool) -> None:
    model = await make_model(pool, restricted=True)
    users = [await make_user(pool) for _ in range(3)]
    asked = [await make_request(pool, user.id, user.email, model) for user in users]

    approved = await command_line.run("subscriptions", "approve", str(asked[0]), str(asked[1]))
    again = await command_line.run("subscriptions", "approve", str(asked[0]), str(asked[2]), "--json")
    nothing = await command_line.run("subscriptions", "deny", "--model", model, "--reason", "full")
    unclear = await command_line.run("subscriptions", "approve")

    assert approved.out.endswith("2 decided, 0 failed.\n")
    assert again.code == 1
    assert [row["status"] for row in json.loads(again.out)["rows"]] == ["active", "active"]
    assert nothing.out == "0 decided, 0 failed.\n"
    assert (unclear.code, "Give ids, or a model, user or team." in unclear.err) == (2, True)


async def make_request(pool: Pool, user_id: int, email: str, model: str) -> int:
    """A pending subscription that the user asked for."""
    asking = Actor(name=email, role="user", user_id=user_id)
    return (await subscriptions.create_subscription(pool, asking, model=model)).id


async def test_a20_usage_of_last_month_is_that_of_the_zone(command_line: CommandLine, pool: Pool) -> None:
    shown = await command_line.run("usage", "summary", "--period", "2026-07", "--time-zone", "Europe/Madrid", "--json")
    by_dates = await command_line.run(
        "usage", "summary", "--since", "2026-07", "--until", "2026-08-01", "--time-zone", "Europe/Madrid", "--json"
    )
    both = await command_line.run("usage", "summary", "--period", "today", "--since", "2026-07")

    assert (shown.json()["since"], shown.json()["until"]) == ("2026-06-30T22:00:00Z", "2026-07-31T22:00:00Z")
    assert by_dates.json() == shown.json()
    assert (both.code, "takes the place of since and until" in both.err) == (2, True)
