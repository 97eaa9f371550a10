"""A9: e-mails that waited are one digest a person, without what is out of date; deliveries say that there is no mail
server; admins get a digest of requests that wait for them."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from admin_client import LOGIN, check_error, settings_for
from alerting import KEYS, limit_key, send_due, use
from command_line import CommandLine
from conftest import Database
from factories import ADMIN, make_key, make_model, make_subscription, make_team, make_user, owner_of
from gateways import wait_until
from notification_servers import SMTPServer
from pydantic import SecretStr

from admin_api import scheduler
from admin_api.main import create_app
from admin_api.operations import subscriptions
from admin_api.operations.notifications.alerts import raise_alerts
from admin_api.operations.notifications.channels import Sender
from admin_api.operations.notifications.email_choices import update_choices
from admin_api.operations.notifications.email_texts import MAX_DIGEST, write_digest
from admin_api.operations.notifications.outbox import NO_MAIL_SERVER, SUPERSEDED
from admin_api.operations.notifications.pending_requests import mail_pending_requests
from admin_api.operations.notifications.smtp import MailServer
from admin_api.operations.people import invitations, teams, users
from admin_api.operations.runtime_settings import update_settings
from admin_api.storage.deliveries import RECEIVERS
from admin_api.storage.measurements import count_deliveries
from admin_api.storage.users import User
from gateway.domain.subscriptions import Action
from gateway.storage.postgres import Pool

PATH = "/api/v1/admin/deliveries"
WITHOUT = Sender(keys=KEYS)


@pytest.fixture
async def mail_server() -> AsyncIterator[SMTPServer]:
    async with SMTPServer() as box:
        yield box


@pytest.fixture
async def admin(database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx2.AsyncClient]:
    """It sends nothing by itself."""

    async def nothing(*_: object) -> None: ...

    monkeypatch.setattr("admin_api.operations.notifications.outbox.Outbox.send_due", nothing)
    app = create_app(settings_for(database.app_url))
    transport = httpx2.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://admin", headers=LOGIN) as opened,
    ):
        yield opened


def mail_to(box: SMTPServer) -> Sender:
    mail = MailServer(SecretStr(box.url), "LiteMaaS <litemaas@example.com>")
    return Sender(keys=KEYS, mail=mail, pauses=(timedelta(hours=1),) * 3)


async def request(pool: Pool, user: User, model: str) -> int:
    """A request of a restricted model; the id of the subscription."""
    await make_model(pool, model, restricted=True)
    made = await subscriptions.create_subscription(pool, owner_of(user), model=model, user=user.email)
    assert made.status == "pending"
    return made.id


async def decide(pool: Pool, subscription_id: int, action: Action, reason: str | None = None) -> None:
    await subscriptions.change_subscription(pool, ADMIN, subscription_id, action, reason=reason)


async def states(pool: Pool, user: User) -> list[tuple[str, str, str | None]]:
    """Event, status and error of each of their e-mails, oldest first."""
    rows = await pool.fetch(
        "SELECT event, last_error, CASE WHEN delivered_at IS NOT NULL THEN 'delivered' WHEN dropped_at IS NOT NULL "
        "THEN 'dropped' WHEN gave_up_at IS NOT NULL THEN 'failed' ELSE 'waiting' END AS status "
        "FROM deliveries WHERE user_id = $1 ORDER BY id",
        user.id,
    )
    return [(row["event"], row["status"], row["last_error"]) for row in rows]


async def test_a9_without_a_mail_server_deliveries_say_so(
    admin: httpx2.AsyncClient, pool: Pool, database: Database, mail_server: SMTPServer
) -> None:
    ann = await make_user(pool)
    await decide(pool, await request(pool, ann, "a"), "approve")
    await send_due(pool, WITHOUT)

    (held,) = (await admin.get(PATH)).json()["rows"]
    refused = await admin.post(f"{PATH}/{held['id']}/retry")
    command = CommandLine({"LITEMAAS_DATABASE_URL": database.app_url})
    printed = await command.run("deliveries", "list")
    as_json = await command.run("deliveries", "list", "--status", "waiting", "--json")
    sent = await send_due(pool, mail_to(mail_server))
    (after,) = (await admin.get(PATH)).json()["rows"]

    assert (held["status"], held["tries"], held["next_try_at"]) == ("waiting", 0, None)
    assert held["last_error"] == NO_MAIL_SERVER
    check_error(refused, 409, "conflict")
    assert NO_MAIL_SERVER in refused.text
    assert NO_MAIL_SERVER.partition(":")[0] in printed.out
    assert [row["last_error"] for row in as_json.json()["rows"]] == [NO_MAIL_SERVER]
    assert (sent, after["status"], after["last_error"], after["tries"]) == (1, "delivered", None, 1)
    assert mail_server.emails[0]["Subject"] == "Access granted: a"


async def test_a9_what_waited_is_one_email_without_what_is_out_of_date(
    admin: httpx2.AsyncClient, pool: Pool, mail_server: SMTPServer
) -> None:
    ann, boss = await make_user(pool), await make_user(pool)
    one, two = await request(pool, ann, "a"), await request(pool, ann, "b")
    await decide(pool, one, "deny", "not now")
    await subscriptions.change_subscription(pool, owner_of(ann), one, "request_review")
    await decide(pool, one, "approve")
    await decide(pool, two, "approve")
    await make_team(pool, name="red")
    await teams.add_member(pool, ADMIN, "red", user=boss.email, role="owner")
    await invitations.invite(pool, owner_of(boss), "red", user=ann.email)
    await send_due(pool, WITHOUT)

    sent = await send_due(pool, mail_to(mail_server))

    (email,) = mail_server.emails
    assert email["To"] == ann.email
    assert email["Subject"] == "3 messages of LiteMaaS: Invitation to red, …"
    text = email.get_content()
    assert "Access granted: a" in text
    assert "Access granted: b" in text
    assert "Invitation to red" in text
    assert "denied" not in text
    assert sent == 3
    assert await states(pool, ann) == [
        ("subscription.denied", "dropped", "The subscription has another status."),
        ("subscription.active", "delivered", None),
        ("subscription.active", "delivered", None),
        ("team.invited", "delivered", None),
    ]
    (dropped,) = (await admin.get(PATH, params={"status": "dropped"})).json()["rows"]
    assert (dropped["status"], dropped["failed_at"], dropped["next_try_at"]) == ("dropped", None, None)
    assert dropped["dropped_at"] is not None
    assert (await admin.get(PATH, params={"status": "failed"})).json()["rows"] == []
    async with pool.acquire() as connection:
        counted = await count_deliveries(connection, tuple(RECEIVERS))
    assert {row.failed for row in counted} == {0}
    check_error(await admin.post(f"{PATH}/{dropped['id']}/retry"), 409, "conflict")


async def test_a9_twenty_nine_messages_are_one_email(pool: Pool, mail_server: SMTPServer) -> None:
    ann, bob = await make_user(pool), await make_user(pool)
    for number in range(29):
        await decide(pool, await request(pool, ann, f"model-{number}"), "approve")
    await decide(pool, await request(pool, bob, "another"), "approve")
    await send_due(pool, WITHOUT)

    sent = await send_due(pool, mail_to(mail_server))

    subjects = {email["To"]: email["Subject"] for email in mail_server.emails}
    assert subjects == {
        ann.email: "29 messages of LiteMaaS: Access granted: model-28, …",
        bob.email: "Access granted: another",
    }
    assert len(mail_server.emails) == 2
    assert sent == 30


async def test_a9_alerts_of_a_window_that_is_over_or_cleared_are_dropped(pool: Pool, mail_server: SMTPServer) -> None:
    key = await make_key(pool)
    ann = await users.find_user(pool, ADMIN, str(key.row.user_id))
    await pool.execute("DELETE FROM deliveries")
    for window in ("day", "month", "lifetime"):
        await limit_key(pool, key, 1000, window=window)
    for tokens in (500, 300):
        await use(pool, key, tokens=tokens)
        await raise_alerts(pool, dict.fromkeys((50, 80)))
    # The day is over, and the month's limit was raised.
    past = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    await pool.execute(
        "UPDATE deliveries SET payload = payload || jsonb_build_object('window_end', $1::text) "
        "WHERE payload ->> 'window' = 'day'",
        past,
    )
    await limit_key(pool, key, 100_000, window="month")
    await raise_alerts(pool, dict.fromkeys((50, 80)))
    await send_due(pool, WITHOUT)

    await send_due(pool, mail_to(mail_server))

    (email,) = mail_server.emails
    assert email["Subject"].startswith("80 % of a limit reached")
    assert "in all" in email.get_content()
    found = [(status, error) for _, status, error in await states(pool, ann)]
    assert sorted(found, key=str) == sorted(
        [
            ("dropped", "The window of the limit is over."),
            ("dropped", "The window of the limit is over."),
            ("dropped", "The use is below the threshold again."),
            ("dropped", "The use is below the threshold again."),
            ("dropped", SUPERSEDED),
            ("delivered", None),
        ],
        key=str,
    )


async def test_a9_people_who_left_get_nothing(pool: Pool, mail_server: SMTPServer) -> None:
    ann, bob, carol = [await make_user(pool) for _ in range(3)]
    await make_team(pool, name="red")
    for owner in (ann, bob):
        await teams.add_member(pool, ADMIN, "red", user=owner.email, role="owner")
    await make_model(pool, "a")
    made = await subscriptions.create_subscription(pool, ADMIN, model="a", team="red")
    await decide(pool, made.id, "suspend", "too much")
    gone = await make_subscription(pool, carol, await make_model(pool, "b"))
    await decide(pool, gone.id, "suspend", "too much")
    await send_due(pool, WITHOUT)
    await teams.remove_member(pool, ADMIN, "red", user=bob.email)
    await users.update_user(pool, ADMIN, carol.email, status="deactivated")

    await send_due(pool, mail_to(mail_server))

    assert [email["To"] for email in mail_server.emails] == [ann.email]
    assert {error for _, _, error in await states(pool, bob)} == {"The person is not in the account any more."}
    assert {error for _, _, error in await states(pool, carol)} == {"The person is not active any more."}


async def test_a9_nobody_gets_an_email_that_they_do_not_want(
    admin: httpx2.AsyncClient, pool: Pool, mail_server: SMTPServer, database: Database
) -> None:
    """Chosen before the event by the person, or while it waits by a command; webhooks and the other events go on."""
    ann, boss = await make_user(pool), await make_user(pool, role="admin")
    changed = await update_choices(pool, owner_of(ann), {"subscription.denied": False})
    assert [one.event for one in changed if not one.email] == ["subscription.denied"]
    assert "requests.pending" not in {one.event for one in changed}
    hook = {"url": "https://93.184.216.34/x", "events": ["subscription.denied"]}
    assert (await admin.post("/api/v1/webhooks", json=hook)).status_code == 201
    await decide(pool, await request(pool, ann, "a"), "deny", "not now")
    await decide(pool, await request(pool, ann, "b"), "approve")
    await request(pool, ann, "c")
    await mail_pending_requests(pool, datetime.now(UTC) + timedelta(minutes=2))

    command = CommandLine({"LITEMAAS_DATABASE_URL": database.app_url})
    muted = await command.run("users", "choose-emails", ann.email, "--mute", "subscription.active", "--json")
    unknown = await command.run("users", "choose-emails", ann.email, "--mute", "weather")
    refused = await admin.patch(f"/api/v1/users/{ann.id}/emails", json={"emails": {"weather": False}})
    boss_path = f"/api/v1/users/{boss.id}/emails"
    rows = (await admin.patch(boss_path, json={"emails": {"requests.pending": False}})).json()["rows"]

    assert {row["event"] for row in muted.json()["rows"] if not row["email"]} == {
        "subscription.denied", "subscription.active",
    }  # fmt: skip
    assert (unknown.code, refused.status_code) == (2, 422)
    assert {row["event"]: row["email"] for row in rows}["requests.pending"] is False
    assert await pool.fetchval("SELECT count(*) FROM deliveries WHERE channel = 'webhook'") == 1
    assert await send_due(pool, mail_to(mail_server)) == 0
    assert mail_server.emails == []
    wanted = "The person wants no such e-mails."
    assert await states(pool, ann) == [("subscription.active", "dropped", wanted)]
    assert await states(pool, boss) == [("requests.pending", "dropped", wanted)]
    await update_choices(pool, ADMIN, {"subscription.active": True}, user=ann.email)
    await decide(pool, await request(pool, ann, "d"), "approve")
    assert await send_due(pool, mail_to(mail_server)) == 1


async def test_a9_a_withdrawn_invitation_is_dropped(pool: Pool, mail_server: SMTPServer) -> None:
    ann, bob = await make_user(pool), await make_user(pool)
    await make_team(pool, name="red")
    await teams.add_member(pool, ADMIN, "red", user=ann.email, role="owner")
    made = await invitations.invite(pool, owner_of(ann), "red", user=bob.email)
    await pool.execute("DELETE FROM team_invitations WHERE id = $1", made.id)

    assert await send_due(pool, mail_to(mail_server)) == 0

    assert mail_server.emails == []
    assert [status for _, status, _ in await states(pool, bob)] == ["dropped"]


async def test_a9_a_digest_that_fails_is_repeated_with_the_same_id(pool: Pool, mail_server: SMTPServer) -> None:
    ann = await make_user(pool)
    for model in ("a", "b"):
        await decide(pool, await request(pool, ann, model), "approve")
    mail_server.refuse = 1

    first = await send_due(pool, mail_to(mail_server))
    waiting = await states(pool, ann)
    await pool.execute("UPDATE deliveries SET next_try_at = now()")
    second = await send_due(pool, mail_to(mail_server))
    # As after a crash before they were marked.
    await pool.execute("UPDATE deliveries SET delivered_at = NULL, next_try_at = now()")
    await send_due(pool, mail_to(mail_server))
    ids = [email["Message-ID"] for email in mail_server.emails]

    assert (first, second) == (0, 2)
    assert [(status, error) for _, status, error in waiting] == [
        ("waiting", "The mail server rejected the e-mail (451).")
    ] * 2
    assert len(ids) == 2
    assert len(set(ids)) == 1


@pytest.mark.parametrize(
    ("locale", "subject", "more"),
    [("en", "60 messages", "not shown"), ("es", "60 mensajes", "anteriores"), ("fr", "60 messages", "plus anciens")],
)
def test_a9_a_digest_is_in_the_language_of_the_person_and_bounded(locale: str, subject: str, more: str) -> None:
    at = datetime(2026, 11, 1, 12, tzinfo=UTC)
    entries = [(at, "subscription.active", {"account": "red", "model": f"model-{n}."}) for n in range(60)]

    title, text = write_digest(entries, locale)

    assert title.startswith(subject)
    assert more in text
    shown = [n for n in range(60) if f"model-{n}." in text]
    assert shown == list(range(60 - MAX_DIGEST, 60))
    assert "2026-11-01 12:00 (UTC)" in text


async def test_a9_a_mail_server_that_is_set_later_sends_one_email(
    pool: Pool, database: Database, mail_server: SMTPServer
) -> None:
    """The program itself: without a mail server, then with one."""
    ann = await make_user(pool)
    for model in ("a", "b", "c"):
        await decide(pool, await request(pool, ann, model), "approve")

    async def all_are(status: str, error: str | None) -> bool:
        return {(s, e) for _, s, e in await states(pool, ann)} == {(status, error)}

    app = create_app(settings_for(database.app_url))
    async with app.router.lifespan_context(app):
        await wait_until(lambda: all_are("waiting", NO_MAIL_SERVER), "what deliveries say")
    settings = settings_for(database.app_url, smtp_url=mail_server.url, mail_from="a@example.com")
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        await wait_until(lambda: all_are("delivered", None), "the e-mail")

    assert [email["Subject"] for email in mail_server.emails] == ["3 messages of LiteMaaS: Access granted: c, …"]


async def at(pool: Pool, minutes: float) -> int:
    """What a check does in so many minutes."""
    return await mail_pending_requests(pool, datetime.now(UTC) + timedelta(minutes=minutes))


async def test_a9_admins_get_one_email_about_requests(pool: Pool, mail_server: SMTPServer) -> None:
    boss, chief = await make_user(pool, role="admin"), await make_user(pool, role="admin")
    await make_user(pool, role="admin-readonly")
    ann = await make_user(pool)
    ids = [await request(pool, ann, model) for model in ("a", "b", "c")]

    early = await at(pool, 0)
    both = await asyncio.gather(at(pool, 2), at(pool, 2))
    nothing_new = await at(pool, 600)
    await request(pool, ann, "d")
    too_soon = await at(pool, 120)
    await pool.execute("DELETE FROM deliveries WHERE event <> 'requests.pending'")
    await send_due(pool, mail_to(mail_server))
    await decide(pool, ids[0], "approve")
    await pool.execute("DELETE FROM deliveries")
    later = await at(pool, 243)
    await send_due(pool, mail_to(mail_server))

    assert (early, sorted(both), nothing_new, too_soon, later) == (0, [0, 3], 0, 0, 3)
    first, second = mail_server.emails[:2], mail_server.emails[2:]
    assert {email["To"] for email in first} == {email["To"] for email in second} == {boss.email, chief.email}
    assert len(first) == len(second) == 2
    assert first[0]["Subject"] == "Requests waiting for a decision: 3"
    for name in ("a", "b", "c"):
        assert f"{ann.email}: {name}, since" in first[0].get_content()
    text = second[0].get_content()
    assert ": d, since" in text
    assert ": a, since" not in text


async def test_a9_the_email_to_admins_can_be_switched_off(
    admin: httpx2.AsyncClient, pool: Pool, database: Database
) -> None:
    await make_user(pool, role="admin")
    await request(pool, await make_user(pool), "a")
    shown = (await admin.get("/api/v1/admin/settings")).json()["pending_requests_email_hours"]

    done = await CommandLine({"LITEMAAS_DATABASE_URL": database.app_url}).run(
        "settings", "set", "pending_requests_email_hours", "none", "--json"
    )
    off = await at(pool, 10)
    await update_settings(pool, ADMIN, {"pending_requests_email_hours": 1})
    on = await at(pool, 10)

    assert (shown, done.json()["pending_requests_email_hours"]) == (4, None)
    assert (off, on) == (0, 1)
    for hours in (0, 721, "4"):
        answer = await admin.put("/api/v1/admin/settings", json={"pending_requests_email_hours": hours})
        check_error(answer, 422, "validation_failed")


async def test_a9_an_email_about_decided_requests_is_dropped(pool: Pool, mail_server: SMTPServer) -> None:
    boss = await make_user(pool, role="admin")
    former = await make_user(pool, role="admin")
    ann = await make_user(pool)
    one = await request(pool, ann, "a")
    assert await at(pool, 2) == 1
    await users.update_user(pool, ADMIN, former.email, role="user")
    await request(pool, ann, "b")
    assert await at(pool, 300) == 2
    await send_due(pool, mail_to(mail_server))
    # As if the server had not taken it.
    await pool.execute("UPDATE deliveries SET delivered_at = NULL, next_try_at = now() WHERE event LIKE 'requests.%'")
    await decide(pool, one, "approve")
    await pool.execute("UPDATE subscriptions SET status = 'active'")
    await send_due(pool, mail_to(mail_server))

    # The second of two replaces the first.
    assert [email["To"] for email in mail_server.emails if "decision" in email["Subject"]] == [boss.email]
    assert [error for _, _, error in await states(pool, former)] == ["The person is not an admin any more."]
    assert {status for _, status, _ in await states(pool, boss)} == {"dropped"}


async def test_a9_no_email_about_requests_is_written_without_a_mail_server(
    pool: Pool, database: Database, mail_server: SMTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    async def check(_: Pool) -> None:
        calls.append(1)

    monkeypatch.setattr(scheduler, "mail_requests_once", check)
    app = create_app(settings_for(database.app_url))
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0.2)
    without = len(calls)
    app = create_app(settings_for(database.app_url, smtp_url=mail_server.url, mail_from="a@example.com"))
    async with app.router.lifespan_context(app):

        async def is_checked() -> bool:
            return bool(calls)

        await wait_until(is_checked, "a check")

    assert without == 0
