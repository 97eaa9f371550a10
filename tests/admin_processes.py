"""Replicas of the admin API as processes, and a transport that sends requests to them in turn."""

import asyncio
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import httpx2
from admin_client import SECRET_KEYS, TOKEN
from loopback_servers import LiteLLMInfoServer

from deploy.embedded.processes import free_port
from deploy.embedded.programs import Program


async def start_admin_apis(
    folder: Path, *, count: int, database_url: str, redis_url: str, litellm_url: str, **more: str
) -> list[Program]:
    """`count` replicas on one Postgres and one Redis, ready when this returns."""
    programs = []
    for n in range(count):
        place = folder / f"replica{n}"
        place.mkdir()
        program = Program(place, "admin-api", free_port())
        program.env = {
            "LITEMAAS_DATABASE_URL": database_url,
            "LITEMAAS_REDIS_URL": redis_url,
            "LITEMAAS_LITELLM_URLS": litellm_url,
            "LITEMAAS_LITELLM_API_KEY": LiteLLMInfoServer.KEY,
            "LITEMAAS_KEY_PEPPERS": "1:" + "ab" * 32,
            "LITEMAAS_SECRET_KEYS": SECRET_KEYS,
            "LITEMAAS_ADMIN_TOKEN": TOKEN,
            "LITEMAAS_MODEL_SYNC_INTERVAL_S": "0",
            "LITEMAAS_ADMIN_CALLS_PER_MINUTE": "0",
            **more,
        }
        program.launch()
        programs.append(program)
    await asyncio.gather(*(asyncio.to_thread(program.wait) for program in programs))
    return programs


class RoundRobinTransport(httpx2.AsyncBaseTransport):
    """A load balancer without sticky sessions: each request goes to the next replica."""

    def __init__(self, programs: Sequence[Program]) -> None:
        self._ports = cycle([program.port for program in programs])
        self._transport = httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        there = request.url.copy_with(port=next(self._ports))
        sent = httpx2.Request(request.method, there, headers=request.headers, stream=request.stream)
        return await self._transport.handle_async_request(sent)

    async def aclose(self) -> None:
        await self._transport.aclose()
