"""`litemaas doctor`"""

import os
import sys
import textwrap
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from admin_api.operations.doctor.deployment import AdminProgram, Deployment
    from admin_api.schemas.doctor import DoctorView
    from admin_api.settings import Settings

# Named and not imported: the CLI does not import the programs.
GATEWAY_SETTINGS: Final = "gateway.settings:Settings"
THREADS_S: Final = 0.5
WIDTH: Final = 100
INDENT: Final = " " * 9
ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def doctor(
    timeout_s: Annotated[int, typer.Option(min=1, max=600, help="Maximum seconds for each check.")] = 15,
    as_json: Annotated[bool, typer.Option("--json", help="Compact JSON on stdout.")] = False,
) -> None:
    """Check the deployment that this environment is for, and say what to do. Changes nothing. Exit code 1 if there is a
    problem."""
    import asyncio

    from admin_api.operations.doctor.deployment import checks_of
    from admin_api.operations.doctor.findings import ORDER, run_checks
    from admin_api.schemas.doctor import DoctorView
    from gateway.web.logs import configure_logs

    # What a check's connection logs is in what it found.
    configure_logs("error")
    loop = asyncio.new_event_loop()
    found = loop.run_until_complete(run_checks(checks_of(read_deployment()), bound_s=timeout_s))
    view = DoctorView.of(sorted(found, key=lambda one: ORDER.index(one.status)))
    ended = loop.create_task(loop.shutdown_default_executor())
    _, unfinished = loop.run_until_complete(asyncio.wait({ended}, timeout=THREADS_S))
    typer.echo(view.model_dump_json() if as_json else _text(view))
    code = 1 if view.problems else 0
    if unfinished:
        # A name server that does not answer holds a thread, for which Python would wait.
        sys.stdout.flush()
        os._exit(code)
    loop.close()
    raise typer.Exit(code)


def _text(view: "DoctorView") -> str:
    lines = []
    for one in view.findings:
        first, *more = textwrap.wrap(f"{one.check}: {' '.join(one.text.split())}", WIDTH - len(INDENT))
        lines += [f"{one.status:<{len(INDENT)}}{first}", *(f"{INDENT}{line}" for line in more)]
        lines += [f"{INDENT}  {line}" for line in textwrap.wrap(one.cure or "", WIDTH - len(INDENT) - 2)]
    count = f"{view.problems} problems, {view.warnings} warnings."
    return "\n".join([*lines, count])


def read_deployment() -> "Deployment":
    """Of the environment. What cannot be read is a finding, and the checks that need it are left out."""
    from admin_api import settings as environment
    from admin_api.operations.doctor.database import Database
    from admin_api.operations.doctor.deployment import Deployment
    from admin_api.operations.doctor.redis import Redis
    from admin_api.operations.models.sync import LiteLLM

    present = environment.PresentSettings.from_env()
    is_admin = present.admin_token is not None
    is_gateway = present.state_dir is not None or not is_admin
    unreadable: list[str] = []
    admin: Settings | None = _read(environment.Settings, unreadable) if is_admin else None
    gateway: Any = _read(_gateway_settings(), unreadable) if is_gateway else None
    database = _read(environment.DatabaseSettings)
    keys, redis, litellm = map(
        _read, (environment.KeySettings, environment.CounterSettings, environment.LiteLLMSettings)
    )
    return Deployment(
        unreadable=unreadable,
        database=database
        and Database(
            app_url=database.database_url, owner_url=database.owner_database_url, tls=database.tls("database")
        ),
        peppers=keys and keys.peppers,
        redis=redis and Redis(url=redis.redis_url, tls=redis.tls("redis")),
        litellm=litellm
        and LiteLLM(urls=litellm.litellm_urls, api_key=litellm.litellm_api_key, tls=litellm.tls("litellm")),
        admin=None if admin is None else _admin_program(admin),
        machine=gateway and _machine(gateway),
        metrics_urls=_metrics_urls(is_admin=is_admin, is_gateway=is_gateway),
    )


def _gateway_settings() -> Any:
    from uvicorn.importer import import_from_string

    return import_from_string(GATEWAY_SETTINGS)


def _read(settings: Any, unreadable: list[str] | None = None) -> Any:
    """None for settings that are missing or wrong. The two programs have different errors for them."""
    try:
        return settings.from_env()
    except Exception as exc:
        if type(exc).__name__ != "SettingsError":
            raise
        if unreadable is not None:
            unreadable.append(str(exc))
        return None


def _admin_program(settings: "Settings") -> "AdminProgram":
    from admin_api.operations.doctor.addresses import Logins
    from admin_api.operations.doctor.deployment import AdminProgram
    from admin_api.operations.notifications.smtp import MailServer
    from admin_api.operations.notifications.webhook_urls import WebhookURLRules

    mail = None
    if settings.smtp_url is not None and settings.mail_from is not None:
        mail = MailServer(settings.smtp_url, settings.mail_from, settings.smtp_ca_file)
    return AdminProgram(
        secret_keys=settings.encryption_keys,
        webhook_rules=WebhookURLRules(settings.webhook_allow_http, settings.webhook_networks),
        webhook_ca_file=settings.webhook_ca_file,
        mail=mail,
        logins=Logins(
            issuer=settings.oidc_issuer, openshift_api=settings.openshift_api_url, ca_file=settings.login_ca_file
        ),
        admin_url=settings.admin_url,
        gateway_url=settings.gateway_internal_url or settings.gateway_url,
        gateway_ca_file=settings.gateway_ca_file,
    )


def _machine(settings: Any) -> Any:
    from admin_api.operations.doctor.machine import GatewayMachine

    return GatewayMachine(
        state_dir=settings.state_dir,
        journal_max_bytes=settings.journal_max_bytes,
        upstream_connections=settings.upstream_connections,
    )


def _metrics_urls(*, is_admin: bool, is_gateway: bool) -> list[str | None]:
    from admin_api.settings import ADMIN_METRICS_PORT, GATEWAY_METRICS_PORT, ProgramSettings
    from gateway.web.listen_address import ListenAddress

    settings = _read(ProgramSettings)
    if settings is None:
        return []
    ports = [GATEWAY_METRICS_PORT] * is_gateway + [ADMIN_METRICS_PORT] * is_admin
    address = ListenAddress.parse(settings.metrics_listen)
    if address is None:
        return [None]
    host = ANY_ADDRESS.get(address.host, address.host)
    host = f"[{host}]" if ":" in host else host
    return list(dict.fromkeys(f"http://{host}:{address.port or port}" for port in ports))
