"""Alerts: raised once from the ledger, stored, and delivered."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from alerting import (
    AT_ONCE,
    KEYS,
    RULES,
    SENDER,
    THRESHOLDS,
    limit_key,
    make_hook,
    send_all,
    send_due,
    thresholds_of,
    use,
)
from conftest import Database
from factories import ADMIN, READER, make_key, make_model, make_subscription, make_team, make_user, owner_of
from notification_servers import SMTPServer, WebhookServer
from pydantic import SecretStr

from admin_api.operations.actors import Actor
from admin_api.operations.limits import limits
from admin_api.operations.limits.limits import LimitInput
from admin_api.operations.notifications.alerts import (
    MAX_ACCOUNTS,
    acknowledge_alert,
    forecast,
    list_alerts,
    raise_alerts,
)
from admin_api.operations.notifications.channels import Sender, signature
from admin_api.operations.notifications.smtp import MailServer
from admin_api.operations.notifications.webhooks import create_webhook
from admin_api.scheduler import alert_once
from admin_api.storage import deliveries
from admin_api.storage.alerts import LIST_WINDOW_LIMITS
from gateway.domain.errors import GatewayError
from gateway.domain.limits import LIMIT_LEVELS, WINDOWED_KINDS
from gateway.domain.windows import WINDOW_KINDS, window_ms
from gateway.storage.ledger.sums import SUM_WINDOWS, WindowSum, sum_windows
from gateway.storage.postgres import Pool


@pytest.fixture
async def hook() -> AsyncIterator[WebhookServer]:
    async with WebhookServer() as server:
        yield server


@pytest.fixture
async def mail_server() -> AsyncIterator[SMTPServer]:
    async with SMTPServer() as box:
        yield box


async def test_each_threshold_alerts_once_per_window(pool: Pool) -> None:
    key = await make_key(pool)
    await limit_key(pool, key, 1000)
    seen = []
    for tokens in (400, 100, 50, 300, 10, 140, 500):
        await use(pool, key, tokens=tokens)
        seen.append(await raise_alerts(pool, THRESHOLDS))

    assert seen == [0, 1, 0, 1, 0, 1, 0]
    assert await thresholds_of(pool) == [50, 80, 100]


async def test_an_alert_check_skips_accounts_without_new_usage(pool: Pool) -> None:
    key = await make_key(pool)
    await limit_key(pool, key, 100)
    await use(pool, key, tokens=1)
    await raise_alerts(pool, THRESHOLDS)
    assert await pool.fetchval("SELECT count(*) FROM accounts_to_check") == 0
    # Directly in the database, so the account is not marked as changed.
    for table in ("usage_quarter_hours", "usage_days"):
        await pool.execute(f"UPDATE {table} SET counted_tokens = 100")  # noqa: S608  one of two words

    quiet = await raise_alerts(pool, THRESHOLDS)
    await use(pool, key, tokens=1)
    after = await raise_alerts(pool, THRESHOLDS)

    assert (quiet, after) == (0, 3)


async def test_a_backlog_is_processed_without_a_pause(pool: Pool) -> None:
    """After a long outage of the admin API, or with very many busy accounts."""
    await pool.execute("INSERT INTO accounts_to_check SELECT n FROM generate_series(1, $1) AS n", 2 * MAX_ACCOUNTS + 1)

    await alert_once(pool)

    assert await pool.fetchval("SELECT count(*) FROM accounts_to_check") < MAX_ACCOUNTS


async def test_all_levels_and_kinds_alert(pool: Pool) -> None:
    user, model = await make_user(pool), await make_model(pool)
    await make_subscription(pool, user, model)
    key = await make_key(pool, user, model)
    subscription = await pool.fetchval("SELECT id FROM subscriptions")
    targets = {"key": key.row.id, "key_model": key.row.id, "subscription": subscription, "user": user.id}
    # A person's own account has no limits of a team: they are tested beside those of members.
    assert {*targets, "team"} == LIMIT_LEVELS.keys()
    for level, target in targets.items():
        for kind in WINDOWED_KINDS:
            fields = LimitInput(kind=kind, amount=1, window="day")
            name = model if level == "key_model" else None
            await limits.set_limit(pool, ADMIN, fields, level=level, target=str(target), model=name, team=None)

    await use(pool, key, tokens=1, counted_nano_usd=1)

    all_of_them = len(targets) * len(WINDOWED_KINDS)
    assert await raise_alerts(pool, {100: None}) == all_of_them
    found = await pool.fetch("SELECT DISTINCT level, kind FROM alerts")
    assert len(found) == all_of_them


async def test_alerts_of_a_team_and_its_members_are_separate(pool: Pool) -> None:
    owner, member = await make_user(pool, "owner@example.org"), await make_user(pool, "member@example.org")
    other = await make_user(pool, "other@example.org")
    team = await make_team(pool, member, other)
    await pool.execute(
        "INSERT INTO team_members (account_id, user_id, role) VALUES ($1, $2, 'owner')", team.id, owner.id
    )
    from factories import PEPPERS

    from admin_api.operations import subscriptions
    from admin_api.operations.keys import keys

    model = await make_model(pool)
    await subscriptions.create_subscription(pool, ADMIN, model=model, team=team.name)
    fields = keys.KeyInput(models=[model], user=member.email, team=team.name)
    key = await keys.create_key(pool, ADMIN, PEPPERS, fields)
    about = LimitInput(kind="tokens", amount=10, window="day")
    await limits.set_limit(pool, ADMIN, about, level="team", target=str(team.id), model=None, team=None)
    await limits.set_limit(pool, ADMIN, about, level="user", target=str(member.id), model=None, team=team.name)

    await use(pool, key, tokens=10)
    await raise_alerts(pool, {100: None})

    async def levels(actor: Actor) -> list[str]:
        return sorted(row.level for row in (await list_alerts(pool, actor)).rows)

    assert await levels(owner_of(owner)) == ["team", "user"]
    assert await levels(owner_of(member)) == ["user"]
    assert await levels(owner_of(other)) == []
    mails = await pool.fetch(
        "SELECT u.email, d.payload->>'level' AS level FROM deliveries d JOIN users u ON u.id = d.user_id "
        "WHERE d.event LIKE 'limit.%' ORDER BY 1"
    )
    assert [tuple(row) for row in mails] == [("member@example.org", "user"), ("owner@example.org", "team")]


async def test_after_a_raised_limit_only_thresholds_reached_again_alert(pool: Pool) -> None:
    key = await make_key(pool)
    await limit_key(pool, key, 100)
    await use(pool, key, tokens=85)
    assert await raise_alerts(pool, {80: None}) == 1

    await limit_key(pool, key, 105)
    still_above = await raise_alerts(pool, {80: None})
    await limit_key(pool, key, 1000)
    far_below = await raise_alerts(pool, {80: None})
    await use(pool, key, tokens=800)
    again = await raise_alerts(pool, {80: None})

    assert (still_above, far_below, again) == (0, 0, 1)
    cleared = await pool.fetch("SELECT amount, cleared_at IS NULL AS stands FROM alerts ORDER BY id")
    assert [tuple(row) for row in cleared] == [(100, False), (1000, True)]


async def test_a_lowered_limit_alerts_without_new_usage(pool: Pool) -> None:
    key = await make_key(pool)
    await limit_key(pool, key, 1000)
    await use(pool, key, tokens=90)
    assert await raise_alerts(pool, {80: None}) == 0

    await limit_key(pool, key, 100)

    assert await raise_alerts(pool, {80: None}) == 1


async def test_only_the_limit_in_force_alerts(pool: Pool) -> None:
    key = await make_key(pool)
    now = datetime.now(UTC)
    # Of a month's window this would be the next one in its last hour.
    await limit_key(pool, key, 100, window="lifetime")
    await limit_key(pool, key, 1000, window="lifetime", expires_at=now + timedelta(hours=1), reason="a boost")
    await use(pool, key, tokens=90)
    with_boost = await raise_alerts(pool, {80: None})
    # It expires, without a change of a row.
    after = await raise_alerts(pool, {80: None}, now=now + timedelta(hours=1, minutes=1))

    assert (with_boost, after) == (0, 1)


async def test_a_late_call_alerts_for_its_own_window(pool: Pool) -> None:
    key = await make_key(pool)
    await limit_key(pool, key, 100, window="day")
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    await use(pool, key, tokens=90, at=midnight - timedelta(seconds=1))

    raised = await raise_alerts(pool, {80: None}, now=midnight + timedelta(seconds=20))

    assert raised == 1
    assert await pool.fetchval("SELECT window_end FROM alerts") == midnight


async def test_thresholds_alert_again_in_the_next_window(pool: Pool) -> None:
    key = await make_key(pool)
    await limit_key(pool, key, 100, window="day")
    now = datetime.now(UTC)
    for days in (1, 0):
        moment = now - timedelta(days=days)
        await use(pool, key, tokens=90, at=moment)
        assert await raise_alerts(pool, {80: None}, now=moment + timedelta(seconds=1)) == 1


SUM_ROWS = """
SELECT coalesce(sum(counted_tokens), 0)::bigint FROM usage_logs WHERE started_at >= $1 AND started_at < $2
"""


@pytest.mark.parametrize("zone", ["UTC", "Europe/Madrid", "Asia/Kathmandu", "America/St_Johns", "Pacific/Kiritimati"])
async def test_days_and_quarter_hours_add_up_to_the_rows_of_a_window(pool: Pool, zone: str) -> None:
    key = await make_key(pool)
    now = datetime.now(UTC)
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    bounds = [round(edge) for kind in WINDOW_KINDS[:3] for edge in window_ms(kind, zone, round(now.timestamp() * 1000))]
    moments = [datetime.fromtimestamp(ms / 1000, UTC) + timedelta(seconds=s) for ms in bounds for s in (-1, 0, 1)]
    moments += [now - timedelta(hours=hours) for hours in range(0, 60, 5)]
    for n, moment in enumerate(m for m in moments if first <= m < first + timedelta(days=60)):
        await use(pool, key, tokens=2**n, at=moment)
    for kind in WINDOW_KINDS:
        start_ms, end_ms = window_ms(kind, zone, round(now.timestamp() * 1000))
        start, end = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (start_ms, min(end_ms, 253_370_764_800_000)))
        of_rows = await pool.fetchval(SUM_ROWS, start, end)
        assert await sum_windows(pool, [WindowSum(key.row.account_id, "tokens", "t", start_ms, end_ms)]) == [of_rows]


async def test_shadow_limits_do_not_alert(pool: Pool) -> None:
    key = await make_key(pool)
    await limit_key(pool, key, 10, shadow=True)
    await use(pool, key, tokens=100)

    assert await raise_alerts(pool, THRESHOLDS) == 0


def test_the_forecast_extrapolates_the_usage_of_the_window_so_far() -> None:
    start = datetime(2027, 1, 1, tzinfo=UTC)
    end, at = start + timedelta(days=31), start + timedelta(days=10)

    assert forecast(start, end, at, used=80, amount=100) == start + timedelta(days=12, hours=12)
    assert forecast(start, end, at, used=10, amount=100) is None
    assert forecast(start, end, at, used=120, amount=100) == at
    assert forecast(start, end, start, used=1, amount=100) is None
    assert forecast(start, end, at, used=1, amount=2**53) is None


async def test_an_alert_arrives_once_with_three_replicas_and_two_failed_deliveries(
    pool: Pool, hook: WebhookServer
) -> None:
    secret = await make_hook(pool, hook)
    hook.statuses = [500, 503]
    key = await make_key(pool)
    await limit_key(pool, key, 1000)
    # Concurrent batches of two gateways.
    await asyncio.gather(use(pool, key, tokens=400), use(pool, key, tokens=400))

    async def replica() -> int:
        raised = 0
        for _ in range(5):
            raised += await raise_alerts(pool, THRESHOLDS) or 0
            await send_due(pool, SENDER)
        return raised

    raised = await asyncio.gather(*(replica() for _ in range(3)))

    assert sum(raised) == 2  # 50 and 80 %: both are stored, the higher one alerts
    assert [got.status for got in hook.got] == [500, 503, 204]
    assert len({got.headers["webhook-id"] for got in hook.got}) == 1
    (got,) = hook.accepted
    data = json.loads(got.body)["data"]
    assert (data["threshold_percent"], data["used"], data["limit"]) == (80, 800, 1000)
    sent_at = int(got.headers["webhook-timestamp"])
    assert abs(sent_at - datetime.now(UTC).timestamp()) < 60
    expected = signature(secret, got.headers["webhook-id"], sent_at, got.body)
    assert got.headers["webhook-signature"] == expected
    assert got.headers["host"] == f"127.0.0.1:{hook.port}"


async def test_a_sender_killed_before_marking_a_delivery_repeats_it_with_the_same_id(
    pool: Pool, hook: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_hook(pool, hook)
    key = await make_key(pool)
    await limit_key(pool, key, 100)
    await use(pool, key, tokens=80)
    await raise_alerts(pool, {80: None})

    async def die(*_: object) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patched:
        patched.setattr(deliveries, "mark_delivered", die)
        await send_due(pool, SENDER)
    while_leased = await send_all(pool)
    await pool.execute("UPDATE deliveries SET next_try_at = now() WHERE delivered_at IS NULL")
    after_lease = await send_all(pool)

    assert (while_leased, after_lease) == (0, 1)
    assert len(hook.accepted) == 2
    assert len({got.headers["webhook-id"] for got in hook.accepted}) == 1


async def test_an_alert_check_killed_before_its_commit_is_repeated_by_the_next(
    pool: Pool, hook: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_hook(pool, hook)
    key = await make_key(pool)
    await limit_key(pool, key, 100)
    await use(pool, key, tokens=80)

    async def die(*_: object, **__: object) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patched:
        patched.setattr(deliveries, "insert", die)
        with pytest.raises(asyncio.CancelledError):
            await raise_alerts(pool, {80: None})

    assert await raise_alerts(pool, {80: None}) == 1
    assert await send_all(pool) == 1


async def test_a_failing_receiver_is_given_up_and_blocks_no_other(pool: Pool, hook: WebhookServer) -> None:
    await make_hook(pool, hook)
    async with WebhookServer() as bad:
        await make_hook(pool, bad)
        bad.statuses = [500] * 50
        key = await make_key(pool)
        await limit_key(pool, key, 100)
        await use(pool, key, tokens=80)
        await raise_alerts(pool, {80: None})
        await send_all(pool)

        assert len(bad.got) == len(AT_ONCE) + 1
    assert len(hook.accepted) == 1
    row = await pool.fetchrow("SELECT last_error FROM deliveries WHERE gave_up_at IS NOT NULL")
    assert row is not None
    assert "status 500" in row["last_error"]


async def test_a_redirect_is_not_followed(pool: Pool, hook: WebhookServer) -> None:
    await make_hook(pool, hook)
    hook.elsewhere, hook.statuses = "/inside", [302] * 20
    key = await make_key(pool)
    await limit_key(pool, key, 100)
    await use(pool, key, tokens=80)
    await raise_alerts(pool, {80: None})

    assert await send_all(pool) == 0
    assert {got.status for got in hook.got} == {302}


@pytest.mark.parametrize(
    ("locale", "words"),
    [
        (None, ("80 % of a limit reached", "800 of 1,000", "It resets", "ask an administrator for")),
        ("es", ("Se ha alcanzado el 80 %", "800 de 1\u00a0000", "Empieza de nuevo", "pida a un administrador")),
        ("fr", ("80 % d'une limite atteints", "800 sur 1\u00a0000", "recommence", "demandez une limite plus haute")),
    ],
)
async def test_the_owner_gets_one_email_in_their_language(
    pool: Pool, mail_server: SMTPServer, locale: str | None, words: tuple[str, ...]
) -> None:
    key = await make_key(pool)
    await pool.execute("UPDATE users SET locale = $1", locale)
    # Notifications of the subscription are tested elsewhere.
    await pool.execute("DELETE FROM deliveries")
    await limit_key(pool, key, 1000)
    await use(pool, key, tokens=800)
    await raise_alerts(pool, THRESHOLDS)
    mail_server.refuse = 2
    mail = MailServer(SecretStr(mail_server.url), "LiteMaaS <litemaas@example.com>")

    sent = await send_all(pool, Sender(keys=KEYS, mail=mail, pauses=AT_ONCE))

    (email,) = mail_server.emails
    text = email["Subject"] + email.get_content()
    assert sent == 1
    assert all(word in text for word in words), text
    assert email["To"].endswith("@example.org")


async def test_an_alert_is_acknowledged_only_by_users_it_concerns(pool: Pool) -> None:
    user = await make_user(pool, "ana@example.org")
    await make_subscription(pool, user, await make_model(pool))
    key = await make_key(pool, user)
    await limit_key(pool, key, 10)
    await use(pool, key, tokens=10)
    await raise_alerts(pool, {100: None})
    (alert,) = (await list_alerts(pool, owner_of(user))).rows

    for stranger, code in ((owner_of(await make_user(pool)), "not_found"), (READER, "forbidden")):
        with pytest.raises(GatewayError) as caught:
            await acknowledge_alert(pool, stranger, alert.id)
        assert caught.value.code == code
    seen = await acknowledge_alert(pool, owner_of(user), alert.id)
    again = await acknowledge_alert(pool, ADMIN, alert.id)

    assert (seen.acknowledged_by, again.acknowledged_by) == ("ana@example.org", "ana@example.org")
    assert (await list_alerts(pool, owner_of(user), acknowledged=False)).rows == []
    assert await pool.fetchval("SELECT count(*) FROM audit_logs WHERE action = 'alert.acknowledge'") == 1


async def test_a_hundred_thousand_unused_limits_cost_an_alert_check_nothing(pool: Pool, database: Database) -> None:
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute("""
        ALTER TABLE limits DISABLE TRIGGER USER;
        INSERT INTO accounts (kind, name) SELECT 'team', 'team ' || n FROM generate_series(1, 20000) AS n;
        INSERT INTO limits (account_id, level, kind, window_kind, amount)
            SELECT a.id, 'team', 'tokens', w, 1000
            FROM accounts a, unnest(ARRAY['day', 'week', 'month', 'year', 'lifetime']) AS w;
        INSERT INTO usage_quarter_hours (account_id, started_at, user_id, api_key_id, model_id, ending, calls,
            estimated_calls, prompt_tokens, completion_tokens, cached_tokens, cost_nano_usd, counted_requests,
            counted_tokens, counted_nano_usd, total_ms)
            SELECT a.id, date_bin('15 minutes', now(), '2000-01-01Z') - n * interval '15 minutes', 0, 1, 1,
            'completed', 1, 0, 1, 1, 0, 0, 1, 2, 0, 1 FROM accounts a, generate_series(0, 1) AS n;
        ANALYZE accounts, limits, usage_quarter_hours""")
    one = await owner.fetchval("SELECT min(id) FROM accounts")
    now = datetime.now(UTC)
    plans = [
        await explain(owner, LIST_WINDOW_LIMITS, [one], now),
        await explain(owner, SUM_WINDOWS, [0], [one], [now - timedelta(days=31)], [now], [1], [], [], [1], [], True),
    ]
    await owner.close()

    for plan in plans:
        assert not {"limits", "usage_quarter_hours", "usage_days", "accounts"} & scanned(plan), plan


async def explain(connection: "asyncpg.Connection[asyncpg.Record]", sql: str, *arguments: object) -> dict[str, Any]:
    text = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {sql}", *arguments)
    plan: dict[str, Any] = json.loads(text)[0]["Plan"]
    return plan


def scanned(plan: dict[str, Any]) -> set[str]:
    """Tables read by a sequential scan."""
    found = {plan["Relation Name"]} if plan["Node Type"] == "Seq Scan" else set()
    return found.union(*(scanned(part) for part in plan.get("Plans", ())))


async def test_owners_and_admins_are_notified_of_each_subscription_transition(
    pool: Pool, hook: WebhookServer, mail_server: SMTPServer
) -> None:
    from admin_api.operations import subscriptions

    events = ["subscription.pending", "subscription.denied"]
    await create_webhook(pool, ADMIN, KEYS, RULES, url=hook.url, events=events)
    user = await make_user(pool, "ana@example.org")
    model = await make_model(pool, restricted=True)
    asked = await subscriptions.create_subscription(pool, owner_of(user), model=model, user=user.email)
    await subscriptions.change_subscription(pool, ADMIN, asked.id, "deny", reason="not now")
    with pytest.raises(GatewayError):
        await subscriptions.change_subscription(pool, ADMIN, asked.id, "approve")

    mail = MailServer(SecretStr(mail_server.url), "litemaas@example.com")
    await send_all(pool, Sender(keys=KEYS, rules=RULES, mail=mail, pauses=AT_ONCE))

    reported = sorted((json.loads(got.body)["type"], json.loads(got.body)["data"]["reason"]) for got in hook.got)
    assert reported == [("subscription.denied", "not now"), ("subscription.pending", None)]
    # Users are not notified of their own changes.
    assert [email["Subject"] for email in mail_server.emails] == ["Access denied: small"]
    assert "not now" in "".join(email.get_content() for email in mail_server.emails)
