"""A Valkey cluster on loopback: primaries that share the slots, with a replica each if so wanted."""

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from deploy.embedded.processes import NotStarted, free_port
from deploy.embedded.valkey import Valkey

SLOTS = 16_384
TIMEOUT_S = 30.0
NO_RETRY = Retry(NoBackoff(), 0)


class ValkeyCluster:
    """Start it and wait; `with` discards it at the end. Nodes are `Valkey` components that can be stopped singly.

    `nodes` are the primaries it starts with; a node takes over from the primary whose replica it is within some two
    node timeouts. With `says_hosts` of False, nodes name each other to clients by port alone, so that a client may
    reach each of them by an address of its own.
    """

    def __init__(self, folder: Path, *, size: int = 3, has_replicas: bool = False, says_hosts: bool = True) -> None:
        self._folder = folder
        self._endpoints = "ip" if says_hosts else "unknown-endpoint"
        self._password = secrets.token_hex(16)
        # The ports of the cluster bus. The default is 10,000 above the other port, which may be in use by an outgoing
        # connection.
        self._bus_ports: dict[Valkey, int] = {}
        self.nodes = [self._node(str(n)) for n in range(size)]
        self.replicas = [self._node(f"replica{n}") for n in range(size if has_replicas else 0)]

    def _node(self, name: str) -> Valkey:
        bus_port = free_port()
        settings = {"--cluster-enabled": "yes", "--cluster-node-timeout": "2000", "--cluster-port": str(bus_port)}
        settings |= {"--cluster-preferred-endpoint-type": self._endpoints, "--repl-diskless-sync-delay": "0"}
        # Nodes authenticate to each other.
        arguments = [part for setting in settings.items() for part in setting]
        node = Valkey(self._folder / name, password=self._password, arguments=arguments)
        self._bus_ports[node] = bus_port
        return node

    def _meet(self, client: redis.Redis, other: Valkey) -> None:
        _say(client, "MEET", "127.0.0.1", other.port, self._bus_ports[other])

    @property
    def url(self) -> str:
        return self.url_at("127.0.0.1")

    def url_at(self, host: str) -> str:
        """For a client that reaches every node at this host."""
        hosts = ",".join(f"{host}:{node.port}" for node in (*self.nodes, *self.replicas))
        return f"redis+cluster://:{self._password}@{hosts}"

    def start(self) -> Self:
        """Return when every node knows every slot's owner, and replicas have what their primaries have."""
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
        for primary, replica in zip(self.nodes, self.replicas, strict=False):
            replica.start()
            self._follow(replica, primary)
        self._wait_until_known(self.replicas)
        return self

    def _wait_until_known(self, replicas: Sequence[Valkey]) -> None:
        """Nodes do not vote for a replica, nor hear it, before they have heard of it."""
        for node in (*self.nodes, *replicas):
            self._wait(lambda node=node: self._replicas_known_to(node) >= {one.port for one in replicas})  # type: ignore[misc]

    @staticmethod
    def _replicas_known_to(node: Valkey) -> set[int]:
        """By their ports."""
        with redis.Redis.from_url(node.url()) as client:
            ranges = _say(client, "SLOTS", NEVER_DECODE=True)
        return {replica[1] for _, _, _, *replicas in ranges for replica in replicas}

    def owner_of(self, key: str) -> Valkey:
        """The node that has the key now, as the first that answers knows."""
        slot = key_slot(key.encode())
        nodes = [*self.nodes, *self.replicas]
        for asked in nodes:
            try:
                with redis.Redis.from_url(asked.url(), socket_timeout=1, retry=NO_RETRY) as client:
                    ranges = _say(client, "SLOTS", NEVER_DECODE=True)
            except redis.RedisError:
                continue
            port = next(primary[1] for first, last, primary, *_ in ranges if first <= slot <= last)
            return next(node for node in nodes if node.port == port)
        raise NotStarted("No node of the Valkey cluster answers.")

    @staticmethod
    def is_replica(node: Valkey, primary: Valkey) -> bool:
        with redis.Redis.from_url(node.url(), retry=NO_RETRY) as client:
            said = client.info("replication")
        return bool(said["role"] == "slave" and said["master_port"] == primary.port)

    def rejoin(self, node: Valkey) -> None:
        """Start a node that was stopped again; return when it follows the primary that has taken its place."""
        node.start()
        with redis.Redis.from_url(node.url()) as client:
            self._wait(lambda: client.info("replication").get("master_link_status") == "up")

    @contextmanager
    def replica_of(self, primary: Valkey) -> Iterator[Valkey]:
        """One more node, for a while; it has all that the primary has, and all know of it, when this returns."""
        with self._node("replica") as node:
            self._follow(node, primary)
            self._wait_until_known([node])
            yield node

    def _follow(self, node: Valkey, primary: Valkey) -> None:
        """Make it a replica, and return when it has all that the primary has."""
        with redis.Redis.from_url(node.url()) as replica, redis.Redis.from_url(primary.url()) as client:
            self._meet(replica, primary)
            primary_id = _say(client, "MYID").decode()
            self._wait(lambda: primary_id.encode() in _say(replica, "NODES", NEVER_DECODE=True))
            self._wait(lambda: _does(lambda: _say(replica, "REPLICATE", primary_id)))
            self._wait(lambda: client.wait(1, 100) == 1)

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
        for node in (*self.replicas, *self.nodes):
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
