"""What Claude Code, Codex and the JDK's client send, as recorded, is answered. `make clients` runs the programs."""

import asyncio
import json
from typing import Any, Final

import aiohttp
import pytest
from callers import send_raw
from gateways import Ledger

from clients.client import CHAT_MODEL, CLAUDE_MODEL
from clients.record_jdk import FILE, HOST
from clients.recording import FOLDER
from clients.refusals import Scene

# The first test's time includes LiteLLM's start, which is long on a busy machine.
pytestmark = pytest.mark.timeout(300)

# Long enough that each is read by itself.
BETWEEN_SEGMENTS_S: Final = 0.05
# Of each file, what its last event is.
ENDS: Final = {"claude-code": b"event: message_stop", "codex": b"response.completed"}
MODELS: Final = {"claude-code": CLAUDE_MODEL, "codex": CHAT_MODEL}


def recorded() -> list[Any]:
    return [
        pytest.param(name, request, id=f"{name}: {request['way']}, {number}")
        for name in ENDS
        for number, request in enumerate(json.loads((FOLDER / f"{name}.json").read_text())["requests"])
        if request["body"] is not None
    ]


@pytest.mark.parametrize(("name", "request_"), recorded())
async def test_a_recorded_request_is_answered(
    name: str, request_: dict[str, Any], scene: Scene, ledger: Ledger
) -> None:
    caller = await scene.make(MODELS[name])
    secrets = {"authorization": f"Bearer {caller.key}", "x-api-key": caller.key}
    headers = {key: secrets[key] if value == "(secret)" else value for key, value in request_["headers"].items()}
    body = request_["body"] | {"model": MODELS[name]}

    async with (
        aiohttp.ClientSession(auto_decompress=False) as http,
        http.post(scene.wire.url + request_["path"], json=body, headers=headers) as answer,
    ):
        said = await answer.read()

    row = await ledger.row(caller.account_id)
    assert answer.status == 200, said[:500]
    assert ENDS[name] in said
    assert (row["ending"], row["estimated"], row["streamed"]) == ("completed", False, True)
    assert row["completion_tokens"] > 0


@pytest.mark.parametrize("cut", [0, 40, None], ids=["head and body apart", "cut in the body", "in one segment"])
async def test_the_jdks_request_is_answered_without_its_upgrade(cut: int | None, scene: Scene, ledger: Ledger) -> None:
    caller = await scene.make()
    host, _, port = caller.url.removeprefix("http://").partition(":")
    kept = json.loads(FILE.read_text())
    head = kept["head"].replace(HOST, f"{host}:{port}").replace("(secret)", caller.key)
    segments = [head + kept["body"]] if cut is None else [head + kept["body"][:cut], kept["body"][cut:]]

    reader, writer = await asyncio.open_connection(host, int(port))
    for segment in segments:
        writer.write(segment.encode())
        await writer.drain()
        await asyncio.sleep(BETWEEN_SEGMENTS_S)
    async with asyncio.timeout(30):
        answered = await reader.readuntil(b"\r\n\r\n")
    writer.close()

    assert answered.startswith(b"HTTP/1.1 200 "), answered
    assert b"upgrade" not in answered.lower()
    row = await ledger.row(caller.account_id)
    assert (row["status"], row["completion_tokens"] > 0) == (200, True)


async def test_codex_gets_an_error_to_use_http_when_it_tries_a_websocket(scene: Scene) -> None:
    caller = await scene.make()
    requests = json.loads((FOLDER / "codex.json").read_text())["requests"]
    (upgrade,) = (request for request in requests if request["body"] is None)
    secrets = {"authorization": f"Bearer {caller.key}", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}
    headers = [(key, secrets[key] if value == "(secret)" else value) for key, value in upgrade["headers"].items()]
    port = int(caller.url.rpartition(":")[2])

    said = await asyncio.to_thread(
        send_raw, port, upgrade["method"], upgrade["path"], [("connection", "Upgrade"), *headers]
    )

    # The only status after which it does not try again.
    assert (said.status, said.code) == (426, "upgrade_required")
