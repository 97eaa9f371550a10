"""Limits that a person sees, more that they ask for, and one limit for many."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from factories import ADMIN, owner_of
from usage_rows import make_usage_row, write_rows

from admin_api.operations import subscriptions
from admin_api.operations.limits.limits import LimitInput, set_limit
from admin_api.operations.limits.states import list_limit_states
from admin_api.operations.people import users
from admin_api.operations.people.new_accounts import NewTeam, set_up_team
from admin_api.operations.usage.pace import cost_at_this_rate
from gateway.storage.counters.scripts import SCRIPTS, Counters
from gateway.storage.postgres import Pool
from gateway.storage.redis.urls import connect
from portal.conftest import OPEN, RESTRICTED, NewVisitor

NANO_USD = 10**9
ANA = "ana@example.org"


async def limit_ana(pool: Pool, kind: str, amount: int, window: str | None = None) -> int:
    input_ = LimitInput(kind=kind, amount=amount, window=window)
    return (await set_limit(pool, ADMIN, input_, level="user", target=ANA, model=None, team=None)).limit.id


async def amount_of(pool: Pool, limit_id: int) -> int:
    amount: int = await pool.fetchval("SELECT amount FROM limits WHERE id = $1", limit_id)
    return amount


async def test_home_shows_the_tightest_limit_first_as_the_state_and_sql_have_it(
    new_visitor: NewVisitor, pool: Pool, redis_url: str
) -> None:
    ana = await new_visitor()
    await ana.open("/home")
    assert "No limit is set: your use is unlimited." in ana.text
    assert "Budget per month: unlimited" in ana.text
    assert "First steps" in ana.text
    assert ana.page.xpath("//*[@id='new-models']//li/a/text()") == [RESTRICTED, OPEN]
    about = await pool.fetchrow(
        "SELECT u.id AS user_id, a.id AS account_id FROM users u JOIN accounts a ON a.owner_user_id = u.id"
    )
    assert about is not None
    await limit_ana(pool, "cost", 10 * NANO_USD, "month")
    await limit_ana(pool, "requests", 4, "month")
    await limit_ana(pool, "rpm", 60)
    await set_up_team(pool, ADMIN, NewTeam(name="Red", members=[ANA], monthly_cost_nano_usd=7))
    model_id = await pool.fetchval("SELECT id FROM models WHERE name = $1", OPEN)
    now = datetime.now(UTC)
    costs = (1, 2_500_000_000, 3)
    rows = [
        make_usage_row(now, **about, model_id=model_id, cost_nano_usd=cost, counted_nano_usd=cost) for cost in costs
    ]
    await write_rows(pool, rows)

    await ana.open("/home")

    shown = ana.rows("limits")
    assert [(row[0], row[1]) for row in shown] == [
        ("Requests per month", "Yourself"), ("Cost per month", "Yourself"), ("Requests per minute", "Yourself"),
        ("Cost per month", "Team Red"),
    ]  # fmt: skip
    assert shown[0][2:7] == ["3", "0", "1", "4", "75%"]
    assert shown[1][2:7] == ["$2.500000004", "$0.00", "$7.499999996", "$10.00", "25%"]
    scripts = connect(redis_url, SCRIPTS, timeout_s=2.0)
    await scripts.open()
    states = await list_limit_states(pool, Counters(scripts), owner_of(await users.find_user(pool, ADMIN, ANA)))
    await scripts.close()
    left = {one.row.kind: one.left for one in states.rows}
    in_sql = await pool.fetchval("SELECT sum(cost_nano_usd) FROM usage_logs WHERE account_id = $1", about["account_id"])
    assert left["cost"] is not None
    assert (left["cost"]["used_nano_usd"], in_sql) == (sum(costs), sum(costs))
    assert ana.page.get_element_by_id("spent-figure").text_content() == "$2.500000004"
    assert "Budget per month: $10.00" in ana.text
    (live,) = ana.page.xpath("//*[@data-refresh]")
    assert (live.get("hx-get"), live.get("id")) == ("/home", "live")


def test_the_pace_is_that_of_what_has_passed() -> None:
    since = datetime(2026, 11, 1, tzinfo=UTC)
    until = since + timedelta(days=30)

    assert cost_at_this_rate(3 * NANO_USD, since=since, until=until, now=since + timedelta(days=10)) == 9 * NANO_USD
    assert cost_at_this_rate(NANO_USD, since=since, until=until, now=since + timedelta(hours=23)) is None
    assert cost_at_this_rate(7, since=since, until=until, now=until + timedelta(days=9)) == 7


async def test_more_is_asked_for_and_the_decision_changes_the_limit(new_visitor: NewVisitor, pool: Pool) -> None:
    ana, boss = await new_visitor(), await new_visitor("boss", is_admin=True)
    budget, rate = await limit_ana(pool, "cost", 10 * NANO_USD, "month"), await limit_ana(pool, "rpm", 60)

    await ana.open("/limits")
    await ana.open(f"/limits/{budget}/more")
    await ana.submit(f"/limits/{budget}/more", status=422, amount="10.00", reason="more")
    help_id = ana.page.get_element_by_id("amount").get("aria-describedby")
    assert "Ask for more than the limit allows now." in ana.page.get_element_by_id(help_id).text_content()
    await ana.submit(f"/limits/{budget}/more", status=422, amount="20.00", reason="")
    await ana.submit(f"/limits/{budget}/more", amount="20.50", reason="<i>A launch</i>")
    await ana.open(f"/limits/{budget}/more")
    await ana.submit(f"/limits/{budget}/more", status=409, amount="30", reason="again")
    await ana.open(f"/limits/{rate}/more")
    await ana.submit(f"/limits/{rate}/more", amount="600", reason="fast")
    await ana.open("/home")
    assert "Cost per month, Yourself: you asked for $20.50." in ana.text
    other = await limit_of_boss(pool)
    await ana.open(f"/limits/{other}/more", status=404)

    await boss.open("/admin/requests/limits")
    assert [row[1:7] for row in boss.rows("requests")] == [
        [ANA, "Cost per month", ANA, "$10.00", "$20.50", "<i>A launch</i>"],
        [ANA, "Requests per minute", ANA, "60", "600", "fast"],
    ]
    more, faster = boss.page.xpath("//input[@name='ids']/@value")
    asked = {f"amount_usd-{more}": "20.5", f"amount-{faster}": "600"}
    assert {name: boss.page.get_element_by_id(name).get("value") for name in asked} == asked
    # Less than was asked for; each row has its own result, and what is no amount decides nothing.
    wrong = {f"amount_usd-{more}": "15000", f"amount-{faster}": "many"}
    await boss.submit("/admin/requests/limits", button="Approve", all="yes", reason="As far as it goes.", **wrong)
    assert [row[1][:11] for row in boss.rows("results")] == ["not decided", "not decided"]
    assert boss.page.get_element_by_id("reason").get("value") == "As far as it goes."
    assert (await amount_of(pool, budget), await amount_of(pool, rate)) == (10_000_000_000, 60)
    await boss.submit("/admin/requests/limits", button="Approve", ids=[more], confirm="yes")
    assert await amount_of(pool, budget) == 15_000_000_000_000
    await boss.submit("/admin/requests/limits", status=422, button="Deny", ids=[faster], reason="")
    await boss.submit("/admin/requests/limits", button="Deny", ids=[faster], reason="Slower, please.")
    assert [row[1] for row in boss.rows("results")] == ["denied"]

    assert await amount_of(pool, rate) == 60
    await ana.open("/limits")
    assert [(row[3], row[4], row[5]) for row in ana.rows("requests")] == [
        ("approved", "$15,000.00", "As far as it goes."), ("denied", "–", "Slower, please.")
    ]  # fmt: skip
    sent = await pool.fetch(
        "SELECT payload ->> 'status' AS status FROM deliveries WHERE event = 'limit.request_decided'"
    )
    assert [row["status"] for row in sent] == ["approved", "denied"]
    acts = [
        row["action"]
        for row in await pool.fetch("SELECT action FROM audit_logs WHERE target_kind = 'limit' ORDER BY id")
    ]
    assert (acts.count("limit.request"), acts.count("limit.decide_request")) == (2, 2)


async def limit_of_boss(pool: Pool) -> int:
    input_ = LimitInput(kind="rpm", amount=5)
    done = await set_limit(pool, ADMIN, input_, level="user", target="boss@example.org", model=None, team=None)
    return done.limit.id


async def test_a_limit_that_changed_meanwhile_is_not_removed(new_visitor: NewVisitor, pool: Pool) -> None:
    boss = await new_visitor("boss", is_admin=True)
    made = await set_up_team(pool, ADMIN, NewTeam(name="Red", monthly_cost_nano_usd=NANO_USD))
    base = f"/admin/teams/{made.team.id}"
    (limit,) = [row.id for row in made.limits]
    await boss.open(base)
    raised = LimitInput(kind="cost", window="month", amount=2 * NANO_USD)
    await set_limit(pool, ADMIN, raised, level="team", target="Red", model=None, team=None)

    await boss.submit(f"{base}/unlimit", status=412)
    assert "has changed since you read it" in boss.text
    assert await amount_of(pool, limit) == 2 * NANO_USD
    await boss.submit(f"{base}/unlimit")

    assert "unlimited" in boss.text
    assert await pool.fetchval("SELECT count(*) FROM limits") == 0


async def test_one_limit_for_many_is_previewed_and_applied_exactly(new_visitor: NewVisitor, pool: Pool) -> None:
    boss = await new_visitor("boss", is_admin=True)
    await new_visitor()
    await limit_ana(pool, "cost", 5 * NANO_USD, "month")
    form: dict[str, Any] = {
        "level": "user",
        "kind": "cost:month",
        "amount": "25.00",
        "users": f"{ANA} boss@example.org",
    }

    await boss.open("/admin/limits/bulk")
    await boss.submit("/admin/limits/bulk", status=422, **(form | {"amount": "many"}))
    await boss.submit("/admin/limits/bulk", **form)
    assert sorted(row[:3] for row in boss.rows("changes")) == [
        [ANA, "$5.00", "$25.00"], ["boss@example.org", "unlimited", "$25.00"]
    ]  # fmt: skip
    assert await pool.fetchval("SELECT count(*) FROM limits") == 1
    await limit_ana(pool, "cost", 6 * NANO_USD, "month")
    await boss.submit("/admin/limits/bulk", status=409, button="Change 2 limits")
    assert "targets have changed" in boss.text
    assert await pool.fetchval("SELECT sum(amount) FROM limits") == 6 * NANO_USD
    await boss.submit("/admin/limits/bulk")
    await boss.submit("/admin/limits/bulk", button="Change 2 limits")

    assert "2 limits have been changed." in boss.text
    assert {row[4] for row in boss.rows("changes")} == {"changed"}
    assert await pool.fetchval("SELECT sum(amount) FROM limits") == 50 * NANO_USD
    await boss.open("/admin/limits?level=user")
    assert [row[3] for row in boss.rows("limits")] == ["$25.00", "$25.00"]
    await boss.open("/admin/limits/bulk")
    await boss.submit("/admin/limits/bulk", **(form | {"amount": "unlimited"}))
    await boss.submit("/admin/limits/bulk", button="Change 2 limits")
    assert await pool.fetchval("SELECT count(*) FROM limits") == 0


async def test_an_owner_limits_a_key_below_what_an_admin_set_and_never_above(
    new_visitor: NewVisitor, pool: Pool
) -> None:
    ana = await new_visitor()
    await ana.open("/models")
    await ana.submit("/subscriptions", model=OPEN)
    await ana.open("/api-keys/new")
    await ana.submit("/api-keys", name="app")
    key = ana.path
    key_id = key.rsplit("/", 1)[1]
    admins = LimitInput(kind="rpm", amount=50)
    of_admin = (await set_limit(pool, ADMIN, admins, level="key", target=key_id, model=None, team=None)).limit.id

    await ana.open(f"{key}/limit")
    await ana.submit(f"{key}/limit", status=422, kind="rpm:", amount="51")
    assert "at most 50" in ana.text
    await ana.submit(f"{key}/limit", kind="rpm:", amount="20")
    assert sorted(row[5] for row in ana.rows("limits")) == ["20", "50"]
    (removable,) = ana.page.xpath("//form[@action='" + key + "/unlimit']//input[@name='limit']/@value")
    await ana.submit(f"{key}/unlimit")
    answer = await ana.post(f"{key}/unlimit", limit=str(of_admin))

    assert answer.status_code == 403
    assert [row["id"] for row in await pool.fetch("SELECT id FROM limits WHERE level = 'key'")] == [of_admin]
    assert int(removable) != of_admin
    await ana.open("/api-keys")
    assert ana.rows("api-keys")[0][4:7] == ["0", "$0.00", "Requests per minute: 50 0%"]


async def test_a_key_is_changed_and_not_by_two_at_once(new_visitor: NewVisitor, pool: Pool) -> None:
    ana = await new_visitor()
    await ana.open("/models")
    await ana.submit("/subscriptions", model=OPEN)
    await ana.open("/api-keys/new")
    await ana.submit("/api-keys", name="app", expires_at="2099-01-31", rpm="10", monthly_cost_usd="1.50")
    key = ana.path
    stored = {
        row["kind"]: row["amount"] for row in await pool.fetch("SELECT kind, amount FROM limits WHERE level = 'key'")
    }
    assert stored == {"rpm": 10, "cost": 1_500_000_000}
    ends = await pool.fetchval("SELECT expires_at FROM api_keys")

    await ana.open(f"{key}/edit")
    await ana.submit(f"{key}/edit", name="other", allowed_ips="192.0.2.0/24, 10.0.0.1")
    row = await pool.fetchrow("SELECT name, allowed_ips::text[] AS ips, expires_at FROM api_keys")
    assert row is not None
    assert tuple(row) == ("other", ["192.0.2.0/24", "10.0.0.1/32"], ends)
    await ana.open(f"{key}/edit")
    await pool.execute("UPDATE api_keys SET name = 'meanwhile', updated_at = now()")
    await ana.submit(f"{key}/edit", status=412, name="late")
    assert ana.page.get_element_by_id("name").get("value") == "late"
    assert await pool.fetchval("SELECT name FROM api_keys") == "meanwhile"
    await ana.open(f"{key}/edit")
    await ana.submit(f"{key}/edit", expires_at="")

    assert await pool.fetchval("SELECT expires_at FROM api_keys") is None
    await ana.submit(f"{key}/rotate", grace_s="0")
    assert await pool.fetchval("SELECT previous_ends_at FROM api_keys") is None


async def test_subscriptions_show_quotas_prices_and_history(new_visitor: NewVisitor, pool: Pool) -> None:
    ana = await new_visitor()
    await ana.open("/models")
    await ana.submit("/subscriptions", model=OPEN)
    await pool.execute("DELETE FROM limits")
    await ana.open("/subscriptions")
    assert ana.rows("subscriptions")[0][3:6] == ["unlimited", "$1.00", "$2.00"]
    row = await pool.fetchrow("SELECT id, account_id, model_id FROM subscriptions")
    assert row is not None
    quota = LimitInput(kind="tokens", window="month", amount=100)
    await set_limit(pool, ADMIN, quota, level="subscription", target=str(row["id"]), model=None, team=None)
    about = {"account_id": row["account_id"], "model_id": row["model_id"], "subscription_id": row["id"]}
    await write_rows(pool, [make_usage_row(datetime.now(UTC), **about)])
    await subscriptions.change_subscription(pool, ADMIN, row["id"], "suspend", reason="Too much.")
    await subscriptions.change_subscription(pool, ADMIN, row["id"], "reactivate")

    await ana.open("/subscriptions")
    assert ana.rows("subscriptions")[0][3] == "Tokens per month: 83 of 100 left 17%"
    await ana.open(f"/subscriptions/{row['id']}")
    assert [(one[1], one[3]) for one in ana.rows("history")] == [
        ("active", "–"), ("suspended", "Too much."), ("active", "–")
    ]  # fmt: skip
    assert ana.rows("limits")[0][:6] == ["Tokens per month", f"Subscription of {ANA} to {OPEN}", "17", "0", "83", "100"]
    bob = await new_visitor("bob")
    await bob.open(f"/subscriptions/{row['id']}", status=404)


async def test_home_has_one_alert_of_a_limit_and_takes_the_lower_ones_with_it(
    new_visitor: NewVisitor, pool: Pool
) -> None:
    ana = await new_visitor()
    account = await pool.fetchval("SELECT id FROM accounts WHERE name = $1", ANA)
    for window, threshold in (("month", 50), ("month", 80), ("day", 50)):
        await pool.execute(
            "INSERT INTO alerts (account_id, level, scope, kind, window_kind, window_start, threshold, used, amount, "
            "about) VALUES ($1, 'user', 'u', 'tokens', $2, date_trunc($2, now()), $3, 90, 100, $4)",
            account, window, threshold, f'{{"account": "{ANA}", "user": "{ANA}"}}',
        )  # fmt: skip

    await ana.open("/home")
    text = ana.page.get_element_by_id("alerts").text_content()
    (lower,) = ana.page.xpath("//input[@name='lower']/ancestor::form/@action")
    await ana.submit(lower)

    assert sorted(re.findall(r"(\d+%) of a limit reached", text)) == ["50%", "80%"]
    kept = await pool.fetch("SELECT window_kind, threshold FROM alerts WHERE acknowledged_at IS NULL")
    assert [tuple(row) for row in kept] == [("day", 50)]
    assert ana.path == "/home"
