"""OpenTelemetry traces: a span for each request and each of its steps, as a collector on loopback receives them."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from callers import Caller, MakeCaller, make_caller
from gateways import Backends, GatewayThread, StartGateway
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.semconv._incubating.attributes import error_attributes, gen_ai_attributes, http_attributes
from otlp_collector import OtlpCollector, Trace
from pydantic import ValidationError
from realtime_sessions import MODEL, open_realtime
from recording_upstream import RecordingUpstream
from workers import Workers

from deploy.embedded.processes import free_port
from gateway import settings as gateway_settings
from gateway.settings import Settings
from gateway.storage.postgres import Pool

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT_ID = "b7ad6b7169203331"
STEPS = ["authenticate", "read", "admit", "forward", "relay", "record", "settle"]
SECRET_WORDS = "a-prompt-that-nobody-may-read"


def traceparent(flags: str = "01") -> dict[str, str]:
    return {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-{flags}"}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpCollector]:
    # The SDK reads them itself: spans are sent at once, and not every five seconds.
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=tests")
    with OtlpCollector() as running:
        yield running


@pytest.fixture
def traced(start_gateway: StartGateway, collector: OtlpCollector) -> GatewayThread:
    return start_gateway(traces_url=collector.url)


@pytest.fixture
async def upstream() -> AsyncIterator[RecordingUpstream]:
    async with RecordingUpstream() as running:
        yield running


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_has_a_span_for_each_step_in_its_callers_trace(
    caller: Caller, traced: GatewayThread, collector: OtlpCollector, stream: bool
) -> None:
    answer = await caller.at(traced.url).chat("Hello [tokens=7]", headers=traceparent(), stream=stream)
    trace = await collector.trace(answer.request_id)
    row = await caller.pool.fetchrow(
        "SELECT prompt_tokens, completion_tokens FROM usage_logs WHERE request_id = $1::uuid", answer.request_id
    )

    assert answer.status == 200
    assert trace.names == STEPS
    assert trace.root.trace_id.hex() == TRACE_ID
    assert trace.root.parent_span_id.hex() == PARENT_ID
    assert {step.parent_span_id for step in trace.steps} == {trace.root.span_id}
    assert trace.root.name == "POST /v1/chat/completions"
    assert (trace.root.kind, trace.step("forward").kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)
    # Up to the answer's end one after the other.
    for before, after in zip(trace.steps, trace.steps[1:], strict=False):
        assert before.start_time_unix_nano <= before.end_time_unix_nano <= after.start_time_unix_nano
    reported = trace.attributes
    assert reported["gen_ai.operation.name"] == "chat"
    assert reported["gen_ai.request.model"] == "demo-chat"
    assert reported["gen_ai.usage.output_tokens"] == 7
    assert reported["gen_ai.request.stream"] is stream
    assert ("gen_ai.response.time_to_first_chunk" in reported) is stream
    assert reported["http.response.status_code"] == 200
    assert row is None or (reported["gen_ai.usage.input_tokens"], 7) == tuple(row)
    assert collector.resources[0]["service.name"] == "litemaas-gateway"
    assert collector.resources[0]["deployment.environment.name"] == "tests"


async def test_litellm_gets_the_span_that_called_it_as_parent(
    caller: Caller, start_gateway: StartGateway, collector: OtlpCollector, upstream: RecordingUpstream
) -> None:
    upstream.answer(b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}')
    gateway = start_gateway(traces_url=collector.url, litellm_urls=upstream.url)

    answer = await caller.at(gateway.url).chat(headers=traceparent())

    forward = (await collector.trace(answer.request_id)).step("forward")
    assert upstream.headers["traceparent"] == f"00-{TRACE_ID}-{forward.span_id.hex()}-01"


async def test_a_call_without_a_trace_begins_one_and_a_wrong_one_is_not_passed_on(
    caller: Caller, start_gateway: StartGateway, collector: OtlpCollector, upstream: RecordingUpstream
) -> None:
    upstream.answer(b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}')
    gateway = start_gateway(traces_url=collector.url, litellm_urls=upstream.url)
    for headers in ({}, {"traceparent": "00-not-a-trace-01"}):
        answer = await caller.at(gateway.url).chat(headers=headers)

        trace = await collector.trace(answer.request_id)
        assert trace.root.parent_span_id == b""
        assert upstream.headers["traceparent"].split("-")[1] == trace.root.trace_id.hex()


async def test_a_caller_whose_trace_is_not_sampled_is_not_traced_and_passed_on(
    caller: Caller, start_gateway: StartGateway, collector: OtlpCollector, upstream: RecordingUpstream
) -> None:
    upstream.answer(b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}')
    gateway = start_gateway(traces_url=collector.url, traces_share=0, litellm_urls=upstream.url)

    await caller.at(gateway.url).chat(headers=traceparent("00"))
    passed = upstream.headers["traceparent"].split("-")
    await caller.at(gateway.url).chat()
    sampled = await caller.at(gateway.url).chat(headers=traceparent())

    await collector.trace(sampled.request_id)
    assert (passed[1], passed[3]) == (TRACE_ID, "00")
    # The one whose caller asked for it.
    assert len([span for span in collector.spans if span.kind == Span.SPAN_KIND_SERVER]) == 1


async def test_refusals_and_failures_end_where_they_happened(
    make: MakeCaller, start_gateway: StartGateway, collector: OtlpCollector, traced: GatewayThread
) -> None:
    caller = (await make("demo-chat")).at(traced.url)
    limited = (await make("demo-chat")).at(traced.url)
    await limited.limit("requests", 0, window="day")
    away = start_gateway(traces_url=collector.url, litellm_urls=f"http://127.0.0.1:{free_port()}")

    async def ended(answer_id: str, last: str) -> tuple[list[str], object, object, object]:
        trace = await collector.trace(answer_id, with_step=last)
        return (
            trace.names,
            trace.attributes["http.response.status_code"],
            trace.attributes.get("error.type"),
            trace.root.status.code,
        )

    unknown = await caller.chat(model="no-such-model")
    refused = await limited.chat()
    failed = await caller.at(away.url).chat()

    assert await ended(unknown.request_id, "read") == (STEPS[:2], 404, "model_not_found", Status.STATUS_CODE_UNSET)
    assert await ended(refused.request_id, "admit") == (STEPS[:3], 429, refused.code, Status.STATUS_CODE_UNSET)
    without_relay = [step for step in STEPS if step != "relay"]
    assert await ended(failed.request_id, "settle") == (
        without_relay,
        503,
        "upstream_unavailable",
        Status.STATUS_CODE_ERROR,
    )


async def test_spans_have_no_contents_and_no_secrets(
    caller: Caller, traced: GatewayThread, collector: OtlpCollector
) -> None:
    caller = caller.at(traced.url)
    answers = [
        await caller.chat(f"{SECRET_WORDS} [tokens=3]"),
        await caller.chat(model=f"model-{SECRET_WORDS}"),
        await caller.get(f"/v1/models/{SECRET_WORDS}"),
        await caller.get(f"/{SECRET_WORDS}"),
    ]
    await collector.trace(answers[0].request_id)
    for answer in answers[1:]:
        await collector.trace(answer.request_id, with_step=None)

    assert SECRET_WORDS.encode() not in collector.raw
    assert caller.key.encode() not in collector.raw
    assert caller.email.encode() not in collector.raw


async def test_attributes_have_the_names_of_the_semantic_conventions(
    caller: Caller, traced: GatewayThread, collector: OtlpCollector
) -> None:
    known = {
        value
        for module in (gen_ai_attributes, http_attributes, error_attributes)
        for value in vars(module).values()
        if isinstance(value, str)
    }

    trace = await collector.trace((await caller.at(traced.url).chat("Hello [tokens=3]")).request_id)

    used = {name for name in trace.attributes if not name.startswith("litemaas.")}
    assert any(name.startswith("gen_ai.") for name in used)
    assert used <= known


async def test_a_collector_that_is_away_disturbs_no_call(
    caller: Caller, start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    gateway = start_gateway(traces_url=f"http://127.0.0.1:{free_port()}/v1/traces")

    answers = await caller.at(gateway.url).chats(20, "Hello [tokens=2]")
    await gateway.stop_async()

    assert [answer.status for answer in answers] == [200] * 20


async def test_a_realtime_session_is_one_trace(
    make: MakeCaller, traced: GatewayThread, collector: OtlpCollector
) -> None:
    caller = (await make(MODEL)).at(traced.url)
    async with open_realtime(caller) as session:
        await session.receive_until("session.created")
        await session.ask("Hello [tokens=3]")

    def has_ended(spans: list[Span]) -> bool:
        return {"settle", "WEBSOCKET /v1/realtime"} <= {span.name for span in spans}

    trace = Trace(await collector.wait_for(has_ended, "the trace of the session"))
    assert trace.names == [step for step in STEPS if step != "read"]
    assert trace.attributes["gen_ai.request.model"] == MODEL


async def test_workers_trace_and_say_once_when_the_collector_has_gone(
    backends: Backends, pool: Pool, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Real processes. Each line of their log is JSON, as all others, and stays the same."""
    with OtlpCollector() as collector:
        more = {"LITEMAAS_TRACES_URL": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
        workers = Workers(backends, tmp_path, count=2, LITEMAAS_STATE_DIR=str(tmp_path / "state"), **more)
        await workers.start()
        try:
            caller = await make_caller(pool, workers.url, http, ["demo-chat"])
            answers = await caller.chats(6, "Hello [tokens=2]")
            traces = [await collector.trace(answer.request_id) for answer in answers]
        except BaseException:
            workers.program.stop()
            raise
    try:
        answers += await caller.chats(6, "Hello [tokens=2]")
    finally:
        await asyncio.to_thread(workers.program.stop)
    lines = (tmp_path / "gateway.log").read_text().splitlines()
    events = [json.loads(line) for line in lines if not line.startswith("INFO: ")]
    complaints = [event["cause"] for event in events if event["event"] == "traces_not_sent"]

    assert [answer.status for answer in answers] == [200] * 12
    assert [trace.names for trace in traces] == [STEPS] * 6
    assert complaints
    # Each worker says each cause once.
    assert max(Counter(complaints).values()) <= 2


async def test_every_call_has_its_own_trace(caller: Caller, traced: GatewayThread, collector: OtlpCollector) -> None:
    answers = await caller.at(traced.url).chats(20, "Hello [tokens=2]", stream=True)

    traces = [await collector.trace(answer.request_id) for answer in answers]
    assert [trace.names for trace in traces] == [STEPS] * 20
    assert len({trace.root.trace_id for trace in traces}) == 20


def test_without_the_setting_nothing_that_makes_traces_is_imported() -> None:
    """The redis package imports opentelemetry.metrics, where it is installed."""
    names = ("gateway.tracing", "opentelemetry.sdk.trace", "opentelemetry.exporter", "google.protobuf", "requests")
    code = f"import sys, gateway.main; print([name for name in {names} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert done.stdout.strip() == "[]", done.stderr


def test_the_setting_says_what_it_needs(monkeypatch: pytest.MonkeyPatch, traced: GatewayThread) -> None:
    usual = traced.settings.model_dump(exclude={"traces_url"})
    assert Settings(**usual, traces_url="").traces_url is None
    for wrong in ("collector:4318", "http://user:password@collector:4318/v1/traces"):
        with pytest.raises(ValidationError, match="without a user and password"):
            Settings(**usual, traces_url=wrong)
    monkeypatch.setattr(gateway_settings, "TRACE_PACKAGES", ("a_package_that_is_not_there",))
    with pytest.raises(ValidationError, match=r"pip install 'litemaas\[otel\]'"):
        Settings(**usual, traces_url="http://collector:4318/v1/traces")
