"""A Valkey cluster on loopback: primaries that share the slots, without replicas."""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from deploy.embedded.processes import NotStarted, free_port
from deploy.embedded.valkey import Valkey

SLOTS = 16_384
TIMEOUT_S = 30.0


class ValkeyCluster:
    """Start it and wait; `with` discards it at the end. Nodes are `Valkey` components that can be stopped singly."""

    def __init__(self, folder: Path, *, size: int = 3) -> None:
        self._folder = folder
        self._password = secrets.token_hex(16)
        # The ports of the cluster bus. The default is 10,000 above the other port, which may be in use by an outgoing
        # connection.
        self._bus_ports: dict[Valkey, int] = {}
        self.nodes = [self._node(str(n)) for n in range(size)]

    def _node(self, name: str) -> Valkey:
        bus_port = free_port()
        settings = {"--cluster-enabled": "yes", "--cluster-node-timeout": "2000", "--cluster-port": str(bus_port)}
        # Nodes authenticate to each other.
        arguments = [part for setting in settings.items() for part in setting]
        node = Valkey(self._folder / name, password=self._password, arguments=arguments)
        self._bus_ports[node] = bus_port
        return node

    def _meet(self, client: redis.Redis, other: Valkey) -> None:
        _say(client, "MEET", "127.0.0.1", other.port, self._bus_ports[other])

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"redis+cluster://:{self._password}@{hosts}"

    def start(self) -> Self:
        """Return when every node knows every slot's owner."""
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.wait()
        clients = [redis.Redis.from_url(node.url()) for node in self.nodes]
        try:
            for n, client in enumerate(clients):
                first, end = n * SLOTS // len(clients), (n + 1) * SLOTS // len(clients)
                _say(client, "SET-CONFIG-EPOCH", n + 1)
                _say(client, "ADDSLOTSRANGE", first, end - 1)
                self._meet(client, self.nodes[0])
            self._wait(lambda: all(map(self._is_complete, clients)))
        finally:
            for client in clients:
                client.close()
        return self

    @contextmanager
    def replica_of(self, primary: Valkey) -> Iterator[Valkey]:
        """One more node, for a while; it has all that the primary has when this returns."""
        with self._node("replica") as node:
            with redis.Redis.from_url(node.url()) as replica, redis.Redis.from_url(primary.url()) as client:
                self._meet(replica, primary)
                primary_id = _say(client, "MYID").decode()
                self._wait(lambda: primary_id.encode() in _say(replica, "NODES", NEVER_DECODE=True))
                self._wait(lambda: _does(lambda: _say(replica, "REPLICATE", primary_id)))
                self._wait(lambda: client.wait(1, 100) == 1)
            yield node

    @staticmethod
    def _wait(is_done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not is_done():
            if time.monotonic() > deadline:
                raise NotStarted(f"The Valkey cluster was not ready within {TIMEOUT_S:.0f} s.")
            time.sleep(0.05)

    def _is_complete(self, client: redis.Redis) -> bool:
        info: str = _say(client, "INFO", NEVER_DECODE=True).decode()
        wanted = (f"cluster_known_nodes:{len(self.nodes)}", f"cluster_slots_ok:{SLOTS}", "cluster_state:ok")
        return all(f"{want}\r\n" in info for want in wanted)

    def stop(self) -> None:
        """End all nodes. May be called twice."""
        for node in self.nodes:
            node.stop()

    discard = stop

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _say(client: redis.Redis, *words: str | int, **options: bool) -> Any:
    return client.execute_command("CLUSTER", *words, **options)  # type: ignore[no-untyped-call]  # untyped there


def _does(work: Callable[[], object]) -> bool:
    try:
        work()
    except redis.ResponseError:
        return False
    return True
