"""Secrets are planted everywhere, many routes are called, with errors too; then all written data is searched."""

import asyncio
import base64
import json
import re
from itertools import product
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import httpx2
import pytest
from callers import chat_body
from factories import ADMIN, make_key, make_subscription, make_token, make_user
from gateways import Backends, wait_until
from notification_servers import WebhookServer
from pydantic import SecretStr

from admin_api.main import create_app, sender_of
from admin_api.operations.models.sync import LiteLLM
from admin_api.operations.notifications.webhook_urls import WebhookURLRules
from admin_api.settings import Settings
from deploy.embedded.processes import free_port
from deploy.embedded.programs import Program
from gateway.storage.postgres import Pool

# Each in the format of its setting, with a text to find it.
PLANTED = {
    "LITEMAAS_ADMIN_TOKEN": "planted-1-admin-token-0123456789abcdef",
    "LITEMAAS_LITELLM_API_KEY": "sk-planted-2-key-of-litellm-0123456789",
    "LITEMAAS_KEY_PEPPERS": "1:" + "ab" * 32,
    "LITEMAAS_SECRET_KEYS": "1:" + "5e77e45ec4e75678d9a1b2c3f4051627" * 2,
    "LITEMAAS_SMTP_URL": "smtp://someone:planted-3-smtp-password@127.0.0.1:1",
}
PROVIDER_KEY = "sk-planted-5-key-of-a-provider-0123456789"
DATABASE_PASSWORD = "planted-4-database-password"
# The search also finds halves of secrets.
NEEDLES = {
    "admin token": "planted-1-admin-token",
    "litellm key": "planted-2-key-of-litellm",
    "pepper": "ab" * 16,
    "sealing key": "5e77e45ec4e75678d9a1b2c3",
    "smtp password": "planted-3-smtp-password",
}


class Written:
    """Responses to callers who must not see the secrets."""

    def __init__(self, needles: dict[str, str]) -> None:
        self.needles, self.found, self.searched = needles, [], 0

    def search(self, where: str, text: str) -> None:
        self.searched += len(text)
        for name, needle in self.needles.items():
            forms = {needle, needle.encode().hex(), base64.b64encode(needle.encode()).decode().rstrip("=")[:-2]}
            self.found += [f"{name} in {where}" for form in forms if form in text]


@pytest.fixture
def programs(backends: Backends, tmp_path: Path) -> list[Program]:
    environment = backends.environment(
        **PLANTED,
        LITEMAAS_LOG_LEVEL="debug",
        LITEMAAS_MAIL_FROM="litemaas@example.com",
        LITEMAAS_MODEL_SYNC_INTERVAL_S="0",
        LITEMAAS_ALERT_INTERVAL_S="0.2",
        LITEMAAS_WEBHOOK_ALLOW_HTTP="true",
        LITEMAAS_WEBHOOK_NETWORKS="127.0.0.0/8",
        LITEMAAS_STATE_DIR=str(tmp_path / "state"),
    )
    started = []
    for name in ("gateway", "admin-api"):
        program = Program(tmp_path / name, name, free_port())
        program.env = environment
        program.launch()
        started.append(program)
    return started


async def try_admin_routes(url: str, secrets: dict[str, str], written: Written) -> int:
    """Calls every route with every login, with secrets in wrong places; returns the number of calls."""
    about = create_app(Settings.model_validate({"database_url": "postgresql://a:b@c/d", "litellm_urls": "http://x",
        "litellm_api_key": "x", "key_peppers": PLANTED["LITEMAAS_KEY_PEPPERS"],
        "secret_keys": PLANTED["LITEMAAS_SECRET_KEYS"],
        "admin_token": PLANTED["LITEMAAS_ADMIN_TOKEN"]})).openapi()  # fmt: skip
    routes = [(method, path) for path, methods in about["paths"].items() for method in methods]
    fields = ("name", "email", "models", "url", "amount", "password")
    wrong: list[Any] = [None, dict.fromkeys(fields, secrets["api key"]),
                        [secrets["webhook secret"]]]  # fmt: skip
    calls = 0
    async with httpx2.AsyncClient(base_url=url, timeout=30, trust_env=False) as http:
        for (method, path), body, login in product(routes, wrong, secrets.values()):
            filled = re.sub(r"\{\w+\}", "999999", path)
            answer = await http.request(method.upper(), filled, json=body, headers={"authorization": f"Bearer {login}"})
            calls += 1
            written.search(f"the answer of {method} {path}", f"{answer.headers} {answer.text}")
    return calls


async def try_gateway(url: str, http: aiohttp.ClientSession, secrets: dict[str, str], written: Written) -> None:
    for secret, fields in product(secrets.values(), ({}, {"model": secrets["api key"][:40]}, {"user": 7}, {"n": "x"})):
        for headers in ({"authorization": f"Bearer {secret}"}, {"x-api-key": secret}):
            async with http.post(
                f"{url}/v1/chat/completions", json=chat_body("Hello") | fields, headers=headers
            ) as got:
                text = await got.text()
                if got.status < 400 or "model" not in fields:
                    written.search("an answer of the gateway", f"{got.headers} {text}")


async def search_tables(owner_url: str, written: Written) -> int:
    """Searches every row of every table as text, where bytes are hex."""
    connection = await asyncpg.connect(owner_url)
    tables = await connection.fetch(
        "SELECT c.oid::regclass::text AS name FROM pg_class c WHERE relkind IN ('r', 'p') AND NOT relispartition "
        "AND relnamespace = current_schema()::regnamespace"
    )
    for table in tables:
        for row in await connection.fetch(f"SELECT t::text AS row FROM {table['name']} AS t"):  # noqa: S608  a name of the schema
            written.search(f"table {table['name']}", row["row"])
    await connection.close()
    return len(tables)


def search_files(folder: Path, written: Written) -> int:
    """Searches logs and journals; returns the number of logs that are not empty."""
    logs = 0
    for path in folder.rglob("*"):
        if path.is_file():
            written.search(str(path), path.read_text(errors="replace"))
            logs += path.suffix == ".log" and path.stat().st_size > 0
    return logs


async def test_no_secret_is_in_logs_tables_or_responses(
    backends: Backends, pool: Pool, http: aiohttp.ClientSession, programs: list[Program], tmp_path: Path
) -> None:
    gateway, admin_api = programs
    try:
        user = await make_user(pool)
        await make_subscription(pool, user, "demo-chat")
        key = await make_key(pool, user, "demo-chat")
        token = await make_token(pool, user)
        for program in programs:
            await asyncio.to_thread(program.wait)
        async with WebhookServer() as hook:
            login = {"authorization": f"Bearer {PLANTED['LITEMAAS_ADMIN_TOKEN']}"}
            options = {"url": hook.url, "events": ["limit.threshold_reached"], "user": user.email}
            async with http.post(f"{admin_api.url}/api/v1/webhooks", json=options, headers=login) as made:
                webhook = await made.json()
            kept = f"{admin_api.url}/api/v1/admin/provider-keys/DEMO"
            async with http.put(kept, json={"provider": "demo", "value": PROVIDER_KEY}, headers=login) as put:
                assert put.status == 201
            limit = {"level": "key", "id": key.row.id, "kind": "requests", "window": "day", "amount": 1}
            async with http.put(f"{admin_api.url}/api/v1/limits", json=limit, headers=login) as put:
                assert put.status == 200
            secrets = {"admin token": PLANTED["LITEMAAS_ADMIN_TOKEN"], "api key": key.secret, "token": token.secret,
                       "webhook secret": webhook["secret"], "provider key": PROVIDER_KEY}  # fmt: skip
            # Keys show their last four digits; the digits before them are secret, and so is half of them.
            needles = NEEDLES | {name: secret[8:30] for name, secret in secrets.items() if name != "admin token"}
            written = Written(needles)
            # Alerts are sent in between: the webhook is signed, the mail server does not respond.
            await try_gateway(gateway.url, http, secrets, written)
            calls = await try_admin_routes(admin_api.url, secrets, written)

            async def is_sent() -> bool:
                return bool(hook.got)

            await wait_until(is_sent, "the alert", timeout_s=30)
            for got in hook.got:
                written.search("a webhook's message", json.dumps(got.headers) + got.body.decode())
            for program in programs:
                async with http.get(program.metrics_url) as scraped:
                    text = await scraped.text()
                assert "litemaas_" in text
                written.search("metrics", text)
    finally:
        for program in programs:
            program.stop()
    tables = await search_tables(backends.database.owner_url, written)
    logs = search_files(tmp_path, written)

    assert written.found == []
    assert calls > 100
    assert tables > 15
    assert logs > 0


def test_the_search_finds_a_secret_in_every_form() -> None:
    for form in ("planted-3-smtp-password", b"planted-3-smtp-password".hex(),
                 base64.b64encode(b"planted-3-smtp-password").decode()):  # fmt: skip
        written = Written({"smtp password": "planted-3-smtp-password"})
        written.search("here", f"before {form} after")
        assert written.found == ["smtp password in here"]


def test_settings_and_their_errors_show_no_secret() -> None:
    about = {name.removeprefix("LITEMAAS_").lower(): value for name, value in PLANTED.items()}
    about |= {"database_url": f"postgresql://a:{DATABASE_PASSWORD}@c/d", "litellm_urls": "http://x", "mail_from": "a@b"}
    settings = Settings.model_validate(about)
    litellm = LiteLLM(urls=["http://x"], api_key=SecretStr(PLANTED["LITEMAAS_LITELLM_API_KEY"]))
    written = Written(NEEDLES | {"database password": DATABASE_PASSWORD})

    for thing in (
        settings,
        sender_of(settings, WebhookURLRules()),
        settings.encryption_keys,
        settings.peppers,
        litellm,
        ADMIN,
    ):
        written.search(type(thing).__name__, repr(thing) + str(thing))
    for name in about:
        for bad in (about[name] + "x", about[name][:-1], "\x00" + about[name], [about[name]]):
            try:
                Settings.model_validate(about | {name: bad})
            except ValueError as error:
                written.search(f"the error of {name}", str(error))

    assert written.found == []
