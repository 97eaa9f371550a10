"""Which checks a deployment has, by what its settings name."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from admin_api.encryption import SecretKeys
from admin_api.operations.doctor.addresses import Logins, check_gateway, check_logins, check_metrics
from admin_api.operations.doctor.certificates import TlsServer, check_certificates
from admin_api.operations.doctor.database import (
    Database,
    check_connection,
    check_migrations,
    check_peppers,
    check_roles,
    check_secret_keys,
    check_time_zones,
)
from admin_api.operations.doctor.findings import Check, Findings
from admin_api.operations.doctor.machine import GatewayMachine, check_files, check_journal
from admin_api.operations.doctor.notifications import check_mail, check_webhooks
from admin_api.operations.doctor.redis import Redis, check_redis
from admin_api.operations.doctor.upstream import check_litellm
from admin_api.operations.models.sync import LiteLLM
from admin_api.operations.notifications.smtp import MailServer
from admin_api.operations.notifications.webhook_urls import WebhookURLRules
from gateway.storage.redis.urls import read_netloc
from gateway.tls import TlsFiles

if TYPE_CHECKING:
    from gateway.domain.keys import Peppers


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminProgram:
    """What only the admin program's settings name. `gateway_url` is the address that it calls itself."""

    secret_keys: SecretKeys
    webhook_rules: WebhookURLRules
    webhook_ca_file: Path | None
    mail: MailServer | None
    logins: Logins
    admin_url: str | None
    gateway_url: str | None
    gateway_ca_file: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What the settings name; None for what they do not. `unreadable` are the messages about settings; `metrics_urls`
    has None for a program whose metrics are off."""

    unreadable: Sequence[str]
    database: Database | None
    peppers: "Peppers | None"
    redis: Redis | None
    litellm: LiteLLM | None
    admin: AdminProgram | None
    machine: GatewayMachine | None
    metrics_urls: Sequence[str | None]


def checks_of(deployment: Deployment) -> dict[str, Check]:
    """By name, in the order in which they are to be mended."""
    checks: dict[str, Check] = {"settings": partial(check_settings, unreadable=deployment.unreadable)}
    database, admin = deployment.database, deployment.admin
    if database is not None:
        checks |= {
            "postgres": partial(check_connection, database=database),
            "roles": partial(check_roles, database=database),
            "migrations": partial(check_migrations, database=database),
            "time zones": partial(check_time_zones, database=database),
        }
    if deployment.redis is not None:
        checks["redis"] = partial(check_redis, redis=deployment.redis)
    if deployment.litellm is not None and database is not None:
        checks["litellm"] = partial(check_litellm, litellm=deployment.litellm, database=database)
    checks["certificates"] = partial(
        check_certificates, servers=_tls_servers(deployment), unencrypted=_unencrypted(deployment)
    )
    if database is not None and deployment.peppers is not None:
        checks["peppers"] = partial(check_peppers, database=database, peppers=deployment.peppers)
    if database is not None and admin is not None:
        rules, ca_file = admin.webhook_rules, admin.webhook_ca_file
        checks |= {
            "secret keys": partial(check_secret_keys, database=database, keys=admin.secret_keys),
            "webhooks": partial(check_webhooks, database=database, rules=rules, ca_file=ca_file),
            "mail": partial(check_mail, mail=admin.mail),
            "logins": partial(check_logins, logins=admin.logins),
            "gateway": partial(check_gateway, url=admin.gateway_url, ca_file=admin.gateway_ca_file),
        }
    if deployment.machine is not None:
        checks |= {
            "journal": partial(check_journal, machine=deployment.machine),
            "open files": partial(check_files, machine=deployment.machine),
        }
    checks["metrics"] = partial(check_metrics, urls=deployment.metrics_urls)
    return checks


async def check_settings(found: Findings, unreadable: Sequence[str]) -> None:
    """Those of the programs that this environment is for."""
    for message in unreadable:
        found.problem(message, "Set them in the environment of the program; docs/settings.md has them all.")
    if not unreadable:
        found.ok("All settings can be read.")


def _tls_servers(deployment: Deployment) -> Sequence[TlsServer]:
    servers: list[TlsServer] = []
    database, redis, admin = deployment.database, deployment.redis, deployment.admin
    if database is not None:
        servers += _of_postgres(database)
    if redis is not None:
        servers += _of_redis(redis)
    if (litellm := deployment.litellm) is not None:
        for url in litellm.urls:
            servers += TlsServer.of_url("LiteLLM", url, "LITEMAAS_LITELLM", litellm.tls)
    if admin is not None:
        login = ("LITEMAAS_LOGIN", TlsFiles(ca=admin.logins.ca_file))
        servers += TlsServer.of_url("the identity provider", admin.logins.issuer, *login)
        servers += TlsServer.of_url("OpenShift's API", admin.logins.openshift_api, *login)
        gateway = ("LITEMAAS_GATEWAY", TlsFiles(ca=admin.gateway_ca_file))
        servers += TlsServer.of_url("the gateway", admin.gateway_url, *gateway)
        servers += TlsServer.of_url("the portal", admin.admin_url, *gateway)
    return servers


def _unencrypted(deployment: Deployment) -> Sequence[str]:
    """The settings of files that no connection uses: what they are for is not encrypted."""
    redis, litellm, found = deployment.redis, deployment.litellm, []
    if redis is not None and redis.tls and not urlsplit(redis.url.get_secret_value()).scheme.startswith("rediss"):
        found.append("LITEMAAS_REDIS")
    if litellm is not None and litellm.tls and not all(url.startswith("https://") for url in litellm.urls):
        found.append("LITEMAAS_LITELLM")
    return found


def _of_redis(redis: Redis) -> list[TlsServer]:
    """Its addresses, or those of its Sentinels."""
    parts = urlsplit(redis.url.get_secret_value())
    if not parts.scheme.startswith("rediss"):
        return []
    addresses, _ = read_netloc(parts.netloc, default_port=26379 if parts.scheme.endswith("sentinel") else 6379)
    return [
        TlsServer(name="Redis", host=host or "localhost", port=port, settings="LITEMAAS_REDIS", tls=redis.tls)
        for host, port in addresses
    ]


def _of_postgres(database: Database) -> list[TlsServer]:
    """None where its certificate is not verified."""
    parts = urlsplit(database.app_url.get_secret_value())
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    tls = database.tls
    if not tls and query.get("sslmode", "").startswith("verify"):
        tls = TlsFiles(*(Path(query[name]) if name in query else None for name in ("sslrootcert", "sslcert", "sslkey")))
    if not tls:
        return []
    # Several hosts stand in the query.
    hosts = query.get("host", parts.netloc.rpartition("@")[2]).split(",")
    servers = []
    for host in hosts:
        one = urlsplit(f"//{host}")
        servers.append(
            TlsServer(
                name="Postgres",
                host=one.hostname or "localhost",
                port=one.port or 5432,
                settings="LITEMAAS_DATABASE",
                tls=tls,
                is_postgres=True,
            )
        )
    return servers
