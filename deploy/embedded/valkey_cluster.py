"""A Valkey cluster of our own on loopback: primaries that share the slots, without replicas."""

import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from deploy.embedded.processes import NotStarted
from deploy.embedded.valkey import Valkey

SLOTS = 16_384
PATIENCE_S = 30.0


class ValkeyCluster:
    """Start it and wait; `with` throws it away at the end. Nodes are `Valkey` parts that may be stopped one by one."""

    def __init__(self, folder: Path, *, size: int = 3) -> None:
        arguments = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
        self.nodes = [Valkey(folder / str(n), arguments=arguments) for n in range(size)]
        for node in self.nodes:
            # They log in to each other.
            node.password = self.nodes[0].password

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"redis+cluster://:{self.nodes[0].password}@{hosts}"

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
                _say(client, "MEET", "127.0.0.1", self.nodes[0].port)
            deadline = time.monotonic() + PATIENCE_S
            while not all(map(self._is_complete, clients)):
                if time.monotonic() > deadline:
                    raise NotStarted(f"The Valkey cluster was not ready within {PATIENCE_S:.0f} s.")
                time.sleep(0.05)
        finally:
            for client in clients:
                client.close()
        return self

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
