"""The end of a program by SIGTERM: load balancers learn of it before the server stops taking calls."""

import asyncio
import signal
import threading
from types import FrameType

import structlog

log = structlog.get_logger(__name__)


class Shutdown:
    """Takes SIGTERM before the server: from then on `is_stopping`, and the server hears of it `delay_s` later, or at
    once by a second SIGTERM."""

    def __init__(self, delay_s: float) -> None:
        self.is_stopping = False
        self._delay_s = delay_s

    def listen(self) -> None:
        """From within the server's loop, when it has set its own handler. Only the main thread hears signals."""
        server = signal.getsignal(signal.SIGTERM)
        if threading.current_thread() is not threading.main_thread() or not callable(server):
            return
        loop = asyncio.get_running_loop()

        def stop(number: int, frame: FrameType | None) -> None:
            if self.is_stopping or not self._delay_s:
                self.is_stopping = True
                server(number, frame)
                return
            self.is_stopping = True
            loop.call_soon_threadsafe(loop.call_later, self._delay_s, server, number, frame)

        signal.signal(signal.SIGTERM, stop)


def end_with_zero() -> None:
    """A program that SIGTERM ends has ended well: the server raises the signal once more when it has ended, and by
    default the process would be reported as killed by it."""

    def end(*_: object) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)
