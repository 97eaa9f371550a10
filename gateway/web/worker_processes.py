"""Several worker processes behind one port, which end with their parent, however that ends.

The parent holds the write end of a pipe and never writes. Each worker waits on the read end: the kernel closes the
write end when the parent dies, also by SIGKILL, and the worker then stops as on SIGTERM. uvicorn's own pipes cannot say
it, because its workers hold both ends of them.
"""

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from errno import EADDRINUSE
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, Final

import structlog
from uvicorn import Config
from uvicorn.importer import import_from_string
from uvicorn.supervisors import Multiprocess

log = structlog.get_logger(__name__)

# Workers of a parent that was killed let go of the port within a tick of their loop, later on a busy machine.
PORT_WAIT_S: Final = 5.0
PORT_RETRY_S: Final = 0.1


def build_once(factory: str) -> None:
    """Builds the app that `factory` names as a worker does: within a loop, which its pools of connections ask for, and
    which Python makes for nobody since 3.14. Raises what the factory raises."""

    async def build() -> None:
        import_from_string(factory)()

    asyncio.run(build())


def run_workers(factory: str, *, host: str, port: int, grace_s: int, **options: Any) -> None:
    """Runs `workers` processes of the app that `factory` names, until a signal ends them; options are uvicorn's. A
    worker whose parent has died drains, and is killed if that takes longer than `grace_s` and the app's own
    `max_close_s` together. Exits with status 3 if the port is taken."""
    parent_ended, held_by_parent = Pipe(duplex=False)
    app = _WorkerApp(factory, parent_ended, grace_s)
    config = Config(app, factory=True, host=host, port=port, timeout_graceful_shutdown=grace_s, **options)
    wait_for_port(host, port)
    with held_by_parent:
        Multiprocess(config, sockets=[config.bind_socket()]).run()


class _WorkerApp:
    """The factory of a worker's app. It is pickled into each worker, and the read end of the pipe with it."""

    def __init__(self, factory: str, parent_ended: Connection, grace_s: int) -> None:
        self._factory = factory
        self._parent_ended = parent_ended
        self._grace_s = grace_s

    def __call__(self) -> Any:
        app = import_from_string(self._factory)()
        end_with_parent(self._parent_ended, kill_after_s=self._grace_s + app.max_close_s)
        return app


def end_with_parent(parent_ended: Connection, *, kill_after_s: float) -> None:
    """Sends this process SIGTERM when the other end of the pipe is closed, and SIGKILL if it lives `kill_after_s`
    longer: its loop may be stuck, and a worker that nobody supervises must not keep the port."""

    def wait() -> None:
        with suppress(EOFError, OSError):
            parent_ended.recv_bytes()
        log.error("parent_died", pid=os.getpid())
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(kill_after_s)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()


def wait_for_port(host: str, port: int, *, clock: Callable[[], float] = time.monotonic) -> None:
    """Returns when the port is free, or after PORT_WAIT_S: binding it says best what is wrong with it."""
    until = clock() + PORT_WAIT_S
    while _is_taken(host, port):
        if clock() >= until:
            return
        time.sleep(PORT_RETRY_S)


def _is_taken(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as exc:
            return exc.errno == EADDRINUSE
    return False
