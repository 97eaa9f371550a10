"""Audio uploads: what reaches the model server, the charge, and no remaining files."""

import asyncio
import io
import os
from pathlib import Path

import aiohttp
import pytest
from callers import Caller, MakeCaller, Response
from gateways import Backends, Ledger, RedisState, StartGateway, UpstreamLog, wait_until
from recording_upstream import RecordingUpstream
from workers import Workers

SECOND = 16_000
WAV = b"RIFF\0\0\0\0WAVEfmt " + b"\0" * 12 + SECOND.to_bytes(4, "little") + b"\0" * (3 * SECOND - 32)


@pytest.fixture
async def caller(make: MakeCaller) -> Caller:
    return await make("demo-transcribe", "demo-transcribe-seconds")


async def upload(
    caller: Caller,
    sound: bytes = WAV,
    *,
    path: str = "/v1/audio/transcriptions",
    model: str = "demo-transcribe",
    **fields: str,
) -> Response:
    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(sound), filename="a.wav", content_type="audio/wav")
    for name, value in {"model": model, **fields}.items():
        form.add_field(name, value)
    async with caller.http.post(caller.url + path, data=form, headers=caller.authorization) as answer:
        return Response(answer.status, {k.lower(): v for k, v in answer.headers.items()}, await answer.read())


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/audio/transcriptions", "/v1/audio/translations"])
async def test_an_upload_is_charged_what_the_model_server_billed(
    path: str, caller: Caller, upstream_log: UpstreamLog, ledger: Ledger
) -> None:
    response = await upload(caller, path=path, prompt=f"Hello [mark={caller.key_id}]")

    billed = await upstream_log.call(mark=str(caller.key_id))
    row = await ledger.row(caller.account_id)
    assert response.status == 200
    assert response.json["usage"]["total_tokens"] == row["counted_tokens"]
    assert (row["prompt_tokens"], row["completion_tokens"]) == (billed["prompt_tokens"], billed["completion_tokens"])
    assert (row["ending"], row["estimated"], row["endpoint"]) == ("completed", False, path.rpartition("/")[2])
    assert billed["audio_ms"] == 3000


async def test_a_response_without_usage_is_charged_by_the_duration_of_the_file(
    caller: Caller, upstream_log: UpstreamLog, ledger: Ledger
) -> None:
    response = await upload(caller, response_format="srt", prompt=f"[mark={caller.key_id}]")

    row = await ledger.row(caller.account_id)
    assert response.body.startswith(b"1\n00:00:00,000 --> 00:00:03,000")
    assert (row["prompt_tokens"], row["estimated_why"]) == (30, "no_usage")
    assert (await upstream_log.call(mark=str(caller.key_id)))["audio_ms"] == 3000


async def test_a_disconnect_before_the_response_is_charged(
    caller: Caller, start_gateway: StartGateway, ledger: Ledger, redis_state: RedisState
) -> None:
    async with RecordingUpstream() as silent:
        silent.answer_verbatim([b""], pause_s=8)
        there = caller.at(start_gateway(litellm_urls=silent.url).url)
        asking = asyncio.create_task(upload(there))
        await wait_until(lambda: _has(silent.requests), "the upload to arrive")
        asking.cancel()
        row = await ledger.row(caller.account_id)

    assert (row["ending"], row["estimated_why"], row["prompt_tokens"]) == ("client_disconnected", "hung_up", 30)
    await redis_state.wait_until_settled(caller.account_id)


async def _has(requests: list[bytes]) -> bool:
    return bool(requests)


async def test_the_forwarded_form_has_only_checked_fields(caller: Caller, start_gateway: StartGateway) -> None:
    async with RecordingUpstream() as upstream:
        upstream.answer(b'{"text":"x"}')
        there = caller.at(start_gateway(litellm_urls=upstream.url).url)
        assert (await upload(there, language="en")).status == 200
        (request,) = upstream.requests

    head, _, body = request.partition(b"\r\n\r\n")
    assert head.lower().count(b"content-type:") == 1
    assert b"content-length: %d" % len(body) in head.lower()
    assert WAV in body
    assert body.count(b"; name=") == 3


async def test_an_upload_is_retried_at_the_next_address_if_the_first_is_unreachable(
    caller: Caller, backends: Backends, start_gateway: StartGateway
) -> None:
    there = caller.at(start_gateway(litellm_urls=f"http://127.0.0.1:1,{backends.litellm_url}").url)

    assert [(await upload(there, WAV + b"\0" * 2_000_000)).status for _ in range(4)] == [200] * 4


async def test_refused_uploads_take_nothing_and_leave_no_file(
    caller: Caller, start_gateway: StartGateway, tmp_path: Path, redis_state: RedisState
) -> None:
    gateway = start_gateway(max_upload_bytes=4_000_000, max_body_bytes_in_flight=9_000_000, state_dir=tmp_path)
    there = caller.at(gateway.url)
    await caller.limit("concurrency", 3)

    assert (await upload(there, b"x" * 5_000_000)).code == "request_too_large"
    assert (await upload(there, model="other")).code == "model_not_found"
    assert (await upload(there, api_base="http://127.0.0.1:1")).code == "parameter_not_allowed"
    assert (await upload(there, model="demo-transcribe", prompt="[fault=429]")).status == 429
    many = await asyncio.gather(*(upload(there, b"x" * 3_000_000) for _ in range(12)))

    assert {response.status for response in many} <= {200, 429, 503}
    assert {response.code for response in many if response.status == 503} <= {"overloaded"}
    await redis_state.wait_until_settled(caller.account_id)
    assert os.listdir(tmp_path / "uploads") == []
    assert [response.status for response in [await upload(there) for _ in range(3)]] == [200] * 3


async def test_the_memory_of_a_worker_does_not_grow_with_the_upload(
    caller: Caller, backends: Backends, tmp_path: Path
) -> None:
    """An audio file of 100 MiB: the worker holds one chunk at a time."""
    workers = Workers(backends, tmp_path, LITEMAAS_STATE_DIR=str(tmp_path / "state"))
    await workers.start()
    try:
        there = caller.at(workers.url)
        # A few uploads of twice the size that is kept in memory, so buffers reach their size.
        for _ in range(8):
            assert (await upload(there, b"x" * 2 * 1024 * 1024)).status == 200
        before = sum(map(peak_bytes, workers.pids))
        assert (await upload(there, b"x" * 100 * 1024 * 1024)).status == 200
        assert sum(map(peak_bytes, workers.pids)) - before < 16 * 1024 * 1024
    finally:
        await asyncio.to_thread(workers.program.stop)


def peak_bytes(pid: int) -> int:
    """The peak memory of the process (VmHWM, proc(5))."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
