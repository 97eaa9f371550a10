"""What users and admins do with LiteMaaS, from the first login to a suspension, over HTTP in the running demo."""

import asyncio
import base64
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import httpx2
import pytest
from browser_users import BrowserUser
from demo_process import DemoProcess
from notification_servers import ReceivedRequest, WebhookServer

OPEN, RESTRICTED = "demo-chat", "demo-chat-large"
ADMIN, ANN = "admin@example.com", "ann@example.com"
EVENTS: Final = ["limit.threshold_reached", "subscription.pending", "subscription.suspended"]
GRACE_S: Final = 3
# The promises: usage is visible within 5 s, and a gateway applies a change within 1 s.
FRESH_S, HEARD_S = 5.0, 1.0
TIMEOUT_S: Final = 20.0


@dataclass(slots=True)
class Story:
    """The users, the gateway, the webhook receiver, and the secrets that were shown."""

    admin: BrowserUser
    ann: BrowserUser
    gateway: httpx2.AsyncClient
    hook: WebhookServer
    secrets: dict[str, str]
    webhook: int = 0

    async def call(self, key: str, *, model: str = OPEN, tokens: int = 1) -> httpx2.Response:
        """One call of an application on a new connection, accepted by any worker."""
        asked = {"role": "user", "content": f"Hello [tokens={tokens}] [delay=0] [rate=0]"}
        body = {"model": model, "messages": [asked], "max_tokens": tokens}
        headers = {"authorization": f"Bearer {key}", "connection": "close"}
        return await self.gateway.post("/chat/completions", json=body, headers=headers)

    async def used(self, *, calls: int) -> dict[str, Any]:
        """The usage shown to Ann, once it has so many calls."""
        reported: dict[str, Any] = {}

        async def is_reported() -> bool:
            nonlocal reported
            reported = await self.ann.get("/usage/summary")
            return bool(reported["calls"] >= calls)

        await wait_until(is_reported, f"usage of {calls} calls", FRESH_S)
        assert reported["calls"] == calls
        return reported

    def reported(self, event: str) -> list[dict[str, Any]]:
        """The accepted webhooks of this kind."""
        messages = [json.loads(got.body) for got in self.hook.accepted]
        return [message["data"] for message in messages if message["type"] == event]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with DemoProcess(tmp_path_factory.mktemp("story")) as running:
        yield running.state


@pytest.fixture
async def story(demo: dict[str, Any]) -> AsyncIterator[Story]:
    def open_client(url: str) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=url, follow_redirects=True, timeout=TIMEOUT_S, trust_env=False)

    secrets = {
        name: demo["env"][f"LITEMAAS_{name}"].rpartition(":")[2]
        for name in ("ADMIN_TOKEN", "KEY_PEPPERS", "LITELLM_API_KEY", "OIDC_CLIENT_SECRET", "SECRET_KEYS")
    }
    async with (
        WebhookServer() as hook,
        open_client(demo["admin_url"]) as admin,
        open_client(demo["admin_url"]) as ann,
        open_client(f"{demo['gateway_url']}/v1") as gateway,
    ):
        yield Story(BrowserUser(ADMIN, admin), BrowserUser(ANN, ann), gateway, hook, secrets)


async def wait_until(
    is_it: Callable[[], Awaitable[bool]], what: str, timeout_s: float = TIMEOUT_S, *, pause_s: float = 0.1
) -> None:
    began = time.monotonic()
    while not await is_it():
        assert time.monotonic() - began < timeout_s, f"waited {timeout_s} s for {what}"
        await asyncio.sleep(pause_s)


@pytest.mark.timeout(360)
async def test_users_and_admins_work_from_the_first_login_to_a_suspension(story: Story) -> None:
    await both_log_in(story)
    await the_admin_sets_up_a_model_and_a_webhook(story)
    await ann_browses(story)
    subscription = await ann_subscribes(story)
    await ann_gets_a_restricted_model(story)
    key = await ann_makes_a_key_and_calls(story)
    await a_budget_alerts_once(story, key, subscription)
    new_key = await ann_rotates_her_key(story, key)
    await a_suspension_holds(story, new_key, subscription)
    await every_message_was_sent_once(story)
    await the_audit_log_has_it_all(story)


async def both_log_in(story: Story) -> None:
    assert (await story.admin.browser.get("/api/auth/providers")).json() == {"providers": ["oidc"]}
    assert (await story.ann.browser.get("/api/v1/users/me")).status_code == 401

    roles = {(me["email"], me["role"]) for me in [await story.admin.log_in(), await story.ann.log_in()]}

    assert roles == {(ADMIN, "admin"), (ANN, "user")}
    for person in (story.admin, story.ann):
        story.secrets[f"session of {person.email}"] = person.browser.cookies["litemaas_session"].split(".")[0]


async def the_admin_sets_up_a_model_and_a_webhook(story: Story) -> None:
    assert (await story.ann.expect_error("PATCH", f"/models/{RESTRICTED}", restricted=False))["status"] == 403
    assert (await story.ann.expect_error("POST", "/webhooks", url=story.hook.url, events=EVENTS))["status"] == 403

    await story.admin.change("PATCH", f"/models/{RESTRICTED}", restricted=True)
    made = await story.admin.change("POST", "/webhooks", url=story.hook.url, events=EVENTS)

    story.webhook, story.secrets["webhook"] = made["id"], made["secret"]


async def ann_browses(story: Story) -> None:
    offered = await story.ann.get("/models", search="demo-chat")
    is_restricted = {row["name"]: row["restricted"] for row in offered["rows"]}

    assert is_restricted[OPEN] is False
    assert is_restricted[RESTRICTED] is True
    assert all(row["price"] for row in offered["rows"])
    assert "127.0.0.1" not in json.dumps(offered)


async def ann_subscribes(story: Story) -> int:
    """To the open model: at once."""
    made = await story.ann.change("POST", "/subscriptions", model=OPEN)

    assert made["status"] == "active"
    return int(made["id"])


async def ann_gets_a_restricted_model(story: Story) -> None:
    """She requests it; only an admin can approve it, and does."""
    asked = await story.ann.change("POST", "/subscriptions", model=RESTRICTED)
    path = f"/subscriptions/{asked['id']}"
    assert asked["status"] == "pending"
    assert (await story.ann.expect_error("POST", f"{path}/approve"))["status"] == 403
    assert (await story.ann.expect_error("POST", "/api-keys", models=[RESTRICTED]))["status"] in (409, 422)

    waiting = await story.admin.get("/subscriptions", status="pending")
    assert [(row["id"], row["account_name"]) for row in waiting["rows"]] == [(asked["id"], ANN)]
    await story.admin.change("POST", f"{path}/approve")

    granted = await story.ann.get(path)
    assert granted["status"] == "active"
    assert [(row["to_status"], row["actor"]) for row in granted["history"]] == [("pending", ANN), ("active", ADMIN)]


async def ann_makes_a_key_and_calls(story: Story) -> dict[str, Any]:
    """Both models; she sees what it cost."""
    key: dict[str, Any] = await story.ann.change("POST", "/api-keys", models=[OPEN, RESTRICTED], name="first")
    story.secrets["key"] = key["key"]

    answer = await story.call(key["key"], model=RESTRICTED, tokens=10)
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["completion_tokens"] == 10
    used = await story.used(calls=1)
    assert used["completion_tokens"] == 10
    assert used["cost_nano_usd"] > 0
    by_model = await story.admin.get("/usage/breakdown/model", user=ANN)
    assert [(row["name"], row["calls"]) for row in by_model["groups"]] == [(RESTRICTED, 1)]
    return key


async def a_budget_alerts_once(story: Story, key: dict[str, Any], subscription: int) -> None:
    """A budget of the key in USD, of which two calls are 85 %."""
    before = (await story.used(calls=1))["cost_nano_usd"]
    assert (await story.call(key["key"], tokens=2000)).status_code == 200
    once = (await story.used(calls=2))["cost_nano_usd"]
    budget = (before + 2 * (once - before)) * 100 // 85
    fields = {"level": "key", "id": key["id"], "kind": "cost", "window": "month", "amount_nano_usd": budget}
    await story.admin.change("PUT", "/limits", **fields)

    assert (await story.call(key["key"], tokens=2000)).status_code == 200
    used = await story.used(calls=3)
    await wait_until(lambda: are_reported(story, 1), "the alert")

    (alert,) = story.reported("limit.threshold_reached")
    assert (alert["user"], alert["key_id"], alert["kind"], alert["window"]) == (ANN, key["id"], "cost", "month")
    assert (alert["threshold_percent"], alert["limit_nano_usd"]) == (80, budget)
    assert alert["used_nano_usd"] == used["cost_nano_usd"]
    assert all(is_signed(got, story.secrets["webhook"]) for got in story.hook.accepted)

    # More use, and another limit that reaches its 80 %: once that is reported, this account was checked again.
    assert (await story.call(key["key"])).status_code == 200
    tokens = (await story.used(calls=4))["total_tokens"]
    of_open = tokens * 100 // 85
    fields = {"level": "subscription", "id": subscription, "kind": "tokens", "window": "lifetime", "amount": of_open}
    await story.admin.change("PUT", "/limits", **fields)
    await wait_until(lambda: are_reported(story, 2), "the alert of the second limit")
    kinds = [
        (reported["kind"], reported["threshold_percent"]) for reported in story.reported("limit.threshold_reached")
    ]
    assert kinds == [("cost", 80), ("tokens", 80)]
    rows = (await story.ann.get("/alerts"))["rows"]
    assert [row["cleared_at"] for row in rows] == [None] * 4
    assert sorted((row["kind"], row["threshold_percent"]) for row in rows) == [
        ("cost", 50), ("cost", 80), ("tokens", 50), ("tokens", 80)
    ]  # fmt: skip


async def are_reported(story: Story, count: int) -> bool:
    return len(story.reported("limit.threshold_reached")) >= count


def is_signed(got: ReceivedRequest, secret: str) -> bool:
    """The check of a receiver, as described by standardwebhooks.com."""
    signed = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}.".encode() + got.body
    digest = hmac.digest(base64.b64decode(secret.removeprefix("whsec_")), signed, "sha256")
    return got.headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()


async def ann_rotates_her_key(story: Story, key: dict[str, Any]) -> str:
    """Both keys work, then one."""
    began = time.monotonic()
    new_key: str = (await story.ann.change("POST", f"/api-keys/{key['id']}/rotate", grace_s=GRACE_S))["key"]
    story.secrets["new key"] = new_key

    assert [(await story.call(one)).status_code for one in (key["key"], new_key)] == [200, 200]
    # Not often: what both keys use is of one budget.
    await wait_until(
        lambda: is_refused(story, key["key"], 401), "the end of the old key", GRACE_S + FRESH_S, pause_s=0.5
    )
    assert time.monotonic() - began >= GRACE_S
    assert [(await story.call(one)).status_code for one in (new_key, key["key"])] == [200, 401]
    return new_key


async def is_refused(story: Story, key: str, status: int) -> bool:
    answer = await story.call(key)
    assert answer.status_code in (200, status), answer.text
    return answer.status_code == status


async def a_suspension_holds(story: Story, key: str, subscription: int) -> None:
    """The next call is refused by every worker, and the owner cannot bypass it."""
    path = f"/subscriptions/{subscription}"
    await story.admin.change("POST", f"{path}/suspend", reason="A look at the bill first.")
    await wait_until(lambda: is_refused(story, key, 403), "the suspension", HEARD_S)
    assert [(await story.call(key)).status_code for _ in range(6)] == [403] * 6

    for move in ("cancel", "request-review", "reactivate"):
        refused = await story.ann.expect_error("POST", f"{path}/{move}")
        assert refused["status"] == (403 if move == "reactivate" else 409)
    again = await story.ann.expect_error("POST", "/subscriptions", model=OPEN)
    assert (again["status"], again["details"]["status"]) == (409, "suspended")
    assert (await story.ann.expect_error("POST", "/api-keys", models=[OPEN]))["status"] in (409, 422)

    assert (await story.ann.get(path))["status"] == "suspended"
    assert (await story.call(key)).status_code == 403
    assert (await story.call(key, model=RESTRICTED)).status_code == 200
    await wait_until(lambda: has_reported(story, "subscription.suspended"), "the event of the suspension")
    assert [reported["reason"] for reported in story.reported("subscription.suspended")] == [
        "A look at the bill first."
    ]


async def has_reported(story: Story, event: str) -> bool:
    return bool(story.reported(event))


async def every_message_was_sent_once(story: Story) -> None:
    """The receiver got exactly what the admin sees as sent."""

    async def none_waits() -> bool:
        return not (await story.admin.get("/admin/deliveries", webhook=story.webhook, status="waiting"))["rows"]

    await wait_until(none_waits, "the end of all deliveries")
    rows = (await story.admin.get("/admin/deliveries", webhook=story.webhook))["rows"]
    assert {(row["status"], row["tries"]) for row in rows} == {("delivered", 1)}
    assert sorted(row["message_id"] for row in rows) == sorted(got.headers["webhook-id"] for got in story.hook.got)
    assert sorted(row["event"] for row in rows) == sorted([*EVENTS, "limit.threshold_reached"])


async def the_audit_log_has_it_all(story: Story) -> None:
    """Each step once, with actor and request; no refused step, and no secret."""
    rows = (await story.admin.get("/admin/audit", limit=1000))["rows"][::-1]
    by_people = [(row["actor"], row["action"]) for row in rows if row["actor"] in (ADMIN, ANN)]

    # With the default limits of subscriptions.
    subscribed = [(ANN, "limit.set"), (ANN, "limit.set"), (ANN, "subscription.create")]
    assert by_people == [
        (ADMIN, "user.create"), (ADMIN, "user.link"), (ADMIN, "session.open"),
        (ANN, "user.create"), (ANN, "user.link"), (ANN, "session.open"),
        (ADMIN, "model.update"), (ADMIN, "webhook.create"),
        *subscribed, *subscribed, (ADMIN, "subscription.approve"),
        (ANN, "key.create"), (ADMIN, "limit.set"), (ADMIN, "limit.set"), (ANN, "key.rotate"),
        (ADMIN, "subscription.suspend"),
    ]  # fmt: skip
    # The role that the admin has by their groups.
    assert [row["action"] for row in rows if row["actor"] == "login:oidc"] == ["user.update"]
    for person in (story.admin, story.ann):
        theirs = {row["request_id"] for row in rows if row["actor"] == person.email}
        assert set(person.changes) <= theirs
    assert all(len(secret) >= 32 for secret in story.secrets.values())
    written = [json.dumps(rows), json.dumps(await story.ann.get("/users/me/activity"))]
    written += [
        (await story.admin.browser.get(f"/api/v1/admin/audit/export?format={form}")).text for form in ("csv", "json")
    ]
    assert [name for name, secret in story.secrets.items() if any(secret in text for text in written)] == []
