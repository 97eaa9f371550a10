"""The commands that run a program or prepare its database: gateway, admin-api, migrate."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

import typer

NAMES: Final = ("migrate", "gateway", "admin-api", "health")
# The gateway is started by name: nothing of it is imported here.
GATEWAY: Final = "gateway.main:create_app"
ADMIN_API: Final = "admin_api.main:create_app"
# Where prometheus-client, in each worker, looks for the folder in which their counts meet.
METRICS_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"

Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(help="Port to listen on.")]


def add_to(app: typer.Typer) -> None:
    """Registers them."""
    app.command("migrate")(migrate)
    app.command("gateway")(gateway)
    app.command("admin-api")(admin_api)
    app.command("health")(health)


def migrate(
    phase: Annotated[str | None, typer.Option(help="Only 'pre' or only 'post' migrations.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Compact JSON on stdout.")] = False,
) -> None:
    """Bring the database's schema up to date, as LITEMAAS_OWNER_DATABASE_URL."""
    import asyncio

    from admin_api.settings import DatabaseSettings, SettingsError
    from admin_api.storage.migrate import MigrationError
    from admin_api.storage.migrate import migrate as apply
    from gateway.storage.postgres import connect

    settings = DatabaseSettings.from_env()
    owner = settings.owner_database_url
    if owner is None:
        raise SettingsError("LITEMAAS_OWNER_DATABASE_URL is not set; migrations need the owner's role.")
    if phase not in (None, "pre", "post"):
        raise MigrationError("--phase is pre or post.")

    async def run() -> list[str]:
        connection = await connect(owner.get_secret_value(), ca_file=settings.database_ca_file, name="litemaas-migrate")
        try:
            return await apply(connection, app_role=settings.app_role, phase=phase)
        finally:
            await connection.close()

    applied = asyncio.run(run())
    if as_json:
        typer.echo(json.dumps({"applied": applied}, separators=(",", ":")))
    else:
        typer.echo("\n".join([*applied, f"{len(applied)} migrations applied."] if applied else ["Nothing to do."]))


def gateway(
    host: Host = "0.0.0.0",
    port: Port = 4000,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the port.")] = 1,
) -> None:
    """Run the gateway: the address applications call."""
    if workers == 1:
        _serve(GATEWAY, host=host, port=port)
        return
    from uvicorn.importer import import_from_string

    with _shared_metrics():
        # A worker that can not start is started again and again; so what is wrong with the settings is said here.
        import_from_string(GATEWAY)()
        _serve(GATEWAY, host=host, port=port, workers=workers)


@contextmanager
def _shared_metrics() -> Iterator[None]:
    """Gives workers that are started within it one folder for their metrics, with nothing of an earlier run in it."""
    environment = os.environ  # noqa: TID251  not a setting: it is how prometheus-client is told, here and in workers
    if folder := environment.get(METRICS_FOLDER):
        Path(folder).mkdir(parents=True, exist_ok=True)
        for left in Path(folder).glob("*.db"):
            left.unlink()
        yield
        return
    with TemporaryDirectory(prefix="litemaas-metrics-", ignore_cleanup_errors=True) as folder:
        environment[METRICS_FOLDER] = folder
        yield


def admin_api(host: Host = "0.0.0.0", port: Port = 8081) -> None:
    """Run the admin API."""
    from admin_api.settings import Settings

    # What is wrong is said here, in one message, rather than out of the server's depths.
    Settings.from_env()
    _serve(ADMIN_API, host=host, port=port)


def health(port: Port = 4000) -> None:
    """Exit code 0 if the program on this port of this machine answers: for containers, that have no curl."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=4)
    try:
        connection.request("GET", "/health/live")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as exc:
        typer.echo(f"litemaas: nobody answers on port {port} ({type(exc).__name__}).", err=True)
        raise typer.Exit(1) from None
    finally:
        connection.close()
    if status != 200:
        typer.echo(f"litemaas: status {status}.", err=True)
        raise typer.Exit(1)


def _serve(factory: str, **options: Any) -> None:
    import uvicorn

    from admin_api.settings import ProgramSettings

    uvicorn.run(
        factory,
        factory=True,
        loop="uvloop",
        http="gateway.web.bounded_http:BoundedHttp",
        ws="gateway.web.bounded_websocket:BoundedWebSocket",
        lifespan="on",
        access_log=False,
        server_header=False,
        # The gateway reads X-Forwarded-For itself, and only from proxies it was told of.
        proxy_headers=False,
        timeout_graceful_shutdown=ProgramSettings.from_env().shutdown_grace_s,
        **options,
    )
