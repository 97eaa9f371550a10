"""One address with several hosts of Postgres: a connection to the one that accepts writes.

asyncpg tries hosts one after the other within one timeout, so that a first host that hangs keeps it from all others.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import asyncpg

from gateway.storage.failures import POSTGRES_FAILED

# How long a host may be silent until the next one is tried beside it.
HEAD_START_S: Final = 0.5
Host = tuple[str, int | None]


def postgres_hosts(url: str) -> list[Host]:
    """The hosts of an address as `postgres_url` returns it; none where the driver's own rules apply."""
    query = parse_qs(urlsplit(url).query)
    hosts = query.get("host", [""])[0].split(",")
    ports = query.get("port", [""])[0].split(",")
    if len(hosts) < 2 or any(not host or host.startswith("/") for host in hosts) or len(ports) not in (1, len(hosts)):
        return []
    ports = ports if len(ports) == len(hosts) else ports * len(hosts)
    return [_host(host, port) for host, port in zip(hosts, ports, strict=True)]


def _host(text: str, default_port: str) -> Host:
    name, bracket, rest = text.rpartition("]")
    host, _, port = rest.partition(":")
    number = port or default_port
    return (name.removeprefix("[") if bracket else host), int(number) if number else None


class PostgresHosts:
    """Connects as `asyncpg.connect` does. Of several hosts it wants the one that accepts writes, unless the address
    has a `target_session_attrs` of its own; the one that was connected to last is tried first."""

    def __init__(self) -> None:
        self._last: Host | None = None

    async def connect(self, url: str, *, timeout: float, **options: Any) -> Any:
        """Raises what asyncpg raises; of several hosts, of the one whose failure says most."""
        hosts = sorted(postgres_hosts(url), key=lambda host: host != self._last)
        if not hosts:
            return await asyncpg.connect(url, timeout=timeout, **options)
        if "target_session_attrs" not in parse_qs(urlsplit(url).query):
            options["target_session_attrs"] = "read-write"

        async def try_host(host: Host) -> Any:
            connection = await asyncpg.connect(url, host=host[0], port=host[1], timeout=timeout, **options)
            return host, connection

        async with asyncio.timeout(timeout):
            self._last, connection = await _first(map(try_host, hosts))
        return connection


async def _first(tries: Iterator[Any]) -> Any:
    """The result of the first that succeeds. Each next one begins when all before have failed, or are late."""
    running: set[asyncio.Task[Any]] = set()
    failures: list[BaseException] = []
    upcoming = next(tries, None)
    try:
        while running or upcoming is not None:
            if upcoming is not None:
                running.add(asyncio.ensure_future(upcoming))
                upcoming = next(tries, None)
            head_start_s = None if upcoming is None else HEAD_START_S
            done, _ = await asyncio.wait(running, timeout=head_start_s, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                running.discard(task)
                failure = task.exception()
                if failure is None:
                    return task.result()
                if not isinstance(failure, POSTGRES_FAILED):
                    raise failure
                failures.append(failure)
    finally:
        if upcoming is not None:
            upcoming.close()
        for task in running:
            task.add_done_callback(_drop)
            task.cancel()
    raise min(failures, key=_says_little)


def _says_little(failure: BaseException) -> bool:
    return isinstance(failure, asyncpg.TargetServerAttributeNotMatched)


def _drop(task: "asyncio.Task[Any]") -> None:
    with suppress(asyncio.CancelledError, *POSTGRES_FAILED):
        task.result()[1].terminate()
