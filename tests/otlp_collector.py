"""A collector of OpenTelemetry traces on loopback: it takes OTLP over HTTP and keeps the spans."""

import gzip
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

from gateways import wait_until
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

PATH: Final = "/v1/traces"
Attributes = dict[str, Any]


class OtlpCollector:
    """`spans` are those that came so far, `resources` the attributes of who sent them, `raw` every byte."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resources: list[Attributes] = []
        self.raw = b""
        handler = type("Handler", (_Handler,), {"collector": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}{PATH}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def take(self, body: bytes) -> None:
        self.raw += body
        for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(attributes(sent.resource))
            self.spans += [span for scope in sent.scope_spans for span in scope.spans]

    async def wait_for(self, is_enough: Callable[[list[Span]], bool], what: str) -> list[Span]:
        async def has_come() -> bool:
            return is_enough(self.spans)

        await wait_until(has_come, what)
        return self.spans

    async def trace(self, request_id: str, *, with_step: str | None = "settle") -> "Trace":
        """The spans of the request with this id, once the last of its steps is there."""

        def of_request(spans: list[Span]) -> list[Span]:
            roots = [span for span in spans if attributes(span).get("litemaas.request_id") == request_id]
            return [span for span in spans if roots and span.trace_id == roots[0].trace_id]

        def is_whole(spans: list[Span]) -> bool:
            found = of_request(spans)
            return bool(found) and (with_step is None or with_step in {span.name for span in found})

        return Trace(of_request(await self.wait_for(is_whole, f"the trace of {request_id}")))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Trace:
    """The spans of one request: its own, and its steps in the order in which they began."""

    def __init__(self, spans: list[Span]) -> None:
        ids = {span.span_id for span in spans}
        (self.root,) = [span for span in spans if span.parent_span_id not in ids]
        self.steps = sorted(
            (span for span in spans if span is not self.root), key=lambda span: span.start_time_unix_nano
        )
        self.attributes = attributes(self.root)

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.steps]

    def step(self, name: str) -> Span:
        (found,) = [span for span in self.steps if span.name == name]
        return found


def attributes(holder: Any) -> Attributes:
    """Of a span or a resource, as Python values."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in holder.attributes}


class _Handler(BaseHTTPRequestHandler):
    collector: OtlpCollector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        is_right = self.path == PATH and self.headers["content-type"] == "application/x-protobuf"
        if is_right:
            self.collector.take(body)
        self.send_response(200 if is_right else 400)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""
