"""The connection to Redis: one pipelined link, whatever the topology, that never retries a script by itself.

Every script has one key, so a call is (script, key, arguments). Calls of one tick of the loop leave in one write, and
answers come back in order. An answer that does not come leaves the outcome unknown: an exception says so, and the
caller decides what follows (gateway.storage.counters).
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Protocol

import structlog
from hiredis import Reader, pack_command
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AskError, MovedError, NoScriptError, ReadOnlyError, RedisError, ResponseError

from gateway.cancellation import end_tasks
from gateway.tls import cure_tls

log = structlog.get_logger(__name__)

Argument = bytes | str | int
Address = tuple[str, int]
FIRST_RECONNECT_S = 0.05
MAX_RECONNECT_S = 1.0
# To log in and load the scripts: a server that hangs must not be waited for without end.
MIN_CONNECT_S = 2.0
CANCEL_AGAIN_S = 0.5

# Gets the run id of a server, before the connection is used, and which keys that serves.
OnConnect = Callable[[str, Callable[[str], bool]], Awaitable[None]]

# What a script or command raises that the server refused.
ScriptFailed = RedisError


class RedisUnavailable(Exception):
    """No connection, no answer in time, or a server that cannot serve now. The script may have run."""


class NotRun(RedisUnavailable):
    """It was never sent, or the server said that it cannot serve now: the script has not run and will not."""


@dataclass(frozen=True, slots=True)
class Script:
    """Lua files, one after the other; its SHA-1 is its version."""

    name: str
    text: bytes = field(repr=False)
    sha: str

    @classmethod
    def load(cls, *names: str) -> "Script":
        """From gateway/storage/counters/lua; the last is the script, what it stands on comes before."""
        folder = files("gateway.storage.counters") / "lua"
        text = b"".join((folder / f"{name}.lua").read_bytes() for name in names)
        return cls(names[-1], text, hashlib.sha1(text, usedforsecurity=False).hexdigest())


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

    def keys_of_primaries(self, prefix: str) -> list[str]:
        """A key at each primary, the same ones as long as slots stay where they are. All begin with `prefix`."""
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
        on_connect: OnConnect | None = None,
        serves: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._serves = serves
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
            await end_tasks([self._task], again_s=CANCEL_AGAIN_S)

    def keys_of_primaries(self, prefix: str) -> list[str]:
        return [prefix]

    async def run(self, script: Script, key: str, *args: Argument, asking: bool = False) -> Any:
        try:
            return await self.command("EVALSHA", script.sha, 1, key, *args, asking=asking)
        except NoScriptError:
            # SCRIPT FLUSH, or a server that came back empty. The script has not run.
            return await self.command("EVAL", script.text, 1, key, *args, asking=asking)

    async def command(self, *args: Argument, asking: bool = False) -> Any:
        """`asking`: of a cluster's node that is just getting the key's slot."""
        if self._connection is None:
            raise NotRun("not connected to Redis")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        if not self._buffer:
            loop.call_soon(self._flush)
        if asking:
            ignored: asyncio.Future[Any] = loop.create_future()
            ignored.cancel()
            self._buffer.append(pack_command(("ASKING",)))
            self._waiting.append(ignored)
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
            # The server hangs, or the network does: later calls must not wait for it.
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
                    cure = cure_tls(exc, "LITEMAAS_REDIS")
                    log.warning("redis_connection_lost", cause=str(exc), **({"cure": cure} if cure else {}))
                self._drop_connection()
                self._first_try.set()
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, MAX_RECONNECT_S)
        finally:
            self._drop_connection()

    async def _connect(self) -> asyncio.StreamReader:
        connection = await self._new_connection()
        try:
            async with asyncio.timeout(max(self._timeout_s, MIN_CONNECT_S)):
                await connection.connect()  # type: ignore[no-untyped-call]  # untyped there
                for script in self._scripts:
                    await connection.send_command("SCRIPT", "LOAD", script.text)
                    await connection.read_response()
                await connection.send_command("INFO", "server")
                info = (await connection.read_response()).decode()
            if self._on_connect is not None:
                run_id = next(line[7:].strip() for line in info.splitlines() if line.startswith("run_id:"))
                await self._on_connect(run_id, self._serves)
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


# What a server says that is there but cannot serve now: full, loading, cut off from its cluster or its replicas.
_AWAY = frozenset(("OOM", "BUSY", "LOADING", "CLUSTERDOWN", "MASTERDOWN", "MISCONF", "NOREPLICAS", "TRYAGAIN"))


def _error_of(message: str) -> Exception:
    word, _, rest = message.partition(" ")
    if word in _AWAY:
        return NotRun(message)
    if word in ("MOVED", "ASK"):
        return MovedError(rest) if word == "MOVED" else AskError(rest)
    kinds: dict[str, type[RedisError]] = {"NOSCRIPT": NoScriptError, "READONLY": ReadOnlyError}
    return kinds.get(word, ResponseError)(message)
