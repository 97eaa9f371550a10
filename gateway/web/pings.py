"""Comments that keep an event stream open while nothing else is sent. Clients ignore them:
https://html.spec.whatwg.org/multipage/server-sent-events.html#authoring-notes"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from gateway.web.responses import Message, Send

PING: Final = b": ping\n\n"


class PingedSend:
    """`send` of one stream. Once started, it calls `ping` whenever nothing was sent for `after_s`; `ping` sends by this
    object too. A message waits for a ping that is being sent, and none is sent beside a message."""

    __slots__ = ("_after_s", "_is_sending", "_last_at", "_loop", "_ping", "_pinging", "_send", "_timer")

    def __init__(self, send: Send, after_s: float) -> None:
        self._send = send
        self._after_s = after_s
        self._loop = asyncio.get_running_loop()
        self._ping: Callable[[], Awaitable[None]] | None = None
        self._pinging: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_sending = False
        self._last_at = 0.0

    def start(self, ping: Callable[[], Awaitable[None]]) -> None:
        """From now on; a second time it goes on."""
        if self._ping is None:
            self._ping, self._last_at = ping, self._loop.time()
            self._timer = self._loop.call_later(self._after_s, self._check)

    async def __call__(self, message: Message) -> None:
        if self._pinging is not None and self._pinging is not asyncio.current_task():
            await self._pinging
        self._is_sending = True
        if not message.get("more_body", True):
            self.stop()
        try:
            await self._send(message)
        finally:
            self._is_sending, self._last_at = False, self._loop.time()

    def _check(self) -> None:
        # Checked periodically instead of restarted for each chunk: a stream has thousands.
        left_s = self._last_at + self._after_s - self._loop.time()
        if left_s <= 0 and not self._is_sending and self._pinging is None:
            self._pinging = self._loop.create_task(self._run(), name="ping")
        self._timer = self._loop.call_later(left_s if left_s > 0 else self._after_s, self._check)

    async def _run(self) -> None:
        try:
            if self._ping is not None:
                await self._ping()
        finally:
            self._pinging = None

    def stop(self) -> None:
        """No more; what is being sent is sent."""
        self._ping = None
        if self._timer is not None:
            self._timer.cancel()
