"""Reads request bodies: bounded each, and bounded all together."""

from types import TracebackType
from typing import Final, Self, cast

from gateway.domain.errors import GatewayError
from gateway.web.responses import Receive

LARGE: Final = 1024 * 1024


class ClientLeft(Exception):
    """The caller closed the connection before its request was complete."""


class BodyBudget:
    """Bytes of request bodies that a worker holds at once."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.held_bytes = 0

    def hold(self) -> "HeldBody":
        """To be entered: gives back what was taken when the call is over."""
        return HeldBody(self)


class HeldBody:
    """One call's share of the budget."""

    __slots__ = ("_budget", "size")

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, where: TracebackType | None
    ) -> None:
        self._budget.held_bytes -= self.size

    def take(self, size: int) -> None:
        """Raises `overloaded` when the worker holds too much already."""
        if self._budget.held_bytes + size > self._budget.max_bytes:
            message = "The gateway holds too many large requests at this moment. Try again in a second."
            raise GatewayError("overloaded", message, headers={"retry-after": "1"})
        self._budget.held_bytes += size
        self.size += size

    def give_back(self, size: int) -> None:
        """What is no longer held before the call is over."""
        self._budget.held_bytes -= size
        self.size -= size


async def read_body(receive: Receive, declared: int | None, max_bytes: int, held: HeldBody) -> bytes:
    """The whole body. Raises `request_too_large`, `overloaded`, or ClientLeft."""
    if declared is not None and declared > max_bytes:
        raise _too_large(max_bytes)
    chunks: list[bytes] = []
    # A large body grows in one place: a list of its pieces and their sum would be two of it.
    large: bytearray | None = None
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        chunk: bytes = message.get("body", b"")
        if chunk:
            size += len(chunk)
            if size > max_bytes:
                raise _too_large(max_bytes)
            held.take(len(chunk))
            if large is not None:
                large += chunk
            else:
                chunks.append(chunk)
                if size > LARGE:
                    large, chunks = bytearray().join(chunks), []
        if not message.get("more_body", False):
            if large is not None:
                return cast("bytes", large)  # read as one from here on
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(max_bytes: int) -> GatewayError:
    return GatewayError("request_too_large", f"The request body is larger than {max_bytes} bytes.")
