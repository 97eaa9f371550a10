"""The commands that run a program, prepare its database or check it: gateway, admin-api, migrate, health, doctor."""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from admin_api.cli.completion import SHELLS, completion_script
from admin_api.cli.doctor import doctor
from admin_api.cli.metrics_folder import new_metrics_folder
from admin_api.cli.options import words_argument, words_option

# Uvicorn imports the programs by name, so the CLI does not import them.
GATEWAY: Final = "gateway.main:create_app"
ADMIN_API: Final = "admin_api.main:create_app"
GATEWAY_SCRAPE: Final = "gateway.scrape:scrape"
# The folder prometheus-client uses to add up the metrics of all workers.
METRICS_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
# Of migrations: before the new version of the programs runs, and when no old one does.
PHASES: Final = ("pre", "post")

Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")]


def add_to(app: typer.Typer) -> None:
    """Registers these commands."""
    app.command("migrate")(migrate)
    app.command("gateway")(gateway)
    app.command("admin-api")(admin_api)
    app.command("health")(health)
    app.command("doctor")(doctor)
    app.command("completion")(completion)


def migrate(
    phase: Annotated[str | None, words_option(PHASES, help="Only those of this phase:")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Compact JSON on stdout.")] = False,
) -> None:
    """Bring the database schema up to date. Uses LITEMAAS_OWNER_DATABASE_URL."""
    import asyncio

    from admin_api.reported_settings import SettingsError
    from admin_api.settings import DatabaseSettings
    from admin_api.storage.migrate import migrate as apply
    from gateway.storage.postgres import connect

    settings = DatabaseSettings.from_env()
    owner = settings.owner_database_url
    if owner is None:
        raise SettingsError("LITEMAAS_OWNER_DATABASE_URL is not set. Migrations need the owner role.")

    async def run() -> list[str]:
        connection = await connect(owner.get_secret_value(), tls=settings.tls("database"), name="litemaas-migrate")
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
    workers: Annotated[int, typer.Option(min=1, help="Number of worker processes that share the port.")] = 1,
) -> None:
    """Run the gateway, which applications call."""
    from uvicorn.importer import import_from_string

    from admin_api.settings import GATEWAY_METRICS_PORT
    from gateway.web.worker_processes import build_once

    with _metrics_folder(is_shared=workers > 1) as folder:
        if workers > 1:
            # Uvicorn restarts a worker that cannot start forever, so settings are checked once before it.
            build_once(GATEWAY)
        with _metrics_served(GATEWAY_METRICS_PORT, partial(import_from_string(GATEWAY_SCRAPE), folder)):
            _serve(GATEWAY, host=host, port=port, workers=workers)


@contextmanager
def _metrics_folder(*, is_shared: bool) -> Iterator[str | None]:
    """An empty folder where all workers that are started in the block keep their metrics; None for one worker, whose
    metrics are in this process, unless the operator names a folder."""
    environment = os.environ  # noqa: TID251  not a setting: prometheus-client reads it, here and in workers
    if folder := environment.get(METRICS_FOLDER):
        Path(folder).mkdir(parents=True, exist_ok=True)
        for left in Path(folder).glob("*.db"):
            left.unlink()
        yield folder
    elif is_shared:
        with new_metrics_folder() as folder:
            environment[METRICS_FOLDER] = folder
            yield folder
    else:
        yield None


@contextmanager
def _metrics_served(default_port: int, scrape: Callable[[], bytes]) -> Iterator[None]:
    """Serves the metrics in the block, on an address of their own: in the parent of the workers, so that a scrape is
    answered whatever they do."""
    from admin_api.settings import ProgramSettings
    from gateway.web.listen_address import ListenAddress
    from gateway.web.metrics_server import CannotListen, serve_metrics

    address = ListenAddress.parse(ProgramSettings.from_env().metrics_listen)
    try:
        with serve_metrics(address, default_port, scrape):
            yield
    except CannotListen as exc:
        typer.echo(f"litemaas: {exc}", err=True)
        raise typer.Exit(1) from None


def admin_api(host: Host = "0.0.0.0", port: Port = 8081) -> None:
    """Run the admin API."""
    from admin_api import metrics
    from admin_api.settings import ADMIN_METRICS_PORT, Settings

    # Checks the settings first: one message instead of a traceback from the server.
    Settings.from_env()
    with _metrics_served(ADMIN_METRICS_PORT, metrics.scrape):
        _serve(ADMIN_API, host=host, port=port)


def _path(value: str) -> str:
    if re.fullmatch("/[!-~]*", value) is None:
        raise typer.BadParameter("It begins with / and has letters, digits and punctuation of ASCII only.")
    return value


def health(
    port: Port = 4000,
    path: Annotated[str, typer.Option(callback=_path, help="Answered with 200 if healthy.")] = "/health/live",
) -> None:
    """Exit code 0 if a program on this port of this machine is healthy. For containers, which have no curl."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=4)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as exc:
        typer.echo(f"litemaas: no answer on port {port} ({type(exc).__name__}).", err=True)
        raise typer.Exit(1) from None
    finally:
        connection.close()
    if status != 200:
        typer.echo(f"litemaas: status {status}.", err=True)
        raise typer.Exit(1)


def completion(shell: Annotated[str, words_argument(SHELLS, help="The shell:")]) -> None:
    """Print the script by which the shell completes commands; see docs/cli.md."""
    typer.echo(completion_script(shell))


def _serve(factory: str, *, host: str, port: int, workers: int = 1) -> None:
    import uvicorn

    from admin_api.open_files import raise_open_files
    from admin_api.settings import ProgramSettings
    from gateway.web.shutdown import end_with_zero
    from gateway.web.worker_processes import run_workers

    settings = ProgramSettings.from_env()
    raise_open_files()
    end_with_zero()
    options: dict[str, Any] = dict(
        host=host,
        port=port,
        loop="uvloop",
        http="gateway.web.bounded_http:BoundedHttp",
        ws="gateway.web.bounded_websocket:BoundedWebSocket",
        lifespan="on",
        access_log=False,
        server_header=False,
        # The gateway reads X-Forwarded-For itself, and only from configured proxies.
        proxy_headers=False,
        timeout_keep_alive=settings.keep_alive_s,
    )
    if workers > 1:
        run_workers(factory, workers=workers, grace_s=settings.shutdown_grace_s, **options)
    else:
        uvicorn.run(factory, factory=True, timeout_graceful_shutdown=settings.shutdown_grace_s, **options)
