"""LISTEN/NOTIFY subscriber: what changed in Postgres, and whether changes arrive.

Triggers NOTIFY ids (migration 0008) to a connection of its own. Each second a heartbeat goes out by the pool and has
to come back by that connection: a pooler in between may swallow notifications without any error.
"""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING, Final

import structlog

from gateway.storage.failures import POSTGRES_FAILED
from gateway.storage.postgres import connect
from gateway.tls import NO_FILES, TlsFiles

if TYPE_CHECKING:
    from gateway.storage.postgres import Connection, Pool

log = structlog.get_logger(__name__)

HEARTBEAT_S: Final = 1.0
# Two heartbeats may be late before the listening connection counts as deaf.
DEAF_AFTER_S: Final = 2.5
RECONNECT_S: Final = 0.25
# While Postgres is away: once it is back, a change must hold within a second, whether or not this listens by then.
AWAY_S: Final = 0.5
NEVER: Final = float("-inf")
NOTIFY_HEARTBEAT: Final = "SELECT pg_notify($1, '')"


class Listening(Enum):
    """What is known of changes now."""

    GOOD = "good"  # every change arrives
    DEAF = "deaf"  # Postgres answers, but changes do not arrive
    AWAY = "away"  # Postgres does not answer


class Changes:
    """Calls `invalidate(letter, ids)` for each change; `invalidate('*', ())` when some may have been missed; and
    `is_back()` when Postgres takes writes again after it did not."""

    def __init__(
        self,
        pool: "Pool",
        listen_url: str,
        invalidate: Callable[[str, tuple[int, ...]], None],
        *,
        is_back: Callable[[], None] = lambda: None,
        tls: TlsFiles = NO_FILES,
    ) -> None:
        self._pool = pool
        self._is_back = is_back
        self._was_away = False
        self._url = listen_url
        self._tls = tls
        self._invalidate = invalidate
        self._channel = f"litemaas_heartbeat_{secrets.token_hex(8)}"
        self._heard_at = self._answered_at = NEVER
        self.listening = Listening.AWAY
        self.last_contact = monotonic()

    async def run(self) -> None:
        """Listens and beats until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            group.create_task(self._beat())

    async def _listen(self) -> None:
        while True:
            connection: Connection | None = None
            try:
                connection = await connect(self._url, tls=self._tls, name="litemaas-changes")
                ended = asyncio.Event()
                connection.add_termination_listener(lambda _, ended=ended: ended.set())
                await connection.add_listener("litemaas_changes", self._on_change)
                await connection.add_listener(self._channel, self._on_heartbeat)
                # What changed before this listened is not known.
                self._invalidate("*", ())
                # At once, and not only in a second: it is known then that changes arrive.
                await self._send_beat()
                await self._until_deaf(ended)
            except POSTGRES_FAILED as exc:
                log.warning("changes_not_heard", cause=str(exc))
            finally:
                if connection is not None:
                    connection.terminate()
            self._heard_at = NEVER
            self._judge()
            await asyncio.sleep(AWAY_S if connection is None else RECONNECT_S)

    async def _until_deaf(self, ended: asyncio.Event) -> None:
        connected_at = monotonic()
        while not ended.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    await ended.wait()
            if self.listening is Listening.DEAF and monotonic() - connected_at > DEAF_AFTER_S:
                return

    async def _beat(self) -> None:
        while True:
            await self._send_beat()
            await asyncio.sleep(HEARTBEAT_S)
            self._judge()

    async def _send_beat(self) -> None:
        try:
            await self._pool.execute(NOTIFY_HEARTBEAT, self._channel, timeout=DEAF_AFTER_S)
            self._answered_at = self.last_contact = monotonic()
            if self._was_away:
                self._was_away = False
                self._is_back()
        except POSTGRES_FAILED as exc:
            self._was_away = True
            # Of an answer that does not come readiness says what to do.
            log.info("postgres_did_not_answer", cause=str(exc))

    def _judge(self) -> None:
        now = monotonic()
        before = self.listening
        if now - self._heard_at < DEAF_AFTER_S:
            self.listening = Listening.GOOD
        elif now - self._answered_at < DEAF_AFTER_S:
            self.listening = Listening.DEAF
        else:
            self.listening = Listening.AWAY
        if self.listening is not before:
            log.info("hearing_changed", hearing=self.listening.value)
            # Something may have been missed. While Postgres is away, what is known stays in use.
            if self.listening is Listening.DEAF:
                self._invalidate("*", ())

    def _on_heartbeat(self, *_: object) -> None:
        self._heard_at = self.last_contact = monotonic()
        if self.listening is not Listening.GOOD:
            self._judge()

    def _on_change(self, _connection: object, _pid: object, _channel: object, payload: object) -> None:
        code, _, ids = str(payload).partition(":")
        self._invalidate(code, tuple(int(i) for i in ids.split(",") if i))
