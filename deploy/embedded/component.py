"""The base class of Postgres, Valkey, LiteLLM and the model server: one child process and its readiness."""

from abc import ABC, abstractmethod
from http.client import HTTPConnection, HTTPException
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from deploy.embedded.processes import Child


class Component(ABC):
    """Start it and wait, or `launch()` several and `wait()` for each. `with` discards at the end.

    A subclass creates its child in `launch` and checks in `is_ready` whether it can be used.
    """

    TIMEOUT_S = 30.0

    child: Child | None = None

    @abstractmethod
    def launch(self) -> None:
        """Start it, without waiting until it is ready."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it can be used now."""

    @property
    def pid(self) -> int:
        return self.child.pid if self.child else 0

    def wait(self) -> None:
        """Return when it can be used; raise NotStarted if it ends before, or takes too long."""
        if self.child is None:
            raise RuntimeError("launch() comes before wait()")
        self.child.wait_until(self.is_ready, self.TIMEOUT_S)

    def check(self) -> None:
        """Raise Ended, with its exit code and last lines, if it has ended by itself."""
        if self.child:
            self.child.check()

    def start(self) -> Self:
        """Start it and wait. After a `stop()` it comes back on the same port."""
        self.launch()
        self.wait()
        return self

    def stop(self) -> None:
        """End its process. May be called twice, and before it was started."""
        if self.child:
            self.child.stop()

    def discard(self) -> None:
        """Stop it and delete its data."""
        self.stop()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.discard()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()


def answers(url: str, timeout_s: float = 2.0) -> bool:
    """Whether a GET of this loopback URL succeeds."""
    parts = urlsplit(url)
    # Nothing of TLS: it takes most of the time of a first connection, and this is asked again and again.
    connection = HTTPConnection(parts.netloc, timeout=timeout_s)
    try:
        connection.request("GET", parts._replace(scheme="", netloc="").geturl() or "/")
        return 200 <= connection.getresponse().status < 300
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
