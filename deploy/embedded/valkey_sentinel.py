"""Sentinels on loopback: they watch a Valkey and its replicas, and make a replica the primary when it is gone."""

from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from deploy.embedded.component import Component
from deploy.embedded.processes import Child, bare_environment, free_port
from deploy.embedded.valkey import Valkey, find_server

PRIMARY = "main"
DOWN_AFTER_MS = 1000


class Sentinel(Component):
    """One of them. `quorum` have to agree that the primary is gone."""

    def __init__(self, folder: Path, primary: Valkey, *, quorum: int) -> None:
        self.folder = folder.absolute()
        self.port = free_port()
        self._primary = primary
        self._quorum = quorum

    def launch(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = self.folder / "sentinel.conf"
        # It writes there what it has learned.
        settings.touch(mode=0o600)
        settings.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\n"
            f"sentinel monitor {PRIMARY} 127.0.0.1 {self._primary.port} {self._quorum}\n"
            f"sentinel auth-pass {PRIMARY} {self._primary.password}\n"
            f"sentinel down-after-milliseconds {PRIMARY} {DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {PRIMARY} 10000\n"
        )
        self.child = Child(
            "Sentinel",
            [str(find_server()), str(settings), "--sentinel"],
            log=self.folder / "sentinel.log",
            env=bare_environment(self.folder),
        )

    def is_ready(self) -> bool:
        """Whether it knows a replica that could take over."""
        try:
            with redis.Redis(port=self.port, retry=Retry(NoBackoff(), 0)) as client:
                said = client.info("sentinel")
        except redis.RedisError:
            return False
        return bool(int(said["master0"]["slaves"]))


class ValkeySentinels:
    """A primary, a replica, and `count` sentinels. `with` discards all of it at the end."""

    def __init__(self, folder: Path, *, count: int = 3) -> None:
        self.primary = Valkey(folder / "primary")
        about = ("--replicaof", f"127.0.0.1 {self.primary.port}", "--repl-diskless-sync-delay", "0")
        self.replica = Valkey(folder / "replica", password=self.primary.password, arguments=about)
        quorum = count // 2 + 1
        self.sentinels = [Sentinel(folder / f"sentinel{n}", self.primary, quorum=quorum) for n in range(count)]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://:{self.primary.password}@{hosts}/{PRIMARY}"

    def start(self) -> Self:
        """Return when the replica follows, and every sentinel knows it."""
        for node in (self.primary, self.replica):
            node.start()
        for sentinel in self.sentinels:
            sentinel.launch()
        for sentinel in self.sentinels:
            sentinel.wait()
        return self

    def discard(self) -> None:
        for part in (*self.sentinels, self.replica, self.primary):
            part.discard()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.discard()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()
