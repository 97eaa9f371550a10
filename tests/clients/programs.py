"""The clients as running programs, which read tasks and print what the client returned."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from clients.catalogue import BY_NAME
from clients.client import Client
from clients.tasks import Seen, Task
from deploy.embedded.processes import bare_environment

ANSWERING_S: Final = 90.0


class Program:
    """One client, kept running: it ends with its input, so also with us."""

    def __init__(self, client: Client, home: Path) -> None:
        self._client = client
        self._home = home

    async def do(self, task: Task) -> Seen:
        """What the client returned, or its exception. Fails on an exception that is no answer of the gateway."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(asdict(task)).encode() + b"\n")
        async with asyncio.timeout(ANSWERING_S):
            line = await self._process.stdout.readline()
        assert line, f"the program of {self._client.name} ended: {self._log.read_text()[-2000:]}"
        said = json.loads(line)
        assert "crash" not in said, f"{self._client.name}: {said['crash']}"
        return Seen(**said)

    async def start(self) -> Self:
        await asyncio.to_thread(self._client.install)
        self._home.mkdir(parents=True)
        self._log = self._home / "errors.log"
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._client.command,
                cwd=self._client.folder,
                env=bare_environment(self._home),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=2**22,
            )
        return self

    async def stop(self) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(ANSWERING_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            raise


class Programs:
    """All that were needed so far."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, Program] = {}

    async def start(self, names: Iterable[str]) -> None:
        """All at once."""
        wanted = [name for name in names if name not in self._running]
        started = await asyncio.gather(*(Program(BY_NAME[name], self._folder / name).start() for name in wanted))
        self._running |= zip(wanted, started, strict=True)

    async def do(self, client: Client, task: Task) -> Seen:
        """One task, by this client."""
        await self.start([client.name])
        return await self._running[client.name].do(replace(task, api=client.api))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for program in self._running.values():
            await program.stop()
