"""What the load is sent to."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol
from urllib.parse import urlsplit

from loadtests.bench import requests

DIRECT: Final = "direct"


@dataclass(frozen=True, slots=True)
class Target:
    """An address, the headers of its calls, and the process whose time and memory are measured; `direct` has none.
    `redis_counts` are the reads and commands of its Redis so far. `loads`: it is measured under these only."""

    name: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    pid: int | None = None
    redis_counts: Callable[[], Mapping[str, int]] | None = None
    loads: Collection[str] | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "127.0.0.1", parts.port or 80

    def takes(self, load: str) -> bool:
        """Whether it is measured under this load."""
        return self.loads is None or load in self.loads

    def request(self, body: bytes) -> bytes:
        """The bytes of a call."""
        return requests.request_bytes(self.url, self.headers, body)


class Proxy(Protocol):
    """A proxy that can be started in front of a model server, any number of times."""

    @property
    def name(self) -> str: ...

    def version(self) -> str:
        """For the page. Raises NotStarted if it cannot be had."""

    def launch(self, model_server_url: str) -> None:
        """Start it, without waiting. Raises NotStarted."""

    def wait(self) -> None:
        """Return when it can be used. Raises NotStarted."""

    def targets(self) -> Sequence[Target]:
        """What it serves, once it can be used."""

    def stop(self) -> None:
        """May be called twice, and before it was launched."""
