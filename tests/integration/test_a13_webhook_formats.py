"""A13: messages in the form of chat services; refusals that are final end at once; what was answered is kept; tests."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, get_args

import httpx2
import pytest
from admin_client import LOGIN, SECRET_KEYS, check_error, settings_for
from alerting import KEYS, RULES, send_due
from conftest import Database
from factories import ADMIN, make_team, make_token, make_user
from notification_servers import ReceivedRequest, SMTPServer, WebhookServer
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from typer.testing import CliRunner

from admin_api.cli.app import build_app
from admin_api.main import create_app
from admin_api.operations.notifications import channels
from admin_api.operations.notifications.channels import PASSING_4XX, Sender
from admin_api.operations.notifications.events import EVENTS
from admin_api.operations.notifications.smtp import MailServer
from admin_api.operations.notifications.webhooks import create_webhook
from admin_api.storage.webhooks import Format
from gateway.storage.postgres import Pool

PATH = "/api/v1/webhooks"
HOURLY = Sender(keys=KEYS, rules=RULES, pauses=(timedelta(hours=1),) * 3)
SUBSCRIPTION = {"model": "small", "account": "red", "reason": "not now", "status": "denied", "by": "ann"}
ALERT = {
    "account": "red", "user": None, "key": "ci", "key_last_four": "abcd", "model": None, "level": "key",
    "kind": "tokens", "window": "month", "threshold_percent": 80, "used": 80, "limit": 100, "forecast_at": None,
    "window_end": "2027-01-01T00:00:00+00:00", "time_zone": "UTC",
}  # fmt: skip
INVITATION = {"team": "red", "by": "ann", "role": "owner", "expires_at": "2027-01-01T00:00:00+00:00"}
IDLE_KEY = {
    "key": "ci", "key_last_four": "abcd", "account": "red", "user": "ann", "reason": "unused", "days": 90,
    "ends_at": "2027-01-01T00:00:00+00:00",
}  # fmt: skip
JOIN = {"team": "red", "user": "ann", "name": "Ann", "by": "ben", "reason": "please"}
LIMIT_REQUEST = ALERT | {"user": "ann", "requested": 200, "reason": "a launch"}
PAYLOADS = {event: SUBSCRIPTION for event in EVENTS} | {
    "limit.threshold_reached": ALERT,
    "team.invited": INVITATION,
    "team.join_requested": JOIN,
    "team.join_decided": JOIN | {"status": "accepted"},
    "limit.requested": LIMIT_REQUEST,
    "limit.request_decided": LIMIT_REQUEST | {"status": "approved", "granted": 150},
    "key.ending": IDLE_KEY,
    "key.ended": IDLE_KEY,
    "webhook.test": {"webhook_id": 1, "by": "red"},
}


class ChatServer(WebhookServer):
    """Answers as Slack's incoming webhooks (`/slack`) and a workflow of Teams (`/teams`) do."""

    def __init__(self) -> None:
        super().__init__()
        self.url = self.url.removesuffix("/hook?a=b")

    async def _receive(self, request: Request) -> Response:
        body = await request.body()
        answers = {"slack": slack_answers, "teams": teams_answers}
        answer = answers[request.path_params["path"]](json.loads(body))
        self.got.append(ReceivedRequest(dict(request.headers), body, answer.status_code))
        return answer


def slack_answers(body: dict[str, Any]) -> Response:
    if not isinstance(body.get("text"), str) or not body["text"]:
        return PlainTextResponse("no_text", 400)
    return PlainTextResponse("ok")


def teams_answers(body: dict[str, Any]) -> Response:
    if body.get("type") != "message" or not body.get("attachments"):
        return PlainTextResponse("TriggerInputSchemaMismatch", 400)
    for attachment in body["attachments"]:
        assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
        assert (attachment["content"]["type"], attachment["content"]["version"]) == ("AdaptiveCard", "1.2")
        # What a TextBlock has is read as Markdown.
        assert {block["type"] for block in attachment["content"]["body"]} == {"RichTextBlock"}
    return Response(status_code=202)


def text_of(got: ReceivedRequest) -> str:
    body = json.loads(got.body)
    if "text" in body:
        return str(body["text"])
    blocks = body["attachments"][0]["content"]["body"]
    return "\n".join(run["text"] for block in blocks for run in block["inlines"])


@pytest.fixture
async def chat() -> AsyncIterator[ChatServer]:
    async with ChatServer() as server:
        yield server


@pytest.fixture
async def hook() -> AsyncIterator[WebhookServer]:
    async with WebhookServer() as server:
        yield server


@pytest.fixture
async def admin(database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx2.AsyncClient]:
    """It may call this machine, and sends nothing by itself."""

    async def nothing(*_: object) -> None: ...

    monkeypatch.setattr("admin_api.operations.notifications.outbox.Outbox.send_due", nothing)
    settings = settings_for(database.app_url, webhook_allow_http=True, webhook_networks="127.0.0.0/8")
    app = create_app(settings)
    transport = httpx2.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://admin", headers=LOGIN) as opened,
    ):
        yield opened


async def write(pool: Pool, event: str, payload: dict[str, Any]) -> None:
    """One message to each webhook."""
    await pool.execute(
        "INSERT INTO deliveries (channel, webhook_id, event, payload) SELECT 'webhook', id, $1, $2 FROM webhooks",
        event,
        json.dumps(payload),
    )


async def deliveries_of(admin: httpx2.AsyncClient) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (await admin.get("/api/v1/admin/deliveries")).json()["rows"]
    return rows


@pytest.mark.parametrize("event", PAYLOADS)
async def test_a13_every_event_is_taken_by_slack_and_by_teams(pool: Pool, chat: ChatServer, event: str) -> None:
    for form in ("slack", "teams"):
        await create_webhook(pool, ADMIN, KEYS, RULES, url=f"{chat.url}/{form}", events=EVENTS, form=form)
    await write(pool, event, PAYLOADS[event])

    sent = await send_due(pool, HOURLY)

    assert [got.status for got in chat.got] in ([200, 202], [202, 200])
    assert sent == 2
    for got in chat.got:
        assert "red" in text_of(got) or "ci" in text_of(got)
        assert got.headers["webhook-signature"].startswith("v1,")


async def test_a13_names_are_shown_as_they_are(pool: Pool, chat: ChatServer) -> None:
    """A name neither links nor calls a channel."""
    for form in ("slack", "teams"):
        await create_webhook(pool, ADMIN, KEYS, RULES, url=f"{chat.url}/{form}", events=EVENTS, form=form)
    await write(pool, "subscription.pending", SUBSCRIPTION | {"account": "<!channel> & [x](http://x)"})

    await send_due(pool, HOURLY)

    texts = {got.status: text_of(got) for got in chat.got}
    assert "<!channel>" not in texts[200]
    assert "&lt;!channel&gt; &amp; [x](http://x) has requested small" in texts[200]
    assert "<!channel> & [x](http://x) has requested small" in texts[202]


async def test_a13_the_form_is_a_field_of_webhooks(admin: httpx2.AsyncClient) -> None:
    fields = {"url": "https://hooks.slack.com/services/T0/B0/planted", "events": ["subscription.pending"]}

    plain = await admin.post(PATH, json={"url": "https://hooks.example.com", "events": ["subscription.pending"]})
    made = await admin.post(PATH, json=fields | {"format": "slack"})
    path = f"{PATH}/{made.json()['id']}"
    changed = await admin.patch(path, json={"format": "teams", "url": fields["url"] + "2"})
    before = (await admin.get("/api/v1/admin/audit", params={"target_kind": "webhook"})).text
    await admin.delete(path)

    assert (plain.json()["format"], made.json()["format"], changed.json()["format"]) == ("standard", "slack", "teams")
    details = check_error(await admin.post(PATH, json=fields | {"format": "discord"}), 422, "validation_failed")
    assert "format" in str(details)
    # The URL of a chat service is a secret: it lets anybody post.
    audited = (await admin.get("/api/v1/admin/audit", params={"target_kind": "webhook"})).text
    assert "planted" not in before + audited
    assert "https://hooks.slack.com/…" in before


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 413, 415, 422])
async def test_a13_a_permanent_4xx_ends_at_the_first_try_and_its_answer_is_kept(
    admin: httpx2.AsyncClient, pool: Pool, hook: WebhookServer, status: int
) -> None:
    await create_webhook(pool, ADMIN, KEYS, RULES, url=hook.url, events=EVENTS)
    await write(pool, "subscription.denied", SUBSCRIPTION)
    hook.statuses, hook.answer = [status] * 5, b"no_text\r\n\x1b[31m" + "é".encode() * 300

    assert await send_due(pool, HOURLY) == 0
    assert await send_due(pool, HOURLY) == 0

    (row,) = await deliveries_of(admin)
    assert (row["status"], row["tries"], row["next_try_at"]) == ("failed", 1, None)
    assert row["last_error"] == f"The receiver answered with status {status}."
    assert row["last_status"] == status
    assert row["last_answer"] == ("no_text [31m" + "é" * 300)[:200]
    assert len(hook.got) == 1


@pytest.mark.parametrize("status", [*sorted(PASSING_4XX), 302, 500, 503])
async def test_a13_what_may_pass_is_tried_again(
    admin: httpx2.AsyncClient, pool: Pool, hook: WebhookServer, status: int
) -> None:
    await create_webhook(pool, ADMIN, KEYS, RULES, url=hook.url, events=EVENTS)
    await write(pool, "subscription.denied", SUBSCRIPTION)
    hook.statuses, hook.answer = [status], b"busy"

    await send_due(pool, HOURLY)
    (waits,) = await deliveries_of(admin)
    await pool.execute("UPDATE deliveries SET next_try_at = now()")
    hook.statuses, hook.answer = [200], b"taken"
    await send_due(pool, HOURLY)

    assert (waits["status"], waits["last_status"], waits["last_answer"]) == ("waiting", status, "busy")
    (row,) = await deliveries_of(admin)
    assert (row["status"], row["tries"], row["last_error"]) == ("delivered", 2, None)
    assert (row["last_status"], row["last_answer"]) == (200, "taken")


@pytest.mark.parametrize(
    ("head", "body", "answer"),
    [
        ("Content-Length: 100", b"a beginning", "a beginning"),
        ("Content-Length: 4", b"\x00abc", None),
        ("Content-Encoding: gzip\r\nContent-Length: 3", b"abc", None),
        ("Content-Length: 0", b"", None),
        ("Content-Length: 90000000", b"x" * 900_000, "x" * 200),
    ],
)
async def test_a13_an_answer_that_is_long_or_never_ends_holds_nothing_up(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, head: str, body: bytes, answer: str | None
) -> None:
    """The status counts, whatever comes after it."""
    monkeypatch.setattr(channels, "ANSWER_S", 0.2)

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode() + body)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await create_webhook(pool, ADMIN, KEYS, RULES, url=f"http://127.0.0.1:{port}/", events=EVENTS)
    await write(pool, "subscription.denied", SUBSCRIPTION)

    assert await send_due(pool, HOURLY) == 1

    server.close()
    assert await pool.fetchval("SELECT last_answer FROM deliveries") == answer


async def test_a13_a_test_message_by_http(admin: httpx2.AsyncClient, pool: Pool, chat: ChatServer) -> None:
    urls = {"slack": f"{chat.url}/slack", "teams": f"{chat.url}/teams", "standard": f"{chat.url}/slack"}
    answers = {}
    for form, url in urls.items():
        events = ["subscription.pending"]
        made = (await admin.post(PATH, json={"url": url, "events": events, "format": form})).json()
        await admin.patch(f"{PATH}/{made['id']}", json={"enabled": False})
        answers[form] = await admin.post(f"{PATH}/{made['id']}/test")
    await pool.execute("UPDATE deliveries SET next_try_at = now()")
    await pool.execute("UPDATE webhooks SET enabled = true")
    again = await send_due(pool, HOURLY)

    assert [answer.status_code for answer in answers.values()] == [200] * 3
    got = {form: answer.json() for form, answer in answers.items()}
    assert {form: (row["status"], row["last_status"], row["last_answer"]) for form, row in got.items()} == {
        "slack": ("delivered", 200, "ok"),
        "teams": ("delivered", 202, None),
        "standard": ("failed", 400, "no_text"),
    }
    assert {row["event"] for row in got.values()} == {"webhook.test"}
    # Each once, and none is repeated.
    assert (len(chat.got), again) == (3, 0)
    audited = await pool.fetch("SELECT target_id FROM audit_logs WHERE action = 'webhook.test'")
    assert [row["target_id"] for row in audited] == ["1", "2", "3"]
    check_error(await admin.post(f"{PATH}/99/test"), 404, "not_found")


async def test_a13_only_admins_send_tests_and_only_to_allowed_addresses(admin: httpx2.AsyncClient, pool: Pool) -> None:
    made = await admin.post(PATH, json={"url": "https://10.0.0.1/x", "events": ["subscription.pending"]})
    path = f"{PATH}/{made.json()['id']}/test"

    failed = (await admin.post(path)).json()

    assert (failed["status"], failed["last_status"]) == ("failed", None)
    assert "not public" in failed["last_error"]
    for role in ("user", "admin-readonly"):
        token = await make_token(pool, await make_user(pool, role=role))
        refused = await admin.post(path, headers={"authorization": f"Bearer {token.secret}"})
        check_error(refused, 403, "forbidden")


async def test_a13_commands_set_the_form_and_send_a_test(
    pool: Pool, database: Database, chat: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = {"DATABASE_URL": database.app_url, "SECRET_KEYS": SECRET_KEYS, "WEBHOOK_ALLOW_HTTP": "true"}
    env["WEBHOOK_NETWORKS"] = "127.0.0.0/8"
    for name, value in env.items():
        monkeypatch.setenv(f"LITEMAAS_{name}", value)

    async def run(*command: str) -> tuple[int, str]:
        done = await asyncio.to_thread(CliRunner().invoke, build_app([command[0]]), command)
        return done.exit_code, done.stdout

    made = await run("webhooks", "create", "--url", f"{chat.url}/slack", "--event", "team.invited", "--json")
    webhook = str(json.loads(made[1])["id"])
    failed = await run("webhooks", "test", webhook)
    changed = await run("webhooks", "update", webhook, "--format", "slack", "--json")
    taken = await run("webhooks", "test", webhook)
    as_json = await run("webhooks", "test", webhook, "--json")
    listed = await run("deliveries", "list")

    assert json.loads(made[1])["format"] == "standard"
    assert failed == (1, "It failed: The receiver answered with status 400. It answered: no_text\n")
    assert json.loads(changed[1])["format"] == "slack"
    assert taken == (0, "The receiver took the test message. It answered: ok\n")
    assert (json.loads(as_json[1])["status"], json.loads(as_json[1])["last_answer"]) == ("delivered", "ok")
    assert "400 no_text" in listed[1]


@pytest.mark.parametrize(
    ("answer", "status", "kept"),
    [
        ("550 5.1.1 no such person", "failed", (550, "5.1.1 no such person")),
        ("550 5.7.1 relaying denied", "waiting", (550, "5.7.1 relaying denied")),
        ("450 4.2.1 try later", "waiting", (450, "4.2.1 try later")),
    ],
)
async def test_a13_an_address_that_does_not_exist_ends_at_the_first_try(
    admin: httpx2.AsyncClient, pool: Pool, answer: str, status: str, kept: tuple[int, str]
) -> None:
    user = await make_user(pool)
    await make_team(pool, user)
    await pool.execute(
        "INSERT INTO deliveries (channel, user_id, event, payload) VALUES ('email', $1, 'subscription.denied', $2)",
        user.id,
        json.dumps(SUBSCRIPTION),
    )
    async with SMTPServer() as box:
        box.refuses_recipients = answer
        mail = MailServer(SecretStr(box.url), "LiteMaaS <litemaas@example.com>")
        await send_due(pool, Sender(keys=KEYS, mail=mail, pauses=(timedelta(hours=1),)))

    (row,) = await deliveries_of(admin)
    assert (row["status"], row["tries"]) == (status, 1)
    assert (row["last_status"], row["last_answer"]) == kept


def test_a13_every_form_has_a_test_here() -> None:
    assert set(get_args(Format)) == {"standard", "slack", "teams"}
