"""The connection to Redis: one pipelined link, whatever the topology, that never retries a script by itself.

Every script has one key, so a call is (script, key, arguments). Calls of one tick of the loop leave in one write, and
answers come back in order. An answer that does not come leaves the outcome unknown: the caller is told so, and what to
do about it is the caller's business (gateway.storage.counters).
"""

import asyncio
import hashlib
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import structlog
from hiredis import Reader, pack_command
from redis.asyncio import Sentinel
from redis.asyncio.connection import AbstractConnection, Connection, ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, NoScriptError, ReadOnlyError, RedisError, ResponseError

log = structlog.get_logger(__name__)

Argument = bytes | str | int
Address = tuple[str, int]
FIRST_RECONNECT_S = 0.05
LONGEST_RECONNECT_S = 1.0
# To log in and load the scripts: a server that hangs must not be waited for without end.
LEAST_CONNECT_S = 2.0
# A cluster's map is asked for anew after this, and when a node sends us elsewhere or is away.
LEARN_S = 10.0
MOST_REDIRECTS = 5


# What a script or command raises that the server refused.
ScriptFailed = RedisError


class RedisUnavailable(Exception):
    """No connection, no answer in time, or a server that can not serve now. The script may have run."""


@dataclass(frozen=True, slots=True)
class Script:
    """One Lua file behind the common head; its SHA-1 is its version."""

    name: str
    text: bytes = field(repr=False)
    sha: str

    @classmethod
    def load(cls, name: str) -> "Script":
        """From gateway/storage/lua, with counters.lua in front."""
        folder = files("gateway.storage") / "lua"
        text = (folder / "counters.lua").read_bytes() + (folder / f"{name}.lua").read_bytes()
        return cls(name, text, hashlib.sha1(text, usedforsecurity=False).hexdigest())


class Scripts(Protocol):
    """What runs scripts on Redis: the one seam for single servers, Sentinel and Cluster."""

    async def run(self, script: Script, key: str, *args: Argument) -> Any:
        """The script's answer; raises RedisUnavailable when none came, RedisError when the script failed."""
        ...

    async def command(self, *args: Argument) -> Any:
        """One plain command; same errors."""
        ...

    async def open(self) -> None:
        """Starts connecting; returns at once, also while Redis is away."""
        ...

    async def close(self) -> None:
        """Ends the connection; what was not answered fails as RedisUnavailable."""
        ...

    @property
    def is_connected(self) -> bool:
        """Whether a call would be sent now."""
        ...


class RedisLink:
    """One pipelined connection to a primary: at an address, or where Sentinel says it is."""

    def __init__(
        self,
        new_connection: Callable[[], Awaitable[AbstractConnection]],
        scripts: Sequence[Script],
        *,
        timeout_s: float,
        on_connect: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self._new_connection = new_connection
        self._scripts = scripts
        self._timeout_s = timeout_s
        self._on_connect = on_connect
        self._connection: AbstractConnection | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._buffer: list[bytes] = []
        self._task: asyncio.Task[None] | None = None
        self._first_try = asyncio.Event()

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    async def open(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._keep_connected(), name="redis-link")
        await self._first_try.wait()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def run(self, script: Script, key: str, *args: Argument, asking: bool = False) -> Any:
        try:
            return await self.command("EVALSHA", script.sha, 1, key, *args, asking=asking)
        except NoScriptError:
            # SCRIPT FLUSH, or a server that came back empty. The script has not run.
            return await self.command("EVAL", script.text, 1, key, *args, asking=asking)

    async def command(self, *args: Argument, asking: bool = False) -> Any:
        """`asking`: of a cluster's node that is just getting the key's slot."""
        if self._connection is None:
            raise RedisUnavailable("not connected to Redis")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        if not self._buffer:
            loop.call_soon(self._flush)
        if asking:
            nobody: asyncio.Future[Any] = loop.create_future()
            nobody.cancel()
            self._buffer.append(pack_command(("ASKING",)))
            self._waiting.append(nobody)
        self._buffer.append(pack_command(args))  # type: ignore[arg-type]  # a tuple of any length
        self._waiting.append(answer)
        timer = loop.call_later(self._timeout_s, self._time_out, answer)
        try:
            return await answer
        finally:
            timer.cancel()

    def _time_out(self, answer: "asyncio.Future[Any]") -> None:
        if not answer.done():
            answer.set_exception(RedisUnavailable("Redis did not answer in time"))
            # The server hangs, or the network does: later calls must not queue up behind it.
            self._drop_connection()

    def _flush(self) -> None:
        data, self._buffer = b"".join(self._buffer), []
        if self._writer is not None and data:
            self._writer.write(data)

    def _drop_connection(self) -> None:
        writer, self._writer, self._connection = self._writer, None, None
        if writer is not None:
            writer.close()
        waiting, self._waiting, self._buffer = self._waiting, deque(), []
        for answer in waiting:
            if not answer.done():
                answer.set_exception(RedisUnavailable("the connection to Redis broke"))

    async def _keep_connected(self) -> None:
        pause_s = FIRST_RECONNECT_S
        try:
            while True:
                try:
                    stream = await self._connect()
                    pause_s = FIRST_RECONNECT_S
                    self._first_try.set()
                    await self._read(stream)
                except (RedisError, OSError, RedisUnavailable, TimeoutError) as exc:
                    log.warning("redis_connection_lost", cause=str(exc))
                self._drop_connection()
                self._first_try.set()
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_RECONNECT_S)
        finally:
            self._drop_connection()

    async def _connect(self) -> asyncio.StreamReader:
        connection = await self._new_connection()
        try:
            async with asyncio.timeout(max(self._timeout_s, LEAST_CONNECT_S)):
                await connection.connect()  # type: ignore[no-untyped-call]  # untyped there
                for script in self._scripts:
                    await connection.send_command("SCRIPT", "LOAD", script.text)
                    await connection.read_response()
                await connection.send_command("INFO", "server")
                info = (await connection.read_response()).decode()
            if self._on_connect is not None:
                run_id = next(line[7:].strip() for line in info.splitlines() if line.startswith("run_id:"))
                await self._on_connect(run_id)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        # redis-py connects, logs in and does TLS; its own way to send and read costs three times the CPU.
        reader, writer = connection._reader, connection._writer
        if reader is None or writer is None:
            raise RedisUnavailable("Redis closed the connection")
        # Ours to close from here on.
        connection._reader = connection._writer = None
        self._connection, self._writer = connection, writer
        return reader

    async def _read(self, stream: asyncio.StreamReader) -> None:
        parser = Reader(replyError=_error_of)
        while data := await stream.read(65536):
            parser.feed(data)
            while (answer := parser.gets()) is not False:
                if not self._waiting:
                    raise RedisUnavailable("Redis answered what was not asked")
                waiting = self._waiting.popleft()
                if waiting.done():
                    continue
                if isinstance(answer, Exception):
                    waiting.set_exception(answer)
                    if isinstance(answer, ReadOnlyError):
                        raise answer  # this primary was demoted: find the new one
                else:
                    waiting.set_result(answer)
        raise RedisUnavailable("Redis closed the connection")


# What a server says that is there but can not serve now: full, loading, cut off from its cluster or its replicas.
_AWAY = frozenset(("OOM", "BUSY", "LOADING", "CLUSTERDOWN", "MASTERDOWN", "MISCONF", "NOREPLICAS", "TRYAGAIN"))


def _error_of(message: str) -> Exception:
    word, _, rest = message.partition(" ")
    if word in _AWAY:
        return RedisUnavailable(message)
    if word in ("MOVED", "ASK"):
        return MovedError(rest) if word == "MOVED" else AskError(rest)
    kinds: dict[str, type[RedisError]] = {"NOSCRIPT": NoScriptError, "READONLY": ReadOnlyError}
    return kinds.get(word, ResponseError)(message)


class ClusterScripts:
    """Redis Cluster: a link to each primary. A call for a key that is elsewhere has not run, and is sent there; no
    other is sent twice."""

    def __init__(self, addresses: Sequence[Address], new_link: Callable[[Address, bool], RedisLink]) -> None:
        self._addresses = addresses
        self._new_link = new_link
        self._links: dict[Address, RedisLink] = {}
        self._owners: dict[int, Address] = {}
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    @property
    def is_connected(self) -> bool:
        # While one primary is away, the accounts of the others are served.
        return any(link.is_connected for link in self._links.values())

    async def open(self) -> None:
        await self._learn()
        self._task = asyncio.get_running_loop().create_task(self._keep_learning(), name="redis-cluster")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(*(link.close() for link in self._links.values()))

    async def run(self, script: Script, key: str, *args: Argument) -> Any:
        return await self._at_owner(key, lambda link, asking: link.run(script, key, *args, asking=asking))

    async def command(self, *args: Argument) -> Any:
        """Its key, if it has one, comes first."""
        key = args[1] if len(args) > 1 else ""
        return await self._at_owner(str(key), lambda link, asking: link.command(*args, asking=asking))

    async def _at_owner(self, key: str, call: Callable[[RedisLink, bool], Awaitable[Any]]) -> Any:
        slot, asking = key_slot(key.encode()), False
        address = self._owners.get(slot)
        for _ in range(MOST_REDIRECTS):
            if address is None:
                break
            try:
                return await call(await self._link_to(address), asking)
            except AskError as elsewhere:
                address, asking = (elsewhere.host or address[0], int(elsewhere.port)), True
                if isinstance(elsewhere, MovedError):
                    self._owners[slot], asking = address, False
                    self._news.set()
            except RedisUnavailable:
                # A replica may take this primary's place.
                self._news.set()
                raise
        self._news.set()
        raise RedisUnavailable("no node of the cluster answers for this key")

    async def _link_to(self, address: Address) -> RedisLink:
        link = self._links.get(address)
        if link is None:
            link = self._links[address] = self._new_link(address, True)
        if not link.is_connected:
            await link.open()
        return link

    async def _keep_learning(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), LEARN_S)
            self._news.clear()
            await self._learn()
            await asyncio.sleep(LONGEST_RECONNECT_S)

    async def _learn(self) -> None:
        for address in [*self._links, *self._addresses]:
            known = self._links.get(address)
            link = known or self._new_link(address, False)
            try:
                await link.open()
                ranges = await link.command("CLUSTER", "SLOTS")
            except (RedisUnavailable, RedisError) as exc:
                log.warning("redis_cluster_node_away", address=f"{address[0]}:{address[1]}", cause=str(exc))
                continue
            finally:
                if known is None:
                    await link.close()
            owners = {}
            for first, last, primary, *_ in ranges:
                # A node that does not know its own name leaves it out.
                owner = (primary[0].decode() if primary[0] else address[0], int(primary[1]))
                owners.update(dict.fromkeys(range(first, last + 1), owner))
            if owners:
                await self._use(owners)
                return

    async def _use(self, owners: dict[int, Address]) -> None:
        self._owners = owners
        primaries = set(owners.values())
        gone = [self._links.pop(address) for address in set(self._links) - primaries]
        await asyncio.gather(*(link.close() for link in gone), *map(self._link_to, primaries))


def connect(
    url: str,
    scripts: Sequence[Script],
    *,
    timeout_s: float,
    ca_file: Path | None = None,
    on_connect: Callable[[str], Awaitable[None]] | None = None,
) -> Scripts:
    """For `redis://`, `rediss://`, `redis+cluster://host:port` and `redis+sentinel://host:port,host:port/primary`."""
    parts = urlsplit(url)
    options: dict[str, Any] = {
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "client_name": "litemaas",
        "protocol": 2,
    }
    if parts.scheme.startswith("rediss") and ca_file:
        options |= {"ssl_ca_certs": str(ca_file), "ssl_cert_reqs": ssl.CERT_REQUIRED}
    if parts.scheme in ("redis+cluster", "rediss+cluster"):
        addresses, login = _read_netloc(parts.netloc, default_port=6379)
        kind = SSLConnection if parts.scheme == "rediss+cluster" else Connection

        def new_link(address: Address, is_primary: bool) -> RedisLink:
            async def new_connection() -> AbstractConnection:
                return kind(host=address[0], port=address[1], **login, **options)

            told = on_connect if is_primary else None
            return RedisLink(new_connection, scripts, timeout_s=timeout_s, on_connect=told)

        return ClusterScripts(addresses, new_link)
    if parts.scheme == "redis+sentinel":
        new_connection = _through_sentinel(parts.netloc, parts.path.strip("/") or "mymaster", options)
    else:
        pool = ConnectionPool.from_url(url, **options)

        async def new_connection() -> AbstractConnection:
            connection: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]  # untyped there
            return connection

    return RedisLink(new_connection, scripts, timeout_s=timeout_s, on_connect=on_connect)


def _read_netloc(netloc: str, *, default_port: int) -> tuple[list[Address], dict[str, Any]]:
    """`user:password@host:port,host:port`."""
    credentials, _, hosts = netloc.rpartition("@")
    username, _, password = map(unquote, credentials.partition(":"))
    addresses = []
    for part in hosts.split(","):
        host, _, port = part.rpartition(":") if part.rpartition(":")[2].isdecimal() else (part, "", "")
        addresses.append((host.strip("[]"), int(port or default_port)))
    return addresses, {"username": username or None, "password": password or None}


def _through_sentinel(
    netloc: str, primary: str, options: dict[str, Any]
) -> Callable[[], Awaitable[AbstractConnection]]:
    sentinels, login = _read_netloc(netloc, default_port=26379)
    timeout_s = options["socket_connect_timeout"]
    sentinel = Sentinel(sentinels, socket_connect_timeout=timeout_s)  # type: ignore[no-untyped-call]  # untyped there

    async def new_connection() -> AbstractConnection:
        host, port = await sentinel.discover_master(primary)
        return Connection(host=host, port=port, **login, **options)

    return new_connection
