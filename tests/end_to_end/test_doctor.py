"""`litemaas doctor`: a deployment that is well has no problem; each mistake planted in one is found, with its cure."""

import asyncio
import secrets
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
import redis.asyncio
from admin_client import TOKEN
from certificates import Certificate
from command_line import CommandLine
from conftest import Database, Superuser
from factories import ADMIN, make_key
from gateways import SECRET_KEYS, Backends, GatewayThread
from loopback_servers import LoopbackServer
from notification_servers import SMTPServer, WebhookServer
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from admin_api.encryption import SecretKeys
from admin_api.operations.models import sync
from admin_api.operations.notifications.webhook_urls import WebhookURLRules
from admin_api.operations.notifications.webhooks import create_webhook
from deploy.embedded.postgres import APP, OWNER
from deploy.embedded.processes import free_port
from deploy.embedded.valkey import Valkey
from gateway.storage.postgres import Pool, new_pool

MEMORY: Final = ("--maxmemory", "64mb", "--maxmemory-policy", "noeviction")
MIGRATION: Final = "0061_pre_let_the_app_read_migrations.sql"
HOURS_APART: Final = timedelta(hours=2)


class Issuer(LoopbackServer):
    """The metadata and keys of an identity provider."""

    def __init__(self) -> None:
        self.name: str | None = None
        super().__init__([Route("/.well-known/openid-configuration", self._metadata), Route("/keys", self._keys)])

    async def _metadata(self, _: Request) -> JSONResponse:
        return JSONResponse({"issuer": self.name or self.url, "jwks_uri": f"{self.url}/keys"})

    async def _keys(self, _: Request) -> JSONResponse:
        return JSONResponse({"keys": [{"kty": "RSA"}]})


@asynccontextmanager
async def raw_server(answer: bytes | None, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port of a server that gives this answer to every request; None: it never answers."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n") if answer is not None else await reader.read()
        writer.write(answer or b"")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@dataclass(frozen=True, slots=True)
class Deployment:
    """Its environment, and what tests plant mistakes in."""

    commands: CommandLine
    database: Database
    valkey: Valkey
    pool: Pool
    issuer: Issuer
    folder: Path

    async def findings(self, *arguments: str, code: int, **env: str) -> list[dict[str, Any]]:
        done = await self.commands.run("doctor", "--json", *arguments, **env)
        assert done.code == code, done.out + done.err
        assert done.err == ""
        found: list[dict[str, Any]] = done.any_json()["findings"]
        return found


@pytest.fixture
async def deployment(
    backends: Backends, gateway: GatewayThread, database: Database, tmp_path: Path
) -> AsyncIterator[Deployment]:
    """Well in all parts: a database of its own with the models of LiteLLM, a webhook, a key and a mail server."""
    folder = tmp_path / "state"
    folder.mkdir()
    with Valkey(tmp_path / "valkey", arguments=MEMORY) as valkey:
        async with (
            Issuer() as issuer,
            SMTPServer() as mail,
            WebhookServer() as webhook,
            new_pool(database.app_url, size=2) as pool,
        ):
            there = sync.LiteLLM(urls=[backends.litellm_url], api_key=SecretStr(backends.litellm_key))
            await sync.sync_models(pool, ADMIN, there)
            await make_webhook(pool, webhook.url)
            env = {
                **backends.environment(),
                "LITEMAAS_DATABASE_URL": database.app_url,
                "LITEMAAS_OWNER_DATABASE_URL": database.owner_url,
                "LITEMAAS_REDIS_URL": valkey.url(),
                "LITEMAAS_STATE_DIR": str(folder),
                "LITEMAAS_KEY_PEPPERS": f"1:{secrets.token_hex(32)}",
                "LITEMAAS_ADMIN_TOKEN": TOKEN,
                "LITEMAAS_ADMIN_URL": "http://127.0.0.1:1",
                "LITEMAAS_GATEWAY_URL": gateway.url,
                "LITEMAAS_OIDC_ISSUER": issuer.url,
                "LITEMAAS_OIDC_CLIENT_ID": "litemaas",
                "LITEMAAS_SMTP_URL": mail.url,
                "LITEMAAS_MAIL_FROM": "litemaas@example.com",
                "LITEMAAS_WEBHOOK_ALLOW_HTTP": "true",
                "LITEMAAS_WEBHOOK_NETWORKS": "127.0.0.0/8",
                "LITEMAAS_METRICS_LISTEN": f"127.0.0.1:{free_port()}",
            }
            yield Deployment(CommandLine(env), database, valkey, pool, issuer, folder)


async def make_webhook(pool: Pool, url: str) -> int:
    keys, rules = SecretKeys.parse(SECRET_KEYS), WebhookURLRules(allow_http=True)
    made = await create_webhook(pool, ADMIN, keys, rules, url=url, events=["limit.threshold_reached"])
    return made.webhook.id


async def test_a_deployment_that_is_well_has_no_problem(deployment: Deployment) -> None:
    await make_key(deployment.pool, model="fault-dead-not-there")
    await deployment.pool.execute("UPDATE models SET enabled = false WHERE name = 'fault-dead-not-there'")
    before = await written(deployment)

    found = await deployment.findings(code=0)

    assert [one for one in found if one["status"] == "problem"] == []
    # Nothing listens on the port of the metrics here, and no test raises the limit of open files.
    assert {one["check"] for one in found if one["status"] == "warning"} <= {"metrics", "open files"}
    assert {one["check"] for one in found} == {
        "settings", "postgres", "roles", "migrations", "time zones", "redis", "litellm", "certificates", "peppers",
        "secret keys", "webhooks", "mail", "logins", "gateway", "journal", "open files", "metrics",
    }  # fmt: skip
    assert all(one["cure"] is None for one in found if one["status"] == "ok")
    assert [one["text"] for one in found if "LiteLLM 1.106" in one["text"]], "the version was not read"
    assert await written(deployment) == before


async def written(deployment: Deployment) -> tuple[Any, ...]:
    """What doctor could change: rows, keys of Redis, files."""
    tables = [row["t"] for row in await deployment.pool.fetch(
        "SELECT oid::regclass::text AS t FROM pg_class WHERE relkind = 'r' AND has_table_privilege(oid, 'SELECT') "
        "AND relnamespace = current_schema()::regnamespace ORDER BY t"
    )]  # fmt: skip
    rows = [await deployment.pool.fetchval(f"SELECT count(*) FROM {table}") for table in tables]  # noqa: S608  from the catalog
    async with redis.asyncio.from_url(deployment.valkey.url()) as client:
        return rows, await client.dbsize(), list(deployment.folder.iterdir())


async def test_each_planted_mistake_is_found_with_its_cure(
    deployment: Deployment, superuser: Superuser, backends: Backends, tmp_path: Path
) -> None:
    pool, database = deployment.pool, deployment.database
    await superuser.execute(f"ALTER ROLE {APP} SUPERUSER")
    await superuser.execute(f"ALTER ROLE {OWNER} SUPERUSER")
    await database.execute_as_owner("DELETE FROM schema_migrations WHERE name = $1", MIGRATION)
    await database.execute_as_owner("UPDATE schema_migrations SET sha256 = 'x' WHERE name LIKE '0001%'")
    await make_key(pool, model="gone-model")
    await pool.execute("UPDATE accounts SET time_zone = 'Mars/Olympus'")
    hook = await make_webhook(pool, f"http://127.0.0.1:{free_port()}/hook")
    await pool.execute("UPDATE webhooks SET secret = $2 WHERE id = $1", hook, b"\x80\x07" + b"x" * 40)
    async with redis.asyncio.from_url(deployment.valkey.url()) as client:
        await client.config_set("maxmemory-policy", "allkeys-lru")
        await client.config_set("maxmemory", "0")
    deployment.issuer.name = "https://another.example.com"
    expired = Certificate(tmp_path, valid_for=timedelta(hours=-1))
    read_only = tmp_path / "read-only"
    read_only.mkdir(mode=0o555)
    tomorrow = format_datetime(datetime.now(UTC) + HOURS_APART, usegmt=True)
    late = f"HTTP/1.1 401 No\r\nDate: {tomorrow}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
    env = {
        "LITEMAAS_LITELLM_API_KEY": "sk-wrong",
        "LITEMAAS_LITELLM_CA_FILE": str(expired.file),
        "LITEMAAS_REDIS_CA_FILE": str(expired.file),
        "LITEMAAS_KEY_PEPPERS": "2:" + "ab" * 32,
        "LITEMAAS_STATE_DIR": str(read_only),
        "LITEMAAS_SMTP_URL": f"smtp://127.0.0.1:{free_port()}",
        "LITEMAAS_GATEWAY_URL": f"http://127.0.0.1:{free_port()}",
    }
    try:
        async with raw_server(late) as late_port, raw_server(b"", expired.context) as expired_port:
            urls = f"{backends.litellm_url},https://127.0.0.1:{expired_port},http://127.0.0.1:{late_port}"
            found = await as_who_heeds_modes(deployment).findings(code=1, LITEMAAS_LITELLM_URLS=urls, **env)
    finally:
        await superuser.execute(f"ALTER ROLE {APP} NOSUPERUSER")
        await superuser.execute(f"ALTER ROLE {OWNER} NOSUPERUSER")

    for check, status, text, cure in PLANTED:
        of_check = [one for one in found if one["check"] == check and one["status"] == status]
        assert any(text in one["text"] and cure in one["cure"] for one in of_check), (check, text, cure, of_check)


# Check, status, and parts of what is said and of the cure.
PLANTED: Final = (
    ("roles", "problem", f"{APP} has SUPERUSER", f"ALTER ROLE {APP} NOSUPERUSER"),
    ("roles", "warning", f"{OWNER} is a superuser", f"ALTER ROLE {OWNER} NOSUPERUSER"),
    ("migrations", "problem", f"1 migrations are missing ({MIGRATION})", "litemaas migrate"),
    ("migrations", "problem", "not as they were when they were applied: 0001_", "unchanged"),
    ("time zones", "problem", "Mars/Olympus", "tzdata"),
    ("redis", "problem", "maxmemory-policy allkeys-lru", "CONFIG SET maxmemory-policy noeviction"),
    ("redis", "warning", "no maxmemory", "three quarters"),
    ("litellm", "problem", "refuses LITEMAAS_LITELLM_API_KEY", "master key"),
    ("litellm", "problem", "s ahead of that of this machine", "NTP"),
    ("certificates", "problem", "certificate has expired", "Renew"),
    ("certificates", "problem", "LITEMAAS_REDIS_URL does not begin with rediss://", "or remove the file"),
    ("peppers", "problem", "not random", "openssl rand"),
    ("peppers", "problem", "1 keys or tokens cannot be used: they were made with version 1", "Add version 1 again"),
    ("secret keys", "problem", "version 7, which LITEMAAS_SECRET_KEYS", "key that encrypted it"),
    ("webhooks", "problem", "cannot be reached", "litemaas webhooks update"),
    ("mail", "problem", "cannot be reached", "LITEMAAS_SMTP_URL"),
    ("logins", "problem", "calls itself https://another.example.com", "Set LITEMAAS_OIDC_ISSUER"),
    ("gateway", "problem", "does not answer", "LITEMAAS_GATEWAY_URL"),
    ("journal", "problem", "Permission denied", "chown"),
)


def as_who_heeds_modes(deployment: Deployment) -> Deployment:
    """Root may write to any folder."""
    return replace(deployment, commands=CommandLine(deployment.commands.env, heeds_modes=True))


async def test_what_hangs_or_is_away_is_a_problem_in_time(deployment: Deployment, backends: Backends) -> None:
    """Servers that never answer, a wrong password, settings that are wrong: also when most checks cannot be made."""
    nobody = f"http://127.0.0.1:{free_port()}"
    async with raw_server(None) as silent:
        found = await deployment.findings(
            "--timeout-s=1",
            code=1,
            LITEMAAS_DATABASE_URL=deployment.database.app_url.replace(":", ":wrong", 2).replace("wrong//", "//"),
            LITEMAAS_REDIS_URL=f"redis://127.0.0.1:{silent}",
            LITEMAAS_LITELLM_URLS=nobody,
            LITEMAAS_OIDC_ISSUER=f"http://127.0.0.1:{silent}",
            LITEMAAS_LOG_LEVEL="loud",
        )

    said = {one["check"]: (one["status"], one["text"]) for one in found}
    assert said["settings"][0] == "problem"
    assert "LITEMAAS_LOG_LEVEL" in said["settings"][1]
    assert said["postgres"][0] == "problem"
    assert "password authentication failed" in said["postgres"][1]
    assert said["migrations"][1].startswith("Not checked: ")
    assert said["redis"] == ("problem", "The check was not done within 1 s.")
    assert said["litellm"][0] == "problem"
    assert nobody in said["litellm"][1]


async def test_it_says_what_to_do_in_words(deployment: Deployment) -> None:
    async with asyncpg.create_pool(deployment.database.owner_url, min_size=1, max_size=1) as owner:
        await owner.execute("REVOKE SELECT ON api_keys FROM litemaas_app")
        await owner.execute("GRANT DELETE ON usage_logs TO litemaas_app")

    done = await deployment.commands.run("doctor")

    assert done.code == 1
    lines = done.out.splitlines()
    # A missing right, one too many, and the check of the peppers that the first keeps from reading keys.
    assert lines[-1].startswith("2 problems, ")
    assert lines[0].startswith("problem  roles: ")
    assert "api_keys: SELECT" in done.out
    assert "usage_logs: DELETE" in done.out
    assert "REVOKE" in done.out
    assert max(map(len, lines)) <= 100
