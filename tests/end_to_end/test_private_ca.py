"""TLS to Postgres, Redis and LiteLLM with certificates of a private CA, and with client certificates: what is trusted,
what is refused, what is said about it, and that a renewed certificate needs no restart."""

from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import aiohttp
import httpx2
import pytest
from admin_client import LOGIN, settings_for
from callers import Caller, make_caller
from certificates import Authority
from command_line import CommandLine
from conftest import Database
from gateways import Backends, GatewayThread, Ledger, wait_until
from tls_servers import Relay, TlsSite, tls_site

from admin_api.main import create_app
from deploy.embedded.postgres import Postgres
from deploy.embedded.processes import Child, bare_environment, free_port
from deploy.embedded.valkey import find_server
from gateway.domain.breaker import FAILURES_TO_OPEN
from gateway.storage.postgres import new_pool
from gateway.storage.redis.link import Scripts
from gateway.storage.redis.urls import connect
from gateway.tls import TlsFiles
from gateway.upstream.client import Timeouts, Upstream
from gateway.upstream.failures import UpstreamBroken, UpstreamUnreachable
from gateway.upstream.pool import UpstreamPool

# The start of LiteLLM counts for the first test.
pytestmark = pytest.mark.timeout(240)

CURES: Final = {
    "another CA": "set LITEMAAS_{}_CA_FILE to the file of the CA that signed it",
    "another name": "name the server in the setting as its certificate does",
    "expired": "renew its certificate",
    "no client certificate": "set LITEMAAS_{0}_CERT_FILE and LITEMAAS_{0}_KEY_FILE",
    "expired client certificate": "set LITEMAAS_{0}_CERT_FILE and LITEMAAS_{0}_KEY_FILE",
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"), "ca")


@pytest.fixture
async def site(
    backends: Backends, postgres: Postgres, database: Database, authority: Authority, tmp_path: Path
) -> AsyncIterator[TlsSite]:
    async with tls_site(backends, postgres, database, tmp_path, authority.issue("server")) as made:
        yield made


def commands(backends: Backends, site: TlsSite, host: str = "127.0.0.1", **files: Path) -> CommandLine:
    return CommandLine({**backends.environment(), **site.environment(host, **files)})


def settings(environment: dict[str, str]) -> dict[str, Any]:
    """As the fields of settings."""
    return {name.removeprefix("LITEMAAS_").lower(): value for name, value in environment.items()}


def new_gateway(
    backends: Backends, site: TlsSite, folder: Path, host: str = "127.0.0.1", **files: Path
) -> GatewayThread:
    here = settings(site.environment(host, **files)) | {"state_dir": folder / "state", "connect_timeout_s": 2}
    return GatewayThread(backends.settings(**here))


@asynccontextmanager
async def caller_of(
    site: TlsSite, gateway: GatewayThread, http: aiohttp.ClientSession, **files: Path
) -> AsyncIterator[Caller]:
    tls = TlsFiles(files.get("CA"), files.get("CERT"), files.get("KEY"))
    async with new_pool(site.database_url(site.database.app_url), size=2, tls=tls) as pool:
        yield await make_caller(pool, gateway.url, http, ("demo-chat", "demo-realtime"))


async def findings(commands: CommandLine) -> list[dict[str, Any]]:
    """What doctor says about certificates, and about a Postgres that asks for one."""
    done = await commands.run("doctor", "--json")
    return [one for one in done.any_json()["findings"] if one["check"] in ("certificates", "postgres")]


async def check_all_work(
    backends: Backends, site: TlsSite, http: aiohttp.ClientSession, folder: Path, **files: Path
) -> None:
    """Gateway, admin API, commands, migrations and doctor."""
    of_site = commands(backends, site, **files)
    assert (await of_site.run("migrate", "--json")).json() == {"applied": []}
    assert (await of_site.run("settings", "set", "new_models", "open")).code == 0
    assert "demo-chat" in (await of_site.run("models", "sync", "--json")).json()["added"]
    with new_gateway(backends, site, folder, **files) as gateway:
        async with caller_of(site, gateway, http, **files) as caller:
            assert (await caller.chat()).status == 200
            assert (await Ledger(caller.pool).row(caller.account_id))["ending"] == "completed"
            await check_session(http, caller)
            explain = ("limits", "explain", "--key", str(caller.key_id), "--model", "demo-chat", "--json")
            assert (await of_site.run(*explain)).json()["allowed"] is True
    await check_admin_api(backends, site, **files)
    found = await findings(of_site)
    # A certificate of a test expires soon.
    assert not [one for one in found if one["status"] == "problem"]
    assert len([one for one in found if one["text"].startswith("The c")]) == (6 if "CERT" in files else 3)


async def check_session(http: aiohttp.ClientSession, caller: Caller) -> None:
    url = f"{caller.url}/v1/realtime?model=demo-realtime"
    async with http.ws_connect(url, headers=caller.authorization) as session:
        assert (await session.receive_json())["type"] == "session.created"


async def check_admin_api(backends: Backends, site: TlsSite, **files: Path) -> None:
    here = settings(site.environment(**files))
    del here["owner_database_url"]
    app = create_app(settings_for(here.pop("database_url"), **here | {"litellm_api_key": backends.litellm_key}))
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://admin", headers=LOGIN) as admin:
            assert (await admin.get("/health/ready")).json()["parts"] == {"postgres": True, "redis": True}
            health = (await admin.get("/api/v1/admin/health/litellm")).json()
            assert [one["reachable"] for one in health["addresses"]] == [True]
            assert health["addresses"][0]["version"].startswith("1.")


async def test_every_program_works_with_a_private_ca(
    backends: Backends, site: TlsSite, authority: Authority, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    await check_all_work(backends, site, http, tmp_path, CA=authority.file)


async def test_every_program_works_with_a_client_certificate(
    backends: Backends, site: TlsSite, authority: Authority, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    await site.use(authority.issue("server"), client_ca=authority.file)
    client = authority.issue("client")

    await check_all_work(backends, site, http, tmp_path, CA=authority.file, CERT=client.file, KEY=client.key)


@pytest.mark.parametrize("fault", CURES)
async def test_a_certificate_that_cannot_be_trusted_is_refused_with_its_cure(
    fault: str,
    backends: Backends,
    site: TlsSite,
    authority: Authority,
    logged: list[MutableMapping[str, Any]],
    tmp_path: Path,
) -> None:
    files = {"CA": authority.file}
    if fault == "another CA":
        files = {"CA": Authority(tmp_path, "another").file}
    if fault == "expired":
        await site.use(authority.issue("expired", valid_for=timedelta(hours=-1)))
    if fault == "no client certificate":
        await site.use(authority.issue("server"), client_ca=authority.file)
    if fault == "expired client certificate":
        await site.use(authority.issue("server"), client_ca=authority.file)
        client = authority.issue("client", valid_for=timedelta(hours=-1))
        files |= {"CERT": client.file, "KEY": client.key}
    host = "localhost" if fault == "another name" else "127.0.0.1"

    await check_refused(backends, site, logged, CURES[fault], host, **files)


async def check_refused(
    backends: Backends, site: TlsSite, logged: list[MutableMapping[str, Any]], cure: str, host: str, **files: Path
) -> None:
    """By what gateways connect with, by a gateway, by commands and by doctor."""
    environment, trusted = (
        site.environment(host, **files),
        TlsFiles(*(files.get(kind) for kind in ("CA", "CERT", "KEY"))),
    )
    scripts = connect(environment["LITEMAAS_REDIS_URL"], (), timeout_s=2, tls=trusted)
    await scripts.open()
    assert not scripts.is_connected
    await scripts.close()
    timeouts = Timeouts(connect_s=2, first_byte_s=2, idle_s=2)
    url = environment["LITEMAAS_LITELLM_URLS"]
    upstreams = UpstreamPool([Upstream(url, api_key="sk", timeouts=timeouts, connections=1, tls=trusted)])
    for _ in range(FAILURES_TO_OPEN):
        with pytest.raises((UpstreamUnreachable, UpstreamBroken)):
            async with upstreams.open("/health", {}, b""):
                pass
    await upstreams.close()
    said = {line["event"]: line["cure"] for line in logged if "cure" in line}
    assert cure.format("REDIS") in said["redis_connection_lost"]
    assert cure.format("LITELLM") in said["upstream_left_out"]

    of_site = commands(backends, site, host, **files)
    migrated = await of_site.run("migrate")
    assert migrated.code == 1
    assert cure.format("DATABASE") in migrated.err
    found = await findings(of_site)
    for server in site.servers:
        cures = [f"{one['text']} {one['cure']}".lower() for one in found if one["status"] != "ok"]
        assert any(cure.format(server).lower() in one for one in cures), (server, found)
    assert len([one for one in found if "FILE has expired" in one["text"]]) == (3 if "CERT" in files else 0)

    with new_gateway(backends, site, backends.folder / "refused", host, **files) as gateway:
        async with aiohttp.ClientSession() as http, http.get(f"{gateway.url}/health/ready") as answer:
            parts = (await answer.json())["parts"]
    assert not parts["postgres"]
    assert not parts["redis"]


async def test_renewed_certificates_are_used_without_a_restart(
    backends: Backends, site: TlsSite, authority: Authority, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Also while a certificate has been replaced and its key has not."""
    ca, client = tmp_path / "ca.pem", authority.issue("client")
    ca.write_bytes(authority.file.read_bytes())
    files = {"CA": ca, "CERT": client.file, "KEY": client.key}
    await site.use(authority.issue("server"), client_ca=authority.file)
    of_site = commands(backends, site, **files)
    assert (await of_site.run("settings", "set", "new_models", "open")).code == 0
    assert (await of_site.run("models", "sync")).code == 0
    later = Authority(tmp_path, "later")
    renewed = later.issue("renewed")
    with new_gateway(backends, site, tmp_path, **files) as gateway:
        async with caller_of(site, gateway, http, **files) as caller:
            ledger = Ledger(caller.pool)
            assert (await caller.chat()).status == 200
            await ledger.rows(caller.account_id, 1)

            client.file.write_bytes(renewed.file.read_bytes())
            await site.drop()
            await wait_until_served(caller)
            await ledger.rows(caller.account_id, 2)

            client.key.write_bytes(renewed.key.read_bytes())
            ca.write_bytes(later.file.read_bytes())
            await site.use(later.issue("server"), client_ca=later.file)
            await site.drop()
            await wait_until_served(caller)
            await check_session(http, caller)
            # One of them of the session, which answered nothing.
            await ledger.rows(caller.account_id, 4)


async def wait_until_served(caller: Caller) -> None:
    async def is_served() -> bool:
        return (await caller.chat()).status == 200

    await wait_until(is_served, "a call to be served on new connections")


async def test_a_primary_behind_sentinels_is_reached_with_tls(
    site: TlsSite, authority: Authority, tmp_path: Path
) -> None:
    """The Sentinel too, and with a client certificate."""
    server, client, port = authority.issue("server"), authority.issue("client"), free_port()
    await site.redis.use(server, client_ca=authority.file)
    settings_file = tmp_path / "sentinel.conf"
    # It speaks no TLS to the primary itself, and must not take it for away during the test.
    settings_file.write_text(
        f"port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {site.redis.port} 1\n"
        "sentinel down-after-milliseconds main 600000\n"
    )
    program = [str(find_server()), str(settings_file), "--sentinel"]
    sentinel = Child("Sentinel", program, log=tmp_path / "sentinel.log", env=bare_environment(tmp_path), cwd=tmp_path)
    try:
        with Relay(port) as front:
            await front.use(server, client_ca=authority.file)
            url = f"rediss+sentinel://:{site.redis_password}@127.0.0.1:{front.port}/main"
            for files in (TlsFiles(authority.file, client.file, client.key), TlsFiles(authority.file)):
                scripts = connect(url, (), timeout_s=2, tls=files)
                await scripts.open()
                if files.certificate is not None:
                    await wait_until(lambda scripts=scripts: _is_connected(scripts), "the primary")
                assert scripts.is_connected == (files.certificate is not None)
                await scripts.close()
    finally:
        sentinel.stop()


async def _is_connected(scripts: Scripts) -> bool:
    return scripts.is_connected
