"""A gateway process with several workers, and connections to each of them."""

import asyncio
import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from callers import CHAT, Caller, Response, chat_body
from gateways import Backends

from deploy.embedded.processes import free_port
from deploy.embedded.programs import Program
from loadtests.processes import worker_pids


class Workers:
    """`litemaas gateway --workers N` on these backends."""

    def __init__(
        self, backends: Backends, folder: Path, *, count: int = 2, port: int | None = None, **changes: str
    ) -> None:
        self.program = Program(folder, "gateway", port or free_port(), "--workers", str(count))
        # What it leaves when it is killed is in the folder of the test.
        self.program.env = backends.environment(**{"LITEMAAS_LOG_LEVEL": "warning", "TMPDIR": str(folder)} | changes)
        self.url = self.program.url
        self._count = count

    async def start(self) -> None:
        """Returns once every worker responds."""
        # From the main thread: the child process ends with the thread that started it.
        self.program.launch()
        await self.wait()

    async def wait(self) -> None:
        """Until every worker responds. Its parent has bound the port when it has workers."""
        async with asyncio.timeout(30):
            while len(self.pids) < self._count:
                await asyncio.sleep(0.05)
        await asyncio.to_thread(self.program.wait)
        async with asyncio.timeout(20):
            while len(await asyncio.to_thread(self._reachable)) < self._count:
                await asyncio.sleep(0.05)

    @property
    def pids(self) -> set[int]:
        """The process ids of the workers, without the supervisor and its other children."""
        return worker_pids(self.program.pid)

    def _reachable(self) -> set[int]:
        with self.connections() as found:
            return set(found)

    @contextmanager
    def connections(self) -> Iterator[dict[int, http.client.HTTPConnection]]:
        """A connection to each worker, by its process id. Blocking."""
        found: dict[int, http.client.HTTPConnection] = {}
        spare: list[http.client.HTTPConnection] = []
        for _ in range(200):
            connection = http.client.HTTPConnection("127.0.0.1", self.program.port, timeout=10)
            # One request, so that a worker has accepted the connection.
            connection.request("GET", "/health/live")
            connection.getresponse().read()
            pid = _owner(connection, self.pids)
            if pid is None or pid in found:
                spare.append(connection)
            else:
                found[pid] = connection
            if set(found) >= self.pids:
                break
        try:
            yield found
        finally:
            for connection in [*found.values(), *spare]:
                connection.close()


def call_each(workers: Workers, caller: Caller, prompt: str = "Hello [tokens=1]", *, times: int = 1) -> list[Response]:
    """One call after another, to each worker in turn. Blocking."""
    with workers.connections() as connections:
        return [ask(connection, caller, prompt) for _ in range(times) for connection in connections.values()]


def ask(connection: http.client.HTTPConnection, caller: Caller, prompt: str = "Hello [tokens=1]") -> Response:
    """One call on a keep-alive connection."""
    headers = {**caller.authorization, "content-type": "application/json"}
    connection.request("POST", CHAT, json.dumps(chat_body(prompt)), headers)
    return _response(connection)


def _response(connection: http.client.HTTPConnection) -> Response:
    answer = connection.getresponse()
    return Response(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())


def _owner(connection: http.client.HTTPConnection, pids: set[int]) -> int | None:
    """The one of these processes that has the other end of a loopback connection."""
    ours: Any = connection.sock.getsockname()[1]
    theirs: Any = connection.sock.getpeername()[1]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, *rest = line.split()
        if (int(local.rpartition(":")[2], 16), int(remote.rpartition(":")[2], 16)) == (theirs, ours):
            socket = f"socket:[{rest[6]}]"
            return next((pid for pid in pids if socket in _links(pid)), None)
    return None


def _links(pid: int) -> set[str]:
    found = set()
    for link in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            found.add(str(link.readlink()))
        except OSError:
            continue  # closed in between
    return found
