"""OpenTelemetry traces of calls, where LITEMAAS_TRACES_URL is set: one span for the request, and one for each step.

Only then is this module imported, which needs the packages of the extra `otel`. Spans have no prompt, answer, key, name
of a person or word that a caller made up. They are sent by a thread; what does not fit into its queue is dropped.
"""

import logging
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final
from uuid import UUID

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway.domain.errors import CODES
from gateway.domain.usage_rows import UsageRow

log = structlog.get_logger(__name__)

# The names of the GenAI semantic conventions; other endpoints keep their own.
OPERATIONS: Final = {
    "chat_completions": "chat",
    "messages": "chat",
    "responses": "chat",
    "completions": "text_completion",
    "images": "generate_content",
    "image_edits": "generate_content",
}
# Ended calls whose lease is not settled; more, and the oldest lose their last span.
MAX_CLOSING: Final = 10_000
EXPORT_TIMEOUT_S: Final = 2.0
_W3C: Final = TraceContextTextMapPropagator()


class CallTrace:
    """The spans of one request. `step` ends the step before: one is under way at a time. A request that is not sampled
    has no steps: what LiteLLM gets names its own span."""

    __slots__ = ("_closings", "_context", "_is_sampled", "_root", "_step", "_tracer")

    def __init__(self, tracer: Tracer, root: Span, closings: "_Closings") -> None:
        self._tracer = tracer
        self._root = root
        self._is_sampled = root.is_recording()
        self._context = set_span_in_context(root, Context())
        self._closings = closings
        self._step: Span | None = None

    def step(self, name: str, kind: SpanKind = SpanKind.INTERNAL) -> None:
        """The next step begins."""
        if not self._is_sampled:
            return
        if self._step is not None:
            self._step.end()
        self._step = self._tracer.start_span(name, self._context, kind)

    def forwards(self) -> dict[str, str]:
        """The step that calls LiteLLM begins. Headers by which its spans belong to it."""
        self.step("forward", SpanKind.CLIENT)
        return self.headers()

    def headers(self) -> dict[str, str]:
        """`traceparent` of the step that is under way."""
        headers: dict[str, str] = {}
        _W3C.inject(headers, set_span_in_context(self._step or self._root, Context()))
        return headers

    def records(self, row: UsageRow, provider: str) -> None:
        """The call has ended as the row says. Its last steps outlive the request."""
        self.step("record")
        recording, self._step = self._step, None
        if recording is None:
            return
        self._closings.add(row.request_id, recording, self._context)
        self.answered(row.status, row.error_code)
        self._root.set_attributes(
            {
                "gen_ai.operation.name": OPERATIONS.get(row.endpoint, row.endpoint),
                "gen_ai.provider.name": provider,
                "gen_ai.request.model": row.model_asked,
                "gen_ai.usage.input_tokens": row.prompt_tokens,
                "gen_ai.usage.output_tokens": row.completion_tokens,
                "gen_ai.usage.reasoning.output_tokens": row.reasoning_tokens,
                "gen_ai.usage.cache_read.input_tokens": row.cached_tokens,
                "gen_ai.usage.cache_creation.input_tokens": row.cache_write_tokens,
                "litemaas.ending": row.ending,
                "gen_ai.request.stream": row.streamed,
                "litemaas.usage_estimated": row.estimated,
            }
        )
        if row.model_served is not None:
            self._root.set_attribute("gen_ai.response.model", row.model_served)
        if row.streamed and row.first_byte_ms is not None:
            self._root.set_attribute("gen_ai.response.time_to_first_chunk", row.first_byte_ms / 1000)

    def answered(self, status: int, code: str | None = None) -> None:
        """How the request ended. A code that is not ours may be any word of the upstream."""
        self._root.set_attribute("http.response.status_code", status)
        if code is not None:
            self._root.set_attribute("error.type", code if code in CODES else "upstream_error")
        if status >= 500:
            self._root.set_status(Status(StatusCode.ERROR))

    def end(self, request_id: str) -> None:
        """The request is over."""
        self._root.set_attribute("litemaas.request_id", request_id)
        if self._step is not None:
            self._step.end()
        self._root.end()


class _Closings:
    """Calls that have ended, until their row is journaled and their lease settled."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._open: dict[UUID, tuple[Span, Context]] = {}

    def add(self, request_id: UUID, recording: Span, context: Context) -> None:
        if len(self._open) >= MAX_CLOSING:
            oldest, _ = self._open.pop(next(iter(self._open)))
            oldest.end()
        self._open[request_id] = recording, context

    def journaled(self, rows: Sequence[UsageRow], *, is_safe: bool) -> None:
        """What could not be journaled is left to the reaper, which traces nothing."""
        for row in rows:
            recording, context = self._open.pop(row.request_id, (None, None))
            if recording is None or context is None:
                continue
            if not is_safe:
                recording.set_status(Status(StatusCode.ERROR))
            recording.end()
            if is_safe:
                self._open[row.request_id] = self._tracer.start_span("settle", context), context

    def settled(self, request_id: UUID) -> None:
        settling, _ = self._open.pop(request_id, (None, None))
        if settling is not None:
            settling.end()

    def close(self) -> None:
        for span, _ in self._open.values():
            span.end()
        self._open.clear()


class _SdkLog(logging.Handler):
    """What the SDK says, as lines of our own: without its waits, they stay the same and are not repeated."""

    def emit(self, record: logging.LogRecord) -> None:
        log.warning("traces_not_sent", cause=record.getMessage().partition(" encountered while ")[0])


class Tracing:
    """Makes and sends the traces of a worker. `share` is of calls whose caller has no trace: the caller's is sampled as
    they say."""

    def __init__(self, url: str, share: float) -> None:
        of_sdk = logging.getLogger("opentelemetry")
        of_sdk.handlers, of_sdk.propagate = [_SdkLog(logging.WARNING)], False
        own = Resource({"service.name": "litemaas-gateway", "service.version": version("litemaas")})
        self._provider = TracerProvider(
            # OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME of the environment come first, as everywhere.
            resource=own.merge(OTELResourceDetector().detect()),
            sampler=ParentBased(TraceIdRatioBased(share)),
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(endpoint=url, timeout=EXPORT_TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("litemaas", version("litemaas"))
        self._closings = _Closings(self._tracer)
        self.journaled = self._closings.journaled
        self.settled = self._closings.settled

    def begin(self, method: str, path: str, passed: dict[str, str]) -> CallTrace:
        """Continues the caller's trace, if they have one; what goes to LiteLLM in `passed` is changed to ours."""
        parent = _W3C.extract({"traceparent": passed.pop("traceparent", "")}, Context())
        attributes = {"http.request.method": method, "http.route": path}
        root = self._tracer.start_span(f"{method} {path}", parent, SpanKind.SERVER, attributes)
        trace = CallTrace(self._tracer, root, self._closings)
        passed.update(trace.headers())
        return trace

    def close(self) -> None:
        """Sends what waits. Blocks, as long as the collector takes or EXPORT_TIMEOUT_S."""
        self._closings.close()
        self._provider.shutdown()
