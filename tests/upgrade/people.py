"""Programs and people at the admin API during an upgrade: none of their requests may fail, and all logins go on."""

import asyncio
from collections import Counter
from typing import Any, Final

import httpx2
from admin_client import LOGIN
from browser_users import BrowserUser
from callers import Caller
from end_to_end.asking import CHAT
from portal.visitors import Visitor

from upgrade.site import MODELS, Site

KEYS: Final = "/api/v1/api-keys"
# What both versions list.
LISTS: Final = (
    "/api/v1/alerts", KEYS, "/api/v1/limits", "/api/v1/models", "/api/v1/prices?model=demo-chat",
    "/api/v1/subscriptions", "/api/v1/teams", "/api/v1/usage", "/api/v1/usage/summary", "/api/v1/users",
    "/api/v1/webhooks",
    "/api/v1/admin/audit", "/api/v1/admin/deliveries", "/api/v1/admin/models/syncs", "/api/v1/admin/settings",
)  # fmt: skip
PAGES: Final = ("/home", "/api-keys", "/usage", "/limits")
PAUSE_S: Final = 0.2


class People:
    """Requests one after the other, through the load balancer, until stopped."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._token: dict[str, str] = {}
        self._is_on = True
        self.browsers: list[BrowserUser] = []
        self.requests = 0
        self.failed: Counter[str] = Counter()
        self.keys: list[tuple[int, str]] = []  # made and not revoked
        self._revoked: list[str] = []
        self._client = self._new_client()
        self._task: asyncio.Task[None] | None = None

    async def make_caller(self, email: str) -> Caller:
        """A user with subscriptions without limits, and a key."""
        user = await self._ask("POST", "/api/v1/users", 201, LOGIN, json={"email": email})
        for model in MODELS:
            await self._ask("POST", "/api/v1/subscriptions", 201, LOGIN, json={"user": email, "model": model})
        key = await self._ask("POST", KEYS, 201, LOGIN, json={"user": email, "models": MODELS})
        account_id = await self._site.pool.fetchval("SELECT account_id FROM api_keys WHERE id = $1", key["id"])
        caller = Caller(
            url=self._site.gateway_url, key=key["key"], key_id=key["id"], account_id=account_id, user_id=user["id"],
            email=email, http=self._site.http, pool=self._site.pool,
        )  # fmt: skip
        await caller.remove_subscription_limits()
        return caller

    async def begin(self, email: str) -> None:
        """Of a user that is there."""
        made = await self._ask("POST", f"/api/v1/users/{email}/tokens", 201, LOGIN, json={})
        self._token = {"authorization": f"Bearer {made['token']}"}
        self._task = asyncio.create_task(self._keep_asking())

    def _new_client(self) -> httpx2.AsyncClient:
        # A connection for each request: a load balancer of TCP cannot move an open one to another program.
        return httpx2.AsyncClient(
            base_url=self._site.admin_url,
            limits=httpx2.Limits(max_keepalive_connections=0),
            timeout=30,
            follow_redirects=True,
            trust_env=False,
        )

    def take_failed(self) -> dict[str, int]:
        """Since the last time."""
        failed, self.failed = self.failed, Counter()
        return dict(failed)

    async def log_in(self, email: str) -> None:
        """A new person, whose session stays open."""
        person = BrowserUser(email, self._new_client())
        await person.log_in()
        self.browsers.append(person)

    async def make_key(self, email: str) -> None:
        """By the admin API that is there now."""
        body = {"user": email, "models": ["demo-chat"]}
        made = await self._ask("POST", KEYS, 201, LOGIN, json=body)
        if made:
            self.keys.append((made["id"], made["key"]))

    async def revoke_key(self) -> None:
        """The oldest."""
        key_id, secret = self.keys.pop(0)
        await self._ask("DELETE", f"{KEYS}/{key_id}", 200, LOGIN)
        self._revoked.append(secret)

    async def set_limit(self, key_id: int, kind: str, **about: Any) -> None:
        """Of the key."""
        await self._ask("PUT", "/api/v1/limits", 200, LOGIN, json={"level": "key", "id": key_id, "kind": kind} | about)

    async def wrong_keys(self) -> list[str]:
        """Of all keys so far: one that is refused though it should work, or works though it was revoked."""
        found = []
        for secrets, wanted in (([secret for _, secret in self.keys], 200), (self._revoked, 401)):
            for secret in secrets:
                body = {"json": CHAT.fields("Hello [tokens=1]"), "headers": {"authorization": f"Bearer {secret}"}}
                async with self._site.http.post(self._site.gateway_url + CHAT.path, **body) as answer:
                    if answer.status != wanted:
                        found.append(f"{answer.status} instead of {wanted}")
        return found

    async def stop(self) -> None:
        self._is_on = False
        if self._task:
            await self._task

    async def read_lists(self) -> None:
        """Everything there is, whichever version has written it."""
        for path in LISTS:
            await self._ask("GET", path, 200, LOGIN)

    async def use_the_portal(self, model: str) -> None:
        """With the sessions there are: pages, and a call in the playground. Only this version has them."""
        for person in self.browsers:
            visitor = Visitor(person.browser)
            for path in PAGES:
                await visitor.open(path)
        await visitor.open(f"/models/{model}")
        if "/subscriptions" in visitor.actions():
            await visitor.submit("/subscriptions")
        await visitor.open("/playground")
        await visitor.submit("/playground", model=model, prompt="Hello [tokens=2]")

    async def write_what_is_new(self, model: str) -> None:
        """Rows that the release does not know: an archived team, and a price that an admin dated."""
        team = await self._ask("POST", "/api/v1/teams", 201, LOGIN, json={"name": "crew"})
        await self._ask("POST", f"/api/v1/teams/{team['id']}/archive", 200, LOGIN)
        price = {"model": model, "input_per_million_usd": "1.10", "output_per_million_usd": "2.10"}
        await self._ask("POST", "/api/v1/prices", 201, LOGIN, json=price)

    async def sync_models(self) -> None:
        """As the admin API does every five minutes."""
        await self._ask("POST", "/api/v1/models/sync", 200, LOGIN)

    async def close(self) -> None:
        """May follow `stop`."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for client in (self._client, *(person.browser for person in self.browsers)):
            await client.aclose()

    async def _keep_asking(self) -> None:
        while self._is_on:
            await self._ask("GET", "/api/v1/users", 200, LOGIN)
            await self._ask("GET", "/api/v1/users/me", 200, self._token)
            for person in list(self.browsers):
                self.requests += 1
                me = await person.browser.get("/api/v1/users/me")
                if me.status_code != 200 or me.json()["email"] != person.email:
                    self.failed[f"session of {person.email}: {me.status_code}"] += 1
            await asyncio.sleep(PAUSE_S)

    async def _ask(self, method: str, path: str, wanted: int, headers: dict[str, str], **sent: Any) -> Any:
        self.requests += 1
        try:
            answer = await self._client.request(method, path, headers=headers, **sent)
        except httpx2.TransportError as exc:
            self.failed[f"{method} {path}: {exc!r}"] += 1
            return None
        if answer.status_code != wanted:
            self.failed[f"{method} {path}: {answer.status_code} {answer.text[:200]}"] += 1
            return None
        return answer.json() if answer.content else {}
