"""A provider key stored in LiteMaaS: LiteLLM gets it at its start and sends it to the model's own address only."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from admin_client import SECRET_KEYS
from callers import chat_body, make_caller
from factories import ADMIN
from gateways import Backends, StartGateway
from loopback_servers import LoopbackServer
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from admin_api.encryption import SecretKeys
from admin_api.operations.models.provider_keys import put_provider_key
from deploy.embedded.litellm import LiteLLM
from gateway.storage.postgres import Pool

# LiteLLM starts three times here.
pytestmark = pytest.mark.timeout(600)
MODEL, NAME = "demo-chat", "DEMO"
REFERENCE = f"os.environ/PROVIDER_KEY_{NAME}"
FIRST, SECOND = "sk-planted-first-0123456789", "sk-planted-second-0123456789"
KEYS = SecretKeys.parse(SECRET_KEYS)
ANSWER: dict[str, Any] = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": MODEL,
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello"}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


class Address(LoopbackServer):
    """A server that accepts every call and records its key."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        super().__init__([Route("/{path:path}", self._answer, methods=["GET", "POST"])])

    async def _answer(self, request: Request) -> JSONResponse:
        self.calls.append((request.url.path, request.headers.get("authorization", "")))
        return JSONResponse(ANSWER)

    @property
    def key(self) -> str:
        """The key of the last call."""
        return self.calls[-1][1].removeprefix("Bearer ")


@pytest.fixture
async def provider() -> AsyncIterator[Address]:
    async with Address() as server:
        yield server


@pytest.fixture
async def thief() -> AsyncIterator[Address]:
    """An address that a caller names."""
    async with Address() as server:
        yield server


@pytest.fixture
async def own_litellm(backends: Backends, provider: Address, tmp_path: Path) -> AsyncIterator[LiteLLM]:
    settings = {"LITEMAAS_DATABASE_URL": backends.database.app_url, "LITEMAAS_SECRET_KEYS": SECRET_KEYS}
    part = LiteLLM(tmp_path / "litellm", provider.url, stored_keys=settings, api_keys={MODEL: REFERENCE})
    yield part
    part.discard()


async def put(pool: Pool, value: str) -> None:
    await put_provider_key(pool, ADMIN, KEYS, NAME, provider="demo", value=value)


async def start(litellm: LiteLLM) -> None:
    # Not in a thread: its process would end with that.
    litellm.launch()
    await asyncio.to_thread(litellm.wait)


def read_environment(pid: int) -> dict[str, str]:
    """The environment of another process, from /proc."""
    pairs = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


async def test_a_stored_provider_key_is_sent_to_its_model_only(
    backends: Backends,
    pool: Pool,
    http: aiohttp.ClientSession,
    start_gateway: StartGateway,
    litellm: LiteLLM,
    own_litellm: LiteLLM,
    provider: Address,
    thief: Address,
) -> None:
    await put(pool, FIRST)
    await start(own_litellm)
    gateway = start_gateway(litellm_urls=own_litellm.url, litellm_api_key=own_litellm.api_key)
    caller = await make_caller(pool, gateway.url, http, (MODEL,))
    login = {"authorization": f"Bearer {caller.key}"}

    async def ask(url: str, headers: dict[str, str], **more: object) -> tuple[int, str]:
        body = chat_body("Hello", model=MODEL) | more
        async with http.post(f"{url}/v1/chat/completions", json=body, headers=headers) as got:
            return got.status, await got.text()

    first = await ask(gateway.url, login)
    assert (first[0], provider.key) == (200, FIRST)
    # What opens the keys is not in LiteLLM's hands, whatever a caller may make it tell of its environment.
    environment = read_environment(own_litellm.pid)
    assert environment[f"PROVIDER_KEY_{NAME}"] == FIRST
    assert not [name for name in environment if name.startswith("LITEMAAS_")]

    # A caller who names an address, or asks for the key by its name, is refused: by the gateway, and by LiteLLM too.
    fields = ("api_base", "base_url", "aws_bedrock_runtime_endpoint")
    bodies: list[dict[str, object]] = [{field: f"{thief.url}/v1"} for field in fields]
    bodies.append({"api_key": REFERENCE, "api_base": thief.url})
    bodies.append({"user_config": {"model_list": [{"api_base": thief.url}]}})
    master = {"authorization": f"Bearer {own_litellm.api_key}"}
    refused = [await ask(gateway.url, login, **options) for options in bodies]
    at_litellm = [await ask(own_litellm.url, master, **options) for options in bodies]
    assert [status for status, _ in refused] == [400] * len(bodies)
    assert thief.calls == []
    # What LiteLLM lets through all the same went where its configuration says.
    assert {key for path, key in provider.calls if path.endswith("/chat/completions")} == {f"Bearer {FIRST}"}

    # LiteLLM has a new value only after its next start.
    await put(pool, SECOND)
    before = await ask(gateway.url, login)
    assert (before[0], provider.key) == (200, FIRST)
    await asyncio.to_thread(own_litellm.stop)
    await start(own_litellm)
    after = await ask(gateway.url, login)
    assert (after[0], provider.key) == (200, SECOND)

    response = "".join(text for _, text in (first, before, after, *refused, *at_litellm))
    folders = (backends.folder, backends.model_server.folder, litellm.folder)
    logs = [path for folder in folders for path in folder.rglob("*.log")]
    written = "".join(path.read_text(errors="replace") for path in logs)
    written += "".join(path.read_text(errors="replace") for path in own_litellm.folder.rglob("*") if path.is_file())
    assert not [key for key in (FIRST, SECOND) if key in response + written]
