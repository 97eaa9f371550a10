"""What Claude Code and Codex send, as recorded, passes and is answered. `make clients` runs the programs themselves."""

import json
from typing import Any, Final

import aiohttp
import pytest
from gateways import Ledger

from clients.client import CHAT_MODEL, CLAUDE_MODEL
from clients.recording import FOLDER
from clients.refusals import Scene

# The first test's time includes LiteLLM's start, which is long on a busy machine.
pytestmark = pytest.mark.timeout(300)

# Of each file, what its last event is and how it authenticates.
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
