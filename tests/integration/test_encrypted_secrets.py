"""Everything encrypted and signed with LITEMAAS_SECRET_KEYS survives a rotation and is re-encrypted by a command."""

import asyncio
import json
from typing import Any

import httpx2
import pytest
from admin_client import LOGIN, SECRET_KEYS, check_error, settings_for
from conftest import Database
from factories import ADMIN, make_user
from identity_providers import ADMIN_URL, PLANTED_SECRET, FakeProvider, log_in
from typer.testing import CliRunner

from admin_api.cli.app import build_app
from admin_api.encryption import EncryptionError, SecretKeys
from admin_api.main import create_app
from admin_api.operations.maintenance.secrets import rotate_secrets
from admin_api.operations.notifications.channels import PURPOSE
from admin_api.operations.notifications.webhook_urls import WebhookURLRules
from admin_api.operations.notifications.webhooks import create_webhook
from gateway.storage.postgres import Pool

ONE, TWO = SECRET_KEYS, "2:" + "fedcba9876543210" * 4
OLD, BOTH, NEW = (SecretKeys.parse(text) for text in (ONE, f"{ONE},{TWO}", TWO))
ME = "/api/v1/users/me"


async def make(pool: Pool, keys: SecretKeys = OLD) -> str:
    fields: dict[str, Any] = {"url": "https://hooks.example.com/x", "events": ["subscription.denied"]}
    return (await create_webhook(pool, ADMIN, keys, WebhookURLRules(), **fields)).secret


async def open_all(pool: Pool, keys: SecretKeys) -> list[str]:
    rows = await pool.fetch("SELECT id, secret FROM webhooks ORDER BY id")
    return [keys.decrypt(row["secret"], purpose=PURPOSE, row=row["id"]).decode() for row in rows]


async def run_command(database: Database, secret_keys: str, patch: pytest.MonkeyPatch, *arguments: str) -> Any:
    patch.setenv("LITEMAAS_DATABASE_URL", database.app_url)
    patch.setenv("LITEMAAS_SECRET_KEYS", secret_keys)
    done = await asyncio.to_thread(CliRunner().invoke, build_app(["secrets"]), ["secrets", *arguments])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


class Replica:
    """An admin API with these keys, and a browser; several share one database."""

    def __init__(self, database: Database, secret_keys: str, issuer: str, cookies: httpx2.Cookies) -> None:
        self._app = create_app(
            settings_for(
                database.app_url,
                secret_keys=secret_keys,
                admin_url=ADMIN_URL,
                oidc_issuer=issuer,
                oidc_client_id="litemaas",
                oidc_client_secret=PLANTED_SECRET,
            )
        )
        self._cookies = cookies

    async def __aenter__(self) -> httpx2.AsyncClient:
        self._lifespan = self._app.router.lifespan_context(self._app)
        await self._lifespan.__aenter__()
        transport = httpx2.ASGITransport(app=self._app)
        self.browser = httpx2.AsyncClient(transport=transport, base_url=ADMIN_URL, cookies=self._cookies)
        return self.browser

    async def __aexit__(self, *cause: Any) -> None:
        await self.browser.aclose()
        await self._lifespan.__aexit__(*cause)


async def test_rotation_reencrypts_everything_and_the_old_key_can_be_removed(pool: Pool) -> None:
    made = [await make(pool), await make(pool), await make(pool, BOTH)]

    assert await rotate_secrets(pool, ADMIN, BOTH) == 2
    assert await rotate_secrets(pool, ADMIN, BOTH) == 0
    assert await open_all(pool, NEW) == made


async def test_rotation_with_a_wrong_key_changes_nothing(pool: Pool) -> None:
    made = [await make(pool), await make(pool)]

    with pytest.raises(EncryptionError, match="version 1"):
        await rotate_secrets(pool, ADMIN, NEW)

    assert await open_all(pool, OLD) == made


async def test_stored_responses_are_reencrypted(
    admin: httpx2.AsyncClient, database: Database, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await make_user(pool)
    path, key = f"/api/v1/users/{user.id}/tokens", {"idempotency-key": "k"}
    made = await admin.post(path, json={}, headers=key)
    # As an earlier version left one, which nobody can open: it is in nobody's way.
    await pool.execute(
        "INSERT INTO idempotency_keys (caller, key, request_hash, status, answer) "
        "SELECT caller, 'of before', request_hash, 201, decode('00017f', 'hex') FROM idempotency_keys"
    )

    rotated = await run_command(database, f"{ONE},{TWO}", monkeypatch, "rotate", "--json")
    again = []
    for keys in (TWO, "3:" + "0f1e2d3c4b5a6978" * 4):
        app = create_app(settings_for(database.app_url, secret_keys=keys))
        transport = httpx2.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="http://a") as http,
        ):
            again.append(await http.post(path, json={}, headers=LOGIN | key))

    assert rotated == {"sealed_anew": 1}
    assert again[0].json() == made.json()
    check_error(again[1], 409, "conflict")
    assert await pool.fetchval("SELECT count(*) FROM personal_tokens") == 1


async def test_a_stored_response_moved_to_another_idempotency_key_is_not_returned(
    admin: httpx2.AsyncClient, pool: Pool
) -> None:
    user = await make_user(pool)
    path = f"/api/v1/users/{user.id}/tokens"
    await admin.post(path, json={}, headers={"idempotency-key": "a"})
    await pool.execute("UPDATE idempotency_keys SET key = 'b'")

    check_error(await admin.post(path, json={}, headers={"idempotency-key": "b"}), 409, "conflict")


async def test_sessions_and_logins_survive_a_rotation_and_end_with_the_old_key(database: Database) -> None:
    cookies, seen = httpx2.Cookies(), []
    async with FakeProvider() as provider:
        async with Replica(database, ONE, provider.url, cookies) as browser:
            await log_in(browser)
            cookies.update(browser.cookies)
            # One more login is in progress while the keys change.
            away = await browser.get("/api/auth/login")
            cookies.update(browser.cookies)
        async with httpx2.AsyncClient() as elsewhere:
            back = (await elsewhere.get(away.headers["location"])).headers["location"].removeprefix(ADMIN_URL)
        async with Replica(database, TWO, provider.url, cookies) as browser:
            seen += [(await browser.get(ME)).status_code, (await browser.get(back)).status_code]
        async with Replica(database, f"{ONE},{TWO}", provider.url, cookies) as browser:
            seen += [(await browser.get(ME)).status_code, (await browser.get(back)).status_code]

    assert seen == [401, 400, 200, 302]


async def test_key_peppers_do_not_authenticate_sessions(database: Database) -> None:
    """A new pepper neither ends nor authenticates sessions."""
    cookies = httpx2.Cookies()
    async with FakeProvider() as provider:
        async with Replica(database, ONE, provider.url, cookies) as browser:
            await log_in(browser)
            cookies.update(browser.cookies)
        secret_of_peppers = "1:" + "ab" * 32
        assert settings_for(database.app_url).key_peppers.get_secret_value() == secret_of_peppers
        session = cookies["litemaas_session"].partition(".")[0]
        forged = SecretKeys({1: bytes.fromhex("ab" * 32)}).sign(session, purpose="session cookie")
        async with Replica(database, ONE, provider.url, httpx2.Cookies()) as browser:
            answer = await browser.get(ME, headers={"cookie": f"litemaas_session={session}.{forged}"})

    check_error(answer, 401, "not_authenticated")
