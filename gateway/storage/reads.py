"""Reads of Postgres that a call waits for."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from gateway.storage.failures import BROKEN

T = TypeVar("T")
# Before the second and the third try.
PAUSES_S: Final = (0.0, 0.05)


async def read_again(read: Callable[[], Awaitable[T]]) -> T:
    """What `read` returns, which changes nothing in Postgres. Where its connection breaks it is done once more on
    another, and again: Postgres may be there, and have ended that connection alone. Raises what the last try raises."""
    for pause_s in PAUSES_S:
        try:
            return await read()
        except BROKEN:
            await asyncio.sleep(pause_s)
    return await read()
