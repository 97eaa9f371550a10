"""What an admin watches: the overview, alerts, messages, syncs, the audit log, requests decided many at a time."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from urllib.parse import quote
from uuid import uuid4

import pytest
from browsers import oidc, running_admin_api
from conftest import Database
from factories import ADMIN, make_key, make_model, make_subscription, make_team, make_user
from identity_providers import FakeProvider, log_in
from notification_servers import WebhookServer
from usage_rows import make_usage_row, write_rows

from admin_api.operations.limits.limits import LimitInput, set_limit
from admin_api.operations.models import models
from admin_api.operations.people import users
from gateway.storage.postgres import Pool
from portal.conftest import OPEN, RESTRICTED, NewVisitor
from portal.visitors import Visitor

SCRIPT = "<script>alert(1)</script>"
INSERT_ALERT = """
INSERT INTO alerts (account_id, scope, kind, window_kind, window_start, window_end, threshold, level, used, amount,
    about)
VALUES ($1, 'team', 'cost', 'month', $2, $3, 80, 'team', 8000000001, 10000000000, $4)
"""
INSERT_REFUSALS = """
INSERT INTO refusals (hour, account_id, user_id, api_key_id, model_id, limit_id, code, count)
VALUES ($1, 1, 0, 1, 1, 0, 'model_not_found', 4), ($1, 2, 0, 1, 1, 0, 'model_not_found', 3),
    ($1, 2, 0, 1, 1, 1, 'limit_exceeded', 3),
    ($1::timestamptz - interval '25 hours', 2, 0, 1, 1, 1, 'limit_exceeded', 9)
"""
INSERT_JOIN_REQUEST = "INSERT INTO team_join_requests (account_id, user_id, reason) VALUES ($1, $2, '')"
INSERT_REFUSED_CALL = """
INSERT INTO refused_calls (request_id, at, account_id, api_key_id, status, code, message, details)
VALUES ($1, $2, $3, $4, 404, 'model_not_found', 'No such model.', '{}')
"""


@pytest.fixture
async def admin(database: Database, pool: Pool, provider: FakeProvider) -> AsyncIterator[Visitor]:
    """Where webhooks may be on this machine."""
    settings = oidc(provider.url, webhook_allow_http=True, webhook_networks="127.0.0.0/8")
    async with running_admin_api(database, **settings) as new_browser:
        visitor = Visitor(new_browser())
        async with visitor.browser:
            provider.claims |= {"sub": "ana", "email": "ana@example.org", "name": "Ana"}
            await log_in(visitor.browser, next="/home")
            await users.update_user(pool, ADMIN, "ana@example.org", role="admin")
            yield visitor


async def test_a_webhook_is_tried_and_its_answer_shown(admin: Visitor, pool: Pool) -> None:
    async with WebhookServer() as receiver:
        await admin.open("/admin/webhooks/new")
        await admin.submit("/admin/webhooks", status=422, url="ftp://example.org")
        await admin.submit("/admin/webhooks", url=receiver.url, events=["key.ended"], format="standard")
        secret = admin.page.get_element_by_id("new-secret-text").text_content()
        assert secret.startswith("whsec_")
        path = admin.path
        receiver.statuses, receiver.answer = [500, 200], SCRIPT.encode()

        await admin.submit(f"{path}/test")
        assert "The test message was not delivered" in admin.text
        assert f"The receiver answered: {SCRIPT}" in admin.text
        await admin.submit(f"{path}/test")
        assert "The test message was delivered: status 200." in admin.text
        assert [row[3] for row in admin.rows("deliveries")] == ["delivered", "failed"]
        assert len(receiver.got) == 2

        await admin.open("/admin/webhooks/deliveries?status=failed")
        assert len(admin.rows("deliveries")) == 1
        failed = await pool.fetchval("SELECT id FROM deliveries WHERE gave_up_at IS NOT NULL")
        await admin.submit(f"/admin/webhooks/deliveries/{failed}/retry")
        assert await pool.fetchval("SELECT gave_up_at FROM deliveries WHERE id = $1", failed) is None

        await admin.open(path)
        await admin.submit(path, enabled=[], events=["key.ending", "key.ended"])
        row = await pool.fetchrow("SELECT enabled, events FROM webhooks")
        assert (row["enabled"], row["events"]) == (False, ["key.ended", "key.ending"])
        await admin.submit(f"{path}/renew-secret")
        assert admin.page.get_element_by_id("new-secret-text").text_content() != secret
        await admin.submit(f"{path}/delete")
        assert await pool.fetchval("SELECT count(*) FROM webhooks") == 0
    noted = await pool.fetch("SELECT action FROM audit_logs WHERE target_kind IN ('webhook', 'delivery') ORDER BY id")
    assert [row["action"] for row in noted] == [
        "webhook.create", "webhook.test", "webhook.test", "delivery.retry", "webhook.update", "webhook.renew_secret",
        "webhook.delete",
    ]  # fmt: skip


async def test_the_overview_leads_to_what_waits(new_visitor: NewVisitor, pool: Pool) -> None:
    ana = await new_visitor("ana", is_admin=True)
    await ana.open("/admin")
    assert "Nothing: all is done." in ana.text
    for number in range(3):
        await make_subscription(pool, await make_user(pool, f"u{number}@example.org"), RESTRICTED)
    await make_model(pool, SCRIPT)
    await models.update_model(pool, ADMIN, SCRIPT, hidden=True)
    await pool.execute("INSERT INTO models (name) VALUES ('free')")
    team = await make_team(pool, name=SCRIPT)
    input_ = LimitInput(kind="cost", window="month", amount=10_000_000_000)
    await set_limit(pool, ADMIN, input_, level="team", target=str(team.id), model=None, team=None)
    now = datetime.now(UTC)
    await pool.execute(INSERT_ALERT, team.id, now, now + timedelta(days=1), f'{{"account": "{SCRIPT}"}}')

    calls = [make_usage_row(now, model_id=1, account_id=team.id, cost_nano_usd=cost) for cost in (1, 2_500_000_000)]
    await write_rows(pool, calls)
    person = await make_user(pool, "joins@example.org")
    await pool.execute(
        "INSERT INTO team_join_requests (account_id, user_id, reason) VALUES ($1, $2, '')", team.id, person.id
    )
    await pool.execute(INSERT_REFUSALS, now.replace(minute=0, second=0, microsecond=0))

    await ana.open("/admin")

    spent = await pool.fetchval("SELECT sum(cost_nano_usd)::bigint FROM usage_logs")
    assert spent == 2_500_000_001
    assert ana.page.get_element_by_id("today").text_content().split()[1] == "$2.500000001"
    # No gateway runs here; tests/functional/test_calls_in_flight.py has two.
    assert "Calls in flight 0 · 0 workers of the gateways" in " ".join(ana.text.split())
    assert ana.rows("refused") == [["model_not_found", "7"], ["limit_exceeded", "3"]]
    waiting = {
        link.get("href"): link.text_content().strip() for link in ana.page.get_element_by_id("waiting").iter("a")
    }
    assert waiting == {
        "/admin/requests": "3 subscriptions wait for approval",
        "/admin/teams": "1 request to join a team",
        "/admin/alerts": "1 alert that nobody has seen",
        "/admin/models?state=hidden": "1 model that users do not see",
        "/admin/models?state=unpriced": "1 model without a price",
    }
    assert ana.rows("teams") == [[SCRIPT, "Cost per month", "0%"]]
    for path in waiting:
        await ana.open(path)
    assert [row[0] for row in ana.rows("models")] == ["free"]
    await ana.open("/admin/models?state=hidden")
    assert [row[0] for row in ana.rows("models")] == [SCRIPT]
    await ana.open("/admin/alerts")
    assert [row[3:6] for row in ana.rows("alerts")] == [["$8.000000001", "$10.00", "80%"]]
    alert = await pool.fetchval("SELECT id FROM alerts")
    await ana.submit(f"/admin/alerts/{alert}/seen")
    assert await pool.fetchval("SELECT acknowledged_by FROM alerts") == "ana@example.org"
    assert "No alert" in ana.text


async def test_requests_are_decided_all_at_once_with_a_result_for_each(new_visitor: NewVisitor, pool: Pool) -> None:
    ana, eva = await new_visitor("ana", is_admin=True), await new_visitor("eva", is_admin=True)
    people = [await make_user(pool, f"u{number}@example.org") for number in range(3)]
    rows = [await make_subscription(pool, person, RESTRICTED) for person in people]
    for one in (ana, eva):
        await one.open("/admin/requests")

    await eva.submit("/admin/requests", button="Deny", ids=[str(rows[0].id)], reason="no budget")
    await ana.submit("/admin/requests", button="Approve", all="yes")

    assert [row[1] for row in eva.rows("results")] == ["denied"]
    results = {row[0]: row[1] for row in ana.rows("results")}
    assert results.pop(f"u1@example.org · {RESTRICTED}") == results.pop(f"u2@example.org · {RESTRICTED}") == "active"
    assert [text[:11] for text in results.values()] == ["not decided"]
    found = await pool.fetch("SELECT status FROM subscriptions ORDER BY id")
    assert [row["status"] for row in found] == ["denied", "active", "active"]


async def test_the_audit_log_is_filtered_and_paged(new_visitor: NewVisitor, pool: Pool) -> None:
    ana = await new_visitor("ana", is_admin=True)
    for number in range(60):
        await users.create_user(pool, ADMIN, email=f"u{number}@example.org")
    await users.update_user(pool, ADMIN, "u7@example.org", name=SCRIPT, time_zone="Europe/Madrid")

    await ana.open("/admin/audit")
    assert len(ana.rows("audit")) == 50
    await ana.open(ana.page.xpath("//a[contains(@href, 'cursor=')]/@href")[0])
    total = await pool.fetchval("SELECT count(*) FROM audit_logs")
    assert len(ana.rows("audit")) == total - 50
    await ana.open("/admin/audit?action=user.update")
    await ana.submit("/admin/audit", about="user:u7@example.org")
    (row,) = ana.rows("audit")
    assert row[1:] == ["test", "user.update", "u7@example.org", f"name: none → {SCRIPT}time zone: UTC → Europe/Madrid"]
    export = ana.page.xpath("//a[contains(@href, 'format=csv')]/@href")[0]
    answer = await ana.browser.get(export)
    assert answer.headers["content-type"].startswith("text/csv")
    assert len(answer.content.decode("utf-8-sig").splitlines()) == 2
    await ana.submit("/admin/audit", status=404, about="user:nobody@example.org")
    await ana.submit("/admin/audit", status=422, about="", request_id="nonsense")


async def test_an_id_leads_to_what_it_belongs_to(new_visitor: NewVisitor, pool: Pool) -> None:
    ana = await new_visitor("ana", is_admin=True)
    person = await make_user(pool, "u@example.org")
    await make_subscription(pool, person, OPEN)
    key = (await make_key(pool, person, OPEN)).row
    now = datetime.now(UTC)
    about = {"api_key_id": key.id, "account_id": key.account_id, "client_request_id": "job-7"}
    calls = [make_usage_row(now - timedelta(minutes=minutes), **about) for minutes in (0, 1)]
    await write_rows(pool, calls)
    refused = uuid4()
    await pool.execute(INSERT_REFUSED_CALL, refused, now, key.account_id, key.id)
    changed = await pool.fetchval("SELECT request_id FROM audit_logs WHERE request_id IS NOT NULL LIMIT 1")

    for wanted, path in (
        (calls[0].request_id, f"/usage/calls/{calls[0].request_id}"),
        (refused, f"/refusals/{refused}"),
        (changed, "/admin/audit"),
    ):
        await ana.open("/admin/lookup")
        await ana.submit("/admin/lookup", id=str(wanted))
        assert ana.path == path
    await ana.open("/admin/lookup?id=job-7")
    assert [row[3] for row in ana.rows("found")] == [str(call.request_id) for call in calls]
    await ana.open(f"/admin/lookup?id={quote(SCRIPT)}")
    assert "Nothing has this id" in ana.text


async def test_a_sync_that_fails_says_why(new_visitor: NewVisitor, pool: Pool) -> None:
    """Nothing serves LiteLLM here."""
    ana = await new_visitor("ana", is_admin=True)
    await ana.open("/admin/models/syncs")
    before = await pool.fetchval("SELECT count(*) FROM model_syncs")

    await ana.submit("/admin/models/syncs")

    assert "LiteLLM returned no list of models, so nothing was changed" in ana.text
    assert await pool.fetchval("SELECT count(*) FROM model_syncs") == before + 1
    assert "problem" in ana.rows("syncs")[0][2]
