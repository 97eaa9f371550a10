"""D11: the admin API unpacks what the gateway unpacks, and refuses what it refuses with the same answers."""

import asyncio
import gzip
import json
from typing import Any

import httpx2
import pytest
from admin_client import check_error

from admin_api.web.envelope import MAX_BODY_BYTES, MAX_DECODER_BYTES, Envelope
from gateway.web.content_codings import DECODER_BYTES, zstd

PACK = {"gzip": gzip.compress, "zstd": zstd.compress}
PLAIN = json.dumps({"name": "Blue"}).encode()
WIDE = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 24})
ZEROS = b"\0" * (64 * 1024 * 1024)
BOMB = gzip.compress(ZEROS, 1)
REFUSED = {
    "br": (PLAIN, ["br"], 415, "unsupported_media_type"),
    "an unknown one": (PLAIN, ["frobnicate"], 415, "unsupported_media_type"),
    "one of two lines": (gzip.compress(PLAIN), ["br", "gzip"], 415, "unsupported_media_type"),
    "cut gzip": (gzip.compress(PLAIN)[:-1], ["gzip"], 400, "invalid_request"),
    "cut zstd": (zstd.compress(PLAIN)[:-1], ["zstd"], 400, "invalid_request"),
    "plain as zstd": (PLAIN, ["zstd"], 400, "invalid_request"),
    "a window of 16 MiB": (WIDE.compress(PLAIN) + WIDE.flush(), ["zstd"], 400, "invalid_request"),
    "a bomb of gzip": (BOMB, ["gzip"], 413, "request_too_large"),
    "a bomb of zstd": (zstd.compress(ZEROS), ["zstd"], 413, "request_too_large"),
    "a bomb in a bomb": (gzip.compress(BOMB), ["gzip, gzip"], 413, "request_too_large"),
    "UTF-16 within": (gzip.compress('{"name":"Blue"}'.encode("utf-16")), ["gzip"], 400, "invalid_json"),
    "no JSON within": (gzip.compress(b"{"), ["gzip"], 400, "invalid_json"),
}


async def post(admin: httpx2.AsyncClient, body: bytes, *encodings: str, **headers: str) -> httpx2.Response:
    sent = [("content-type", "application/json"), *headers.items(), *(("content-encoding", e) for e in encodings)]
    return await admin.post("/api/v1/teams", content=body, headers=sent)


@pytest.mark.parametrize(
    ("encodings", "codings"),
    [(["gzip"], ["gzip"]), (["zstd"], ["zstd"]), (["zstd", "gzip"], ["zstd", "gzip"]), (["identity"], [])],
)
async def test_d11_a_compressed_body_is_read(
    encodings: list[str], codings: list[str], admin: httpx2.AsyncClient
) -> None:
    body = PLAIN
    for coding in codings:
        body = PACK[coding](body)

    answer = await post(admin, body, *encodings)

    assert (answer.status_code, answer.json()["name"]) == (201, "Blue")


@pytest.mark.parametrize("name", REFUSED)
async def test_d11_what_cannot_be_unpacked_is_refused_as_by_the_gateway(name: str, admin: httpx2.AsyncClient) -> None:
    body, encodings, status, code = REFUSED[name]

    answer = await post(admin, body, *encodings)

    check_error(answer, status, code)
    assert answer.headers.get("accept-encoding") == ("gzip, zstd" if status == 415 else None)
    assert (await admin.get("/api/v1/teams")).json()["rows"] == []


async def test_d11_a_compressed_body_repeated_with_its_idempotency_key(admin: httpx2.AsyncClient) -> None:
    """The key goes with what was asked, not with how it was packed."""
    first = await post(admin, gzip.compress(PLAIN), "gzip", **{"idempotency-key": "once"})
    again = await post(admin, zstd.compress(PLAIN), "zstd", **{"idempotency-key": "once"})
    other = await post(admin, zstd.compress(b'{"name":"Red"}'), "zstd", **{"idempotency-key": "once"})

    assert (first.status_code, again.json()) == (201, first.json())
    check_error(other, 422, "idempotency_key_reused")


async def test_d11_the_bound_is_on_what_comes_out(admin: httpx2.AsyncClient) -> None:
    fits = b'{"name":"Blue"}'.ljust(MAX_BODY_BYTES)

    assert (await post(admin, zstd.compress(fits), "zstd")).status_code == 201
    check_error(await post(admin, zstd.compress(fits + b" "), "zstd"), 413, "request_too_large")


async def test_d11_decoders_are_bounded_together() -> None:
    """Callers without a login who begin bodies and do not end them."""
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 23})
    beginning = packer.compress(b"x" * 1000) + packer.flush(packer.FLUSH_BLOCK)
    never = asyncio.Event()

    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()

    statuses: list[int] = []

    async def call() -> None:
        messages = [{"type": "http.request", "body": beginning, "more_body": True}]

        async def receive() -> Any:
            return messages.pop() if messages else await never.wait()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"content-encoding", b"zstd")]}
        await envelope(scope, receive, send)

    envelope = Envelope(app, is_secure=True)
    fit = MAX_DECODER_BYTES // ((8 << 20) + DECODER_BYTES)
    tasks = [asyncio.ensure_future(call()) for _ in range(fit + 3)]
    await asyncio.sleep(0.1)

    assert statuses == [503] * 3
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert envelope._decoders.held_bytes == 0
