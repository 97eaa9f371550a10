"""Which failures of Postgres a read that a call waits for is made again after."""

import asyncpg
import pytest

from gateway.storage.reads import read_again


class Reads:
    """Fails with these, one after the other, and then answers."""

    def __init__(self, *failures: Exception) -> None:
        self.failures, self.made = list(failures), 0

    async def __call__(self) -> int:
        self.made += 1
        if self.failures:
            raise self.failures.pop(0)
        return 7


BROKEN = [
    ConnectionResetError(),
    asyncpg.ConnectionDoesNotExistError(),
    asyncpg.AdminShutdownError(),
    asyncpg.CrashShutdownError(),
    asyncpg.InterfaceError("connection is closed"),
    asyncpg.InternalClientError("unexpected"),
]


@pytest.mark.parametrize("failure", BROKEN, ids=lambda one: type(one).__name__)
async def test_a_read_whose_connection_broke_is_made_again(failure: Exception) -> None:
    reads = Reads(failure, failure)

    assert await read_again(reads) == 7
    assert reads.made == 3


async def test_it_is_made_three_times_at_most() -> None:
    reads = Reads(*BROKEN[:4])

    with pytest.raises(asyncpg.AdminShutdownError):
        await read_again(reads)
    assert reads.made == 3


@pytest.mark.parametrize(
    "failure",
    [TimeoutError(), asyncpg.QueryCanceledError(), asyncpg.CannotConnectNowError(), asyncpg.TooManyConnectionsError()],
    ids=lambda one: type(one).__name__,
)
async def test_one_that_postgres_did_not_answer_or_refused_is_not(failure: Exception) -> None:
    reads = Reads(failure)

    with pytest.raises(type(failure)):
        await read_again(reads)
    assert reads.made == 1
