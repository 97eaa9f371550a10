"""The access log: one correct line for each call, and no secret in any output of a gateway."""

import asyncio
import io
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from callers import CHAT, Caller, MakeCaller, chat_body, send_raw
from gateways import Backends, GatewayThread, Ledger, StartGateway, wait_until
from held_up_rows import rows_held_up
from realtime_sessions import MODEL, open_realtime
from workers import Workers

from gateway.access_log import AccessLog, Line

SECRET = "hush-"


class Lines:
    """The lines a gateway in a thread has written."""

    def __init__(self, gateway: GatewayThread) -> None:
        self._out = io.BytesIO()
        gateway.apps[0].worker.access_log._out = self._out

    async def next(self, count: int = 1) -> list[dict[str, Any]]:
        """All lines, once there are `count`."""

        async def there_are() -> bool:
            return self._out.getvalue().count(b"\n") >= count

        await wait_until(there_are, f"{count} lines")
        lines = [json.loads(line) for line in self._out.getvalue().splitlines()]
        assert len(lines) == count
        return lines


@pytest.fixture
def gateway_with_log(start_gateway: StartGateway) -> GatewayThread:
    return start_gateway(access_log=True, trusted_proxies="127.0.0.1")


@pytest.fixture
def lines(gateway_with_log: GatewayThread) -> Lines:
    return Lines(gateway_with_log)


@pytest.fixture
async def caller(make: MakeCaller, gateway_with_log: GatewayThread) -> Caller:
    return (await make("demo-chat", MODEL)).at(gateway_with_log.url)


async def test_each_call_has_a_line_that_matches_its_ledger_row(caller: Caller, lines: Lines, ledger: Ledger) -> None:
    before = time.time()
    response = await caller.chat("Hello [tokens=7]", stream=True, headers={"x-forwarded-for": "9.9.9.9, 192.0.2.7"})

    (line,) = await lines.next()
    row = await ledger.row(caller.account_id)
    same = ("status", "endpoint", "ending", "account_id", "user_id", "prompt_tokens", "completion_tokens")
    assert {name: line[name] for name in same} == {name: row[name] for name in same}
    assert (line["event"], line["method"], line["path"], line["model"]) == ("call", "POST", CHAT, "demo-chat")
    assert (line["key_id"], line["request_id"]) == (caller.key_id, response.request_id)
    assert line["cost_nano_usd"] == row["cost_nano_usd"]
    assert line["first_byte_ms"] == row["first_byte_ms"] <= line["total_ms"]
    assert line["bytes_out"] == len(response.body)
    assert line["bytes_in"] > 50
    # The address added by the trusted proxy, not the one before it.
    assert (line["client"], line["code"]) == ("192.0.2.7", None)
    assert before - 1 < _seconds(line["timestamp"]) < time.time()


async def test_d1_a_client_without_a_readable_address_is_unknown(caller: Caller, lines: Lines) -> None:
    for node in ("203.0.113.7:51234", "unknown"):
        await caller.chat("Hello [tokens=1]", headers={"x-forwarded-for": node})

    assert [line["client"] for line in await lines.next(2)] == ["203.0.113.7", "unknown"]


def _seconds(timestamp: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(timestamp).timestamp()


async def test_every_kind_of_response_has_one_line(caller: Caller, lines: Lines) -> None:
    await caller.limit("rpm", 3)
    nobody = {"authorization": "Bearer sk-lm-" + "0" * 49}

    await caller.chat(headers=nobody)
    await caller.chat(model="nothing")
    await caller.chat("Hello [fault=400]")
    await caller.chat("Hello [tokens=1]")
    await caller.get("/v1/models")
    await caller.get("/v1/models/demo-chat")
    await caller.get("/v1/limits")
    await caller.get("/v1/nowhere")
    await caller.get(CHAT)
    async with open_realtime(caller) as session:
        await session.ask("Hello [tokens=3]")
    await caller.chat()
    with pytest.raises(aiohttp.WSServerHandshakeError):
        async with open_realtime(caller):
            pass
    with pytest.raises(aiohttp.WSServerHandshakeError):
        async with open_realtime(caller, path="/v1/elsewhere"):
            pass
    await caller.get("/health/live")

    reported = [tuple(line[name] for name in ("method", "path", "status", "code")) for line in await lines.next(13)]
    assert sorted(reported, key=str) == sorted(
        [
            ("POST", CHAT, 401, "invalid_api_key"),
            ("POST", CHAT, 404, "model_not_found"),
            ("POST", CHAT, 400, "upstream_error"),
            ("POST", CHAT, 200, None),
            ("GET", "/v1/models", 200, None),
            ("GET", "/v1/models/{model}", 200, None),
            ("GET", "/v1/limits", 200, None),
            ("GET", "other", 404, "not_found"),
            ("GET", CHAT, 405, "method_not_allowed"),
            ("WEBSOCKET", "/v1/realtime", 101, None),
            ("POST", CHAT, 429, "rate_limit_exceeded"),
            ("WEBSOCKET", "/v1/realtime", 429, "rate_limit_exceeded"),
            ("WEBSOCKET", "other", 404, "not_found"),
        ],
        key=str,
    )


async def test_a_disconnected_call_has_a_line(caller: Caller, lines: Lines) -> None:
    async with caller.open_chat("Go on [tokens=500] [rate=50]", stream=True) as answer:
        await answer.content.readuntil(b"\n\n")

    (line,) = await lines.next()
    assert (line["status"], line["ending"]) == (200, "client_disconnected")
    assert line["bytes_out"] > 0


async def test_the_access_log_can_be_switched_off(make: MakeCaller, start_gateway: StartGateway) -> None:
    gateway = start_gateway(access_log="off")
    lines = Lines(gateway)

    await (await make()).at(gateway.url).chat("Hello [tokens=1]")
    await gateway.stop_async()

    assert lines._out.getvalue() == b""


async def test_a_blocked_output_delays_no_call(make: MakeCaller, start_gateway: StartGateway) -> None:
    gateway = start_gateway(access_log=True)
    reading, writing = socket.socketpair()
    writing.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1024)
    out = gateway.apps[0].worker.access_log._out = writing.makefile("wb")

    responses = await (await make()).at(gateway.url).chats(60, "Hello [tokens=1]")

    assert {one.status for one in responses} == {200}
    reading.close()
    await gateway.stop_async()
    with suppress(OSError):
        out.close()
    writing.close()


def test_waiting_lines_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.access_log.MAX_WAITING", 3)
    out = io.BytesIO()
    log = AccessLog(is_on=True, out=out)

    for _ in range(5):
        line = log.begin("POST", CHAT, "127.0.0.1")
        assert isinstance(line, Line)
        log.end(line, 1)
    log.start()
    log.close()

    assert out.getvalue().count(b"\n") == 3


# --- Secrets ---


@pytest.fixture
async def workers(backends: Backends, tmp_path: Path) -> AsyncIterator[Workers]:
    program = Workers(
        backends,
        tmp_path,
        count=2,
        LITEMAAS_LOG_LEVEL="debug",
        LITEMAAS_ACCESS_LOG="on",
        LITEMAAS_STATE_DIR=str(tmp_path / "state"),
    )
    try:
        await program.start()
        yield program
    finally:
        program.program.discard()


async def test_no_text_of_a_caller_is_logged(
    workers: Workers, backends: Backends, make: MakeCaller, tmp_path: Path
) -> None:
    caller = (await make("demo-chat", "demo-transcribe", MODEL)).at(workers.url)
    planted: list[str] = []

    def secret() -> str:
        planted.append(f"{SECRET}{len(planted)}-")
        return planted[-1]

    calls = _http_calls(caller, secret)
    async with rows_held_up(backends.database.owner_url):
        for path, method, headers, body in calls:
            with suppress(OSError):
                await asyncio.to_thread(send_raw, workers.program.port, method, path, headers, body)
        await _ask_over_sockets(caller, secret)
        for junk in _junk(secret):
            await asyncio.to_thread(_send, workers.program.port, junk)
        last = await caller.chat("The last [tokens=1]")
        assert last.status == 200

        async def is_in_a_journal() -> bool:
            return any(last.request_id.encode() in text for text in _files(tmp_path / "state").values())

        await wait_until(is_in_a_journal, "the last call in a journal")
        journals = {file: text for file, text in _files(tmp_path / "state").items() if text}
    workers.program.stop()

    written = _files(tmp_path) | journals
    log = b"".join(text for file, text in written.items() if file.suffix == ".log")
    assert log.count(b'"event":"call"') >= len(calls)
    assert any(b"chat_completions" in text for text in journals.values())
    assert len(planted) > 40
    for file, text in written.items():
        for one in [*planted, caller.key, "sk-the-key-of-litellm", "ab" * 32]:
            assert one.encode() not in text, (one, file)


def _files(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def _http_calls(caller: Caller, secret: Callable[[], str]) -> list[tuple[str, str, list[tuple[str, str]], bytes]]:
    key = ("authorization", f"Bearer {caller.key}")

    def chat(prompt: str, **fields: Any) -> bytes:
        return json.dumps(chat_body(prompt, **fields)).encode()

    form = (
        '--{b}\r\ncontent-disposition: form-data; name="model"\r\n\r\ndemo-transcribe\r\n'
        '--{b}\r\ncontent-disposition: form-data; name="prompt"\r\n\r\n{a}\r\n'
        '--{b}\r\ncontent-disposition: form-data; name="{n}"\r\n\r\n{a}\r\n'
        '--{b}\r\ncontent-disposition: form-data; name="file"; filename="{f}.wav"\r\ncontent-type: audio/{t}\r\n\r\n'
        "{c}\r\n--{b}--\r\n"
    )
    boundary = secret()
    filled = form.format(
        b=boundary, a=secret(), n=f"x_{secret()}".replace("-", "_"), f=secret(), t=secret(), c=secret()
    )
    odd = form.format(b=boundary, a=secret(), n=secret(), f=secret(), t="wav", c=secret())
    multipart = ("content-type", f"multipart/form-data; boundary={boundary}")
    names = (
        "x-api-key",
        "api-key",
        "cookie",
        "user-agent",
        "traceparent",
        "x-litellm-api-key",
        "x-forwarded-for",
        "openai-beta",
        "anthropic-beta",
        "content-type",
        "accept",
        "referer",
        "origin",
    )
    return [
        (CHAT, "POST", [key], chat(secret())),
        (CHAT, "POST", [key], chat(f"{secret()} [fault=500]")),
        (CHAT, "POST", [key], chat(f"{secret()} [fault=cut]", stream=True)),
        (CHAT, "POST", [key], chat("x", metadata={"user_id": secret(), secret(): secret()}, user=secret())),
        (CHAT, "POST", [key], chat("x", model=secret())),
        (CHAT, "POST", [key], chat("x", api_base=secret())),
        (CHAT, "POST", [key], chat("x", **{f"litellm_{secret()}": 1})),
        (CHAT, "POST", [key], chat("x", n=secret())),
        (CHAT, "POST", [key], secret().encode()),
        (CHAT, "POST", [key], b"{" + secret().encode()),
        (CHAT, "POST", [key], b'{"model":"' + secret().encode() + b'\xff"}'),
        (CHAT, "POST", [("authorization", f"Bearer {secret()}")], chat("x")),
        (CHAT, "POST", [("authorization", f"Basic {secret()}")], chat("x")),
        *((CHAT, "POST", [key, (name, secret())], chat("x")) for name in names),
        # The caller's own id is kept, but not with a key in it, or where it is no id.
        (CHAT, "POST", [key, ("x-request-id", f"sk-{secret()}")], chat("x")),
        (CHAT, "POST", [key, ("x-client-request-id", f"{caller.key} {secret()}")], chat("x")),
        (CHAT, "POST", [key, ("x-client-request-id", secret() * 20)], chat("x")),
        (CHAT, "POST", [key, (f"x-{secret()}", secret())], chat("x")),
        (f"{CHAT}?{secret()}={secret()}", "POST", [key], chat("x")),
        (f"{CHAT}?model={secret()}", "POST", [key], chat("x")),
        (f"/v1/models/{secret()}", "GET", [key], b""),
        (f"/{secret()}?key={secret()}", "GET", [key], b""),
        (f"/health/live?{secret()}", "GET", [], b""),
        (f"/metrics?{secret()}", "GET", [("cookie", secret())], b""),
        ("/v1/audio/transcriptions", "POST", [key, multipart], filled.encode()),
        ("/v1/audio/transcriptions", "POST", [key, multipart], odd.encode()),
        (CHAT, secret().upper().replace("-", ""), [key], b""),
    ]


async def _ask_over_sockets(caller: Caller, secret: Callable[[], str]) -> None:
    refused = (
        (f"model={secret()}", caller.authorization),
        (f"model={MODEL}&guardrails={secret()}", caller.authorization),
        (f"model={MODEL}", {"authorization": f"Bearer {secret()}"}),
        (f"model={MODEL}", {"sec-websocket-protocol": f"realtime, openai-insecure-api-key.{secret()}"}),
        (f"model={MODEL}", {"sec-websocket-protocol": secret(), **caller.authorization}),
    )
    for query, headers in refused:
        with pytest.raises(aiohttp.WSServerHandshakeError):
            async with open_realtime(caller, query, headers=headers):
                pass
    with pytest.raises(aiohttp.WSServerHandshakeError):
        async with open_realtime(caller, path=f"/{secret()}"):
            pass
    offered = ("realtime", f"openai-insecure-api-key.{caller.key}", secret())
    browser = {"origin": secret(), "cookie": secret()}
    async with open_realtime(
        caller, f"model={MODEL}&{secret()}={secret()}", headers=browser, protocols=offered
    ) as session:
        await session.send("session.update", session={"type": "realtime", "instructions": secret()})
        await session.send("session.update", session={"model": secret()})
        await session.send(secret())
        await session.send("response.create", event_id=secret(), response={secret(): secret()})
        await session.socket.send_str(secret())
        await session.ask(f"{secret()} [tokens=2]")
        await session.socket.close(code=4000, message=secret().encode())
    async with open_realtime(caller) as session:
        await session.socket._writer.send_frame(secret().encode() + b"\xff", 1)
        await session.receive_all()


def _junk(secret: Callable[[], str]) -> list[bytes]:
    return [
        f"GET /{secret()} HTTP/9.9\r\n\r\n".encode(),
        f"{secret()}\r\n\r\n".encode(),
        f"GET / HTTP/1.1\r\n{secret()}\r\n\r\n".encode(),
        f"GET /v1/models HTTP/1.1\r\nhost: {secret()}\r\n{secret()} : x\r\n\r\n".encode(),
        b"GET / HTTP/1.1\r\nx: " + secret().encode() + b"\x00\r\n\r\n",
        f"GET /\xe9{secret()} HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n".encode(),
        f"GET /{secret()} HTTP/1.1\r\nhost: x\r\nx: {secret() * 3000}\r\n\r\n".encode(),
        f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{secret()}\r\n".encode(),
    ]


def _send(port: int, data: bytes) -> None:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass
