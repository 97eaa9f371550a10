"""A20: what lists print: names, times of the asked zone, and a sentence where there is nothing."""

import asyncio
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from alerting import KEYS, RULES, THRESHOLDS, limit_key, use
from conftest import Database
from factories import ADMIN, make_key, make_model, make_team, make_user
from typer.main import get_command
from typer.testing import CliRunner
from usage_rows import TODAY, make_usage_row, new_id, write_rows

from admin_api.cli.app import build_app
from admin_api.operations.actors import Actor
from admin_api.operations.limits.boosts import boost_limit
from admin_api.operations.limits.limits import LimitInput, set_limit
from admin_api.operations.limits.parsing import AmountInput
from admin_api.operations.notifications import alerts, webhooks
from admin_api.operations.people import teams
from gateway.domain.errors import GatewayError
from gateway.storage.postgres import Pool

Run = Callable[..., Any]
NUMBERS = count(1)


@pytest.fixture
def run(database: Database, redis_url: str) -> Run:
    """What a command prints, in this process."""
    env = {"LITEMAAS_DATABASE_URL": database.app_url, "LITEMAAS_REDIS_URL": redis_url}

    async def run(line: str, *, code: int = 0) -> str:
        words = line.split()
        done = await asyncio.to_thread(CliRunner().invoke, build_app(words), words, env=env, catch_exceptions=False)
        assert done.exit_code == code, done.output
        return done.stdout

    return run


async def test_a20_usage_names_the_caller_and_has_the_whole_request_id(run: Run, pool: Pool) -> None:
    key = (await make_key(pool)).row
    of_ana = {"account_id": key.account_id, "user_id": key.user_id, "api_key_id": key.id}
    calls = [make_usage_row(TODAY + timedelta(minutes=n), **of_ana) for n in range(2)]
    failed = make_usage_row(TODAY, **of_ana, status=502, ending="upstream_error", error_code="upstream_error")
    await write_rows(pool, [*calls, failed])

    shown = await run("usage show")
    in_madrid = await run("usage show --time-zone Europe/Madrid --limit 1")

    assert all(str(call.request_id) in shown for call in (*calls, failed))
    assert shown.count(f"{key.user_email}  …{key.last_four}  small") == 3, shown
    assert "upstream_error 502" in shown
    local = calls[1].started_at.astimezone(ZoneInfo("Europe/Madrid"))
    assert f"{local:%Y-%m-%d %H:%M:%S}+0" in in_madrid
    assert "\nTimes are of Europe/Madrid.\n" in in_madrid


async def test_a20_days_are_days_of_the_zone_and_hours_to_come_are_not_listed(run: Run, pool: Pool) -> None:
    """A day of Nepal begins in the evening of the day before in UTC."""
    zone = ZoneInfo("Asia/Kathmandu")

    days = await run("usage series --period last-3-days --time-zone Asia/Kathmandu")
    months = await run("usage series --period last-3-days --time-zone Asia/Kathmandu --step month")
    before = datetime.now(zone)
    hours = await run("usage series --period today --step hour --time-zone Asia/Kathmandu")
    after = datetime.now(zone)

    heading, *rows, period = days.splitlines()
    assert heading.split()[0] == "day"
    assert [row.split()[0] for row in rows] == [f"{before - timedelta(days=n):%Y-%m-%d}" for n in (2, 1, 0)]
    assert period.endswith(", Asia/Kathmandu.")
    assert re.fullmatch(r"\d{4}-\d\d", months.splitlines()[1].split()[0])
    listed = [line for line in hours.splitlines() if line.startswith(f"{before:%Y-}")]
    assert len(listed) in (before.hour + 1, after.hour + 1)
    assert all(":00+05:45 " in line for line in listed), hours


async def test_a20_a_breakdown_names_calls_without_a_user_and_has_the_total(run: Run, pool: Pool) -> None:
    ana = await make_user(pool)
    await write_rows(pool, [make_usage_row(TODAY, user_id=one) for one in (ana.id, ana.id, None)])

    lines = (await run("usage breakdown user")).splitlines()

    assert lines[0].split()[:2] == ["user", "calls"]
    counts = dict(re.split(r" {2,}", line)[:2] for line in lines[1:-1])
    assert counts == {ana.email: "2", "service keys": "1", "total": "3"}


async def test_a20_an_alert_names_whose_it_is_and_whether_it_is_cleared(run: Run, pool: Pool) -> None:
    key = await make_key(pool)
    await limit_key(pool, key, 100)
    await use(pool, key, tokens=90)
    assert await alerts.raise_alerts(pool, THRESHOLDS) == 2
    raised = await run("alerts list")
    await limit_key(pool, key, 1000)
    await alerts.raise_alerts(pool, THRESHOLDS)
    cleared = await run("alerts list")

    assert raised.count("  open  ") == 2
    assert raised.count(f"…{key.row.last_four} of {key.row.user_email}") == 2, raised
    assert (cleared.count("  open  "), cleared.count("  cleared  ")) == (0, 2)


async def test_a20_webhooks_and_refusals_have_names_in_place_of_ids(run: Run, pool: Pool) -> None:
    team = await make_team(pool, name="research")
    url = "https://hooks.example.org/" + "x" * 120
    for of in (team.name, None):
        await webhooks.create_webhook(pool, ADMIN, KEYS, RULES, url=url, events=["subscription.pending"], team=of)
    key = (await make_key(pool)).row
    await pool.execute(
        "INSERT INTO refusals (hour, account_id, user_id, api_key_id, model_id, limit_id, code, count) "
        "VALUES (date_trunc('hour', now()), $1, $2, $3, 0, 0, 'api_key_expired', 4)",
        key.account_id,
        key.user_id,
        key.id,
    )

    listed = await run("webhooks list")
    refused = await run("refusals list")

    assert re.findall(r"^\d +(\w+) ", listed, re.MULTILINE) == ["research", "all"]
    assert "".join(listed.split()).count(url) == 2
    assert refused.splitlines()[1].split()[2:5] == [key.user_email, f"…{key.last_four}", "-"], refused


async def test_a20_a_refused_call_names_its_key_and_lists_have_times_of_the_zone(run: Run, pool: Pool) -> None:
    key = (await make_key(pool)).row
    request_id = new_id(TODAY)
    await pool.execute(
        "INSERT INTO refused_calls (request_id, at, account_id, user_id, api_key_id, model_asked, endpoint, status, "
        "code, message, details) "
        "VALUES ($1, $2, $3, $4, $5, 'small', 'chat_completions', 403, 'api_key_expired', 'Expired.', '{}')",
        request_id,
        TODAY,
        key.account_id,
        key.user_id,
        key.id,
    )

    shown = await run(f"refusals show {request_id}")
    audited = await run("audit list --time-zone Asia/Kathmandu --limit 1")

    assert shown.startswith(f"{TODAY:%Y-%m-%d} 00:00:00Z, key …{key.last_four} of {key.user_email}: "), shown
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+05:45  test  ", audited), audited
    assert "\nTimes are of Asia/Kathmandu.\nMore: --cursor " in audited


async def test_a20_a_wrong_code_is_answered_with_those_like_it(run: Run, pool: Pool) -> None:
    with pytest.raises(GatewayError) as caught:
        await run("refusals list --code insufficent_quota")
    assert "Did you mean insufficient_quota" in caught.value.message
    assert "docs/errors.md" in caught.value.message
    with pytest.raises(GatewayError) as caught:
        await run("refusals list --code " + "z" * 1000)
    assert len(caught.value.message) < 100


async def test_a20_an_empty_list_says_what_it_looked_for(run: Run, pool: Pool) -> None:
    ana = await make_user(pool)
    sentences = {
        "keys list": "No keys.",
        f"keys list --user {ana.email} --archived": f"No keys match --user {ana.email} --archived.",
        "audit list --actor nobody --since 2026-11": "No audit entries match --actor nobody --since 2026-11.",
        "alerts list --open": "No alerts match --open.",
        "usage show --ending timeout --ending unreachable": "No calls match --ending timeout --ending unreachable.",
        f"users sessions {ana.email}": f"No open sessions of {ana.email}.",
        "users list --search x'y": "No users match --search 'x'\"'\"'y'.",
        "users list --cursor 99": "No more users.",
        "refusals list --limit 5": "No refusals.",
    }  # fmt: skip
    for line, sentence in sentences.items():
        assert await run(line) == f"{sentence}\n", line
    breakdown = await run("usage breakdown model")
    assert breakdown.startswith("No calls.\nFrom "), breakdown


async def test_a20_every_list_says_so_if_it_is_empty(run: Run, pool: Pool) -> None:
    """The lists are those of the program, so that a new one is among them."""
    await make_user(pool)
    await make_model(pool)
    root: Any = get_command(build_app([]))
    lists = [f"{group} list" for group, one in root.commands.items() if "list" in getattr(one, "commands", ())]
    needed = {"tokens list": " --user 1", "prices list": " --model small"}
    shown = {line: await run(line + needed.get(line, "")) for line in lists}

    filled = {"users list", "models list", "prices list", "audit list"}
    sentences = {line: text for line, text in shown.items() if re.fullmatch(r"No [a-z ]+( match .+)?\.\n", text)}
    assert set(shown) - set(sentences) == filled
    assert len(sentences) > 8


async def test_a20_audit_rows_have_names_and_no_more_than_was_set(run: Run, pool: Pool) -> None:
    ana, ben = await make_user(pool), await make_user(pool)
    team = await make_team(pool, ana, ben, name="research")
    by_ana = Actor(name=f"cli:{ana.email}", role="admin", user_id=ana.id)
    limit = LimitInput(kind="cost", window="month", amount=5 * 10**9, expires_at=None)
    done = await set_limit(pool, by_ana, limit, level="user", target=ben.email, model=None, team=team.name)
    row = done.limit
    ends = datetime.now(UTC) + timedelta(days=1, microseconds=7)
    given = AmountInput(amount=None, amount_usd="9", amount_nano_usd=None)
    boosted = (await boost_limit(pool, by_ana, row.id, amount=given, expires_at=ends, reason="demo")).limit

    # What is too long for a line goes on in the next, indented twice.
    shown = (await run(f"audit list --actor {ana.email}")).replace("\n" + " " * 8, " ")

    about, other = (f"limit {one.id} (cost per month at level user)" for one in (boosted, row))
    assert [line for line in shown.splitlines() if not line.startswith("20")] == [
        "    account: research", f"    user: {ben.email}", f"    expires at: {ends:%Y-%m-%d %H:%M:%S}Z",
        "    amount: 9 USD", "    cause: demo",
        "    account: research", f"    user: {ben.email}", "    amount: 5 USD",
    ]  # fmt: skip
    heads = [line for line in shown.splitlines() if line.startswith("20")]
    assert [line.split("  ", 3)[1:] for line in heads] == [
        [f"cli:{ana.email}", "limit.boost", about], [f"cli:{ana.email}", "limit.set", other],
    ]  # fmt: skip


async def test_a20_who_ran_commands_is_found_by_their_name(run: Run, pool: Pool) -> None:
    ana = await make_user(pool)
    for name in (ana.email, f"cli:{ana.email}", ana.email, "cli:root", f"cli:{ana.email}"):
        await teams.create_team(pool, Actor(name=name, role="admin"), name=f"team {next(NUMBERS)}", time_zone="UTC")

    async def found(actor: str, *more: str) -> list[str]:
        listed = json.loads(await run(" ".join(("audit list --json --actor", actor, *more))))
        following = listed["next_cursor"]
        names = [row["target_name"] for row in listed["rows"]]
        return names + (await found(actor, "--limit 1 --cursor", following) if following else [])

    of_ana = await found(ana.email)
    assert len(of_ana) == 4
    # The pages of both names are one list.
    assert await found(ana.email, "--limit 1") == of_ana
    assert (len(await found("root")), len(await found("cli:root"))) == (1, 1)
    assert len(await found(f"cli:{ana.email}")) == 2
    exported = json.loads(await run(f"audit export --format json --actor {ana.email}"))
    assert [row["target_name"] for row in exported] == of_ana


async def test_a20_prices_of_a_model_are_amounts(run: Run, pool: Pool) -> None:
    model = await make_model(pool)
    shown = await run(f"models show {model}")
    assert re.search(r"^ +input_per_million_usd +1$", shown, re.MULTILINE)
    assert "{" not in shown


async def test_a20_litemaas_says_its_version(run: Run) -> None:
    assert await run("--version") == f"litemaas {version('litemaas')}\n"
