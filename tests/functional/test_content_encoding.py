"""D11: compressed requests reach the model unpacked, are charged as they are, and are bounded by what comes out."""

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from callers import CHAT, Caller, MakeCaller, Response, chat_body
from gateways import Backends, GatewayThread, Ledger, StartGateway, UpstreamLog, wait_until
from recording_upstream import RecordingUpstream
from workers import Workers

from gateway.web.content_codings import zstd
from tests.functional.test_memory import MIB, peak_bytes
from tests.functional.test_uploads import WAV

PACK = {"gzip": gzip.compress, "zstd": zstd.compress}
# Codex sends zstd.
PACKED = {
    "gzip": (["gzip"], ("gzip",)),
    "zstd": (["zstd"], ("zstd",)),
    "two codings": (["gzip, zstd"], ("gzip", "zstd")),
    "two lines": (["zstd", "gzip"], ("zstd", "gzip")),
    "identity": (["identity"], ()),
    "capitals": (["GZip"], ("gzip",)),
}


def pack(body: bytes, codings: tuple[str, ...]) -> bytes:
    for coding in codings:
        body = PACK[coding](body)
    return body


async def post(caller: Caller, body: bytes, *encodings: str, path: str = CHAT, **headers: str) -> Response:
    sent = [*caller.authorization.items(), ("content-type", "application/json"), *headers.items()]
    sent = [(name.replace("_", "-"), value) for name, value in dict(sent).items()]
    sent += [("content-encoding", value) for value in encodings]
    async with caller.http.post(caller.url + path, data=body, headers=sent) as answer:
        return Response(answer.status, answer.headers.copy(), await answer.read())


def body_of(prompt: str, **fields: Any) -> bytes:
    return json.dumps(chat_body(prompt, **fields)).encode()


@pytest.mark.parametrize("name", PACKED)
async def test_d11_a_compressed_call_is_charged_as_a_plain_one(
    name: str, caller: Caller, upstream_log: UpstreamLog, ledger: Ledger
) -> None:
    encodings, codings = PACKED[name]
    body = body_of(f"Hello [tokens=5] [mark={caller.key_id}]")

    response = await post(caller, pack(body, codings), *encodings)

    billed = await upstream_log.call(mark=str(caller.key_id))
    row = await ledger.row(caller.account_id)
    assert response.status == 200
    assert (row["prompt_tokens"], row["completion_tokens"]) == (billed["prompt_tokens"], billed["completion_tokens"])


@pytest.fixture
async def recorded(start_gateway: StartGateway) -> AsyncIterator[tuple[RecordingUpstream, GatewayThread]]:
    async with RecordingUpstream() as upstream:
        upstream.answer(b'{"usage":{"prompt_tokens":3,"completion_tokens":4}}')
        yield upstream, start_gateway(litellm_urls=upstream.url)


@pytest.mark.parametrize("name", PACKED)
async def test_d11_the_upstream_gets_the_plain_body_and_no_header(
    name: str, caller: Caller, recorded: tuple[RecordingUpstream, GatewayThread]
) -> None:
    upstream, gateway = recorded
    encodings, codings = PACKED[name]
    body = body_of("Hello")

    for sent, headers in ((body, []), (pack(body, codings), encodings)):
        assert (await post(caller.at(gateway.url), sent, *headers)).status == 200

    plain, packed = (re.sub(rb"x-litellm-call-id: [\w-]+", b"", request, flags=re.I) for request in upstream.requests)
    assert packed == plain


@pytest.mark.parametrize("coding", PACK)
async def test_d11_a_compressed_upload(coding: str, make: MakeCaller, ledger: Ledger) -> None:
    caller = await make("demo-transcribe")
    parts = [
        b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\ndemo-transcribe\r\n',
        b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + WAV + b"\r\n--b--\r\n",
    ]

    response = await post(
        caller, PACK[coding](b"".join(parts)), coding,
        path="/v1/audio/transcriptions", content_type="multipart/form-data; boundary=b",
    )  # fmt: skip

    assert response.status == 200
    assert (await ledger.row(caller.account_id))["ending"] == "completed"


PLAIN = body_of("Hello")
WIDE = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 24})
ZEROS = b"\0" * (64 * MIB)
BOMB = gzip.compress(ZEROS, 1)
REFUSED = {
    "br": (PLAIN, ["br"], 415, "unsupported_media_type"),
    "deflate": (PLAIN, ["deflate"], 415, "unsupported_media_type"),
    "an unknown one": (PLAIN, ["frobnicate"], 415, "unsupported_media_type"),
    "one of two lines": (gzip.compress(PLAIN), ["br", "gzip"], 415, "unsupported_media_type"),
    "cut gzip": (gzip.compress(PLAIN)[:-1], ["gzip"], 400, "invalid_request"),
    "cut zstd": (zstd.compress(PLAIN)[:-1], ["zstd"], 400, "invalid_request"),
    "plain as gzip": (PLAIN, ["gzip"], 400, "invalid_request"),
    "plain as zstd": (PLAIN, ["zstd"], 400, "invalid_request"),
    "nothing as gzip": (b"", ["gzip"], 400, "invalid_request"),
    "more after the end": (gzip.compress(PLAIN) + b"more", ["gzip"], 400, "invalid_request"),
    "a window of 16 MiB": (WIDE.compress(PLAIN) + WIDE.flush(), ["zstd"], 400, "invalid_request"),
    "a bomb of gzip": (BOMB, ["gzip"], 413, "request_too_large"),
    "a bomb of zstd": (zstd.compress(ZEROS), ["zstd"], 413, "request_too_large"),
    "a bomb in a bomb": (gzip.compress(BOMB), ["gzip, gzip"], 413, "request_too_large"),
    "no JSON within": (gzip.compress(b"{"), ["gzip"], 400, "invalid_json"),
    "no encoding, but gzip": (gzip.compress(PLAIN), [], 400, "invalid_json"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("path", [CHAT, "/v1/messages"])
async def test_d11_what_cannot_be_unpacked_is_refused_and_costs_nothing(
    path: str, name: str, caller: Caller, gateway: GatewayThread, upstream_log: UpstreamLog
) -> None:
    body, encodings, status, code = REFUSED[name]
    before = await upstream_log.count()

    response = await post(caller, body, *encodings, path=path)

    assert (response.status, response.code) == (status, code)
    assert response.headers.get("accept-encoding") == ("gzip, zstd" if status == 415 else None)
    assert await upstream_log.count() == before
    await gateway.holds_no_body()


async def test_d11_the_login_is_checked_first(caller: Caller) -> None:
    async with caller.http.post(caller.url + CHAT, data=b"{}", headers={"content-encoding": "br"}) as answer:
        assert answer.status == 401


async def test_d11_the_budget_holds_the_unpacked_size(caller: Caller, gateway: GatewayThread) -> None:
    body = body_of("Hello [tokens=1] [delay=1] " + "x" * 100_000)
    bodies = gateway.apps[0].worker.bodies
    held = []

    async def is_held() -> bool:
        held.append(bodies.held_bytes)
        return bodies.held_bytes == len(body)

    calling = asyncio.ensure_future(post(caller, zstd.compress(body), "zstd"))
    await wait_until(is_held, f"{len(body)} bytes to be held, of {held}")

    assert (await calling).status == 200
    await gateway.holds_no_body()


async def test_d11_bombs_take_no_memory(caller: Caller, backends: Backends, tmp_path: Path) -> None:
    """Of a gigabyte, sixteen at a time, under a bound of 1 MiB."""
    changes = {"LITEMAAS_STATE_DIR": str(tmp_path / "state"), "LITEMAAS_MAX_BODY_BYTES": str(MIB)}
    workers = Workers(backends, tmp_path, **changes)
    await workers.start()
    try:
        here = caller.at(workers.url)
        bombs = [(coding, giga(coding)) for coding in PACK]
        await asyncio.gather(*(post(here, PACK[coding](PLAIN), coding) for coding in PACK for _ in range(8)))
        before = peak_bytes(workers)

        for _ in range(4):
            answers = await asyncio.gather(*(post(here, body, coding) for coding, body in bombs for _ in range(8)))
            assert {answer.status for answer in answers} == {413}

        # Sixteen bodies up to their bound, and the windows of eight decoders: a sixtieth of what was sent.
        assert peak_bytes(workers) - before < 16 * 2 * MIB + 8 * 8 * MIB
    finally:
        await asyncio.to_thread(workers.program.stop)


def giga(coding: str) -> bytes:
    """A gigabyte of nothing, packed."""
    if coding == "gzip":
        return gzip.compress(b"\0" * (256 * MIB)) * 4
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 23})
    packed = b"".join(packer.compress(ZEROS) for _ in range(16))
    return packed + packer.flush()
