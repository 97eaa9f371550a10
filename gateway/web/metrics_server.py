"""Serves `GET /metrics` on an address of its own, in a thread, so that metrics are not on the port that callers use."""

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, Final

import structlog

from gateway.web.listen_address import ListenAddress

log = structlog.get_logger(__name__)

PATH: Final = "/metrics"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
# A scraper that sends or reads nothing for this long is closed.
TIMEOUT_S: Final = 10.0
# How long the end of the program may wait for the server's thread.
POLL_S: Final = 0.1
# More connections than this at once are closed unanswered.
MAX_CONNECTIONS: Final = 8


class CannotListen(RuntimeError):
    """The address is not one of this machine's, or taken. Its message is one sentence for an operator."""


@contextmanager
def serve_metrics(address: ListenAddress | None, default_port: int, scrape: Callable[[], bytes]) -> Iterator[None]:
    """Answers with what `scrape` returns while the block runs; None: listens nowhere. Raises CannotListen."""
    if address is None:
        yield
        return
    server = _listen(address.host, address.port or default_port, scrape)
    thread = threading.Thread(target=server.serve_forever, args=(POLL_S,), name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def _listen(host: str, port: int, scrape: Callable[[], bytes]) -> "_Server":
    try:
        family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return _Server(family, place, scrape)
    except OSError as exc:
        cause = exc.strerror or exc
        message = f"LITEMAAS_METRICS_LISTEN: cannot listen on {host}, port {port} ({cause}). Name another port, or off."
        raise CannotListen(message) from None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, family: socket.AddressFamily, place: Any, scrape: Callable[[], bytes]) -> None:
        # Read by the base class.
        self.address_family = family
        super().__init__(place, _Handler)
        self._scrape = scrape
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)
        # One scrape at a time: the next one would only compete with it for the processor.
        self._one = threading.Lock()

    def server_bind(self) -> None:
        # HTTPServer would also look up a name for the address, which may take seconds without a name server.
        TCPServer.server_bind(self)

    def scrape(self) -> bytes:
        with self._one:
            return self._scrape()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        exc = sys.exception()
        log.warning("scrape_not_answered", cause=f"{type(exc).__name__}: {exc}")


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = TIMEOUT_S
    error_message_format = "%(code)d %(message)s\n"
    error_content_type = "text/plain; charset=utf-8"

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != PATH:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        body = self.server.scrape()
        self.send_response(HTTPStatus.OK)
        self.send_header("content-type", CONTENT_TYPE)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def version_string(self) -> str:
        return "litemaas"

    def log_message(self, format: str, *args: Any) -> None:
        """No line for each scrape."""
