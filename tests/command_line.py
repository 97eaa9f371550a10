"""`litemaas …` in a process of its own: stdout, stderr and the exit code."""

import asyncio
import atexit
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from deploy.embedded.processes import bare_environment

PROGRAM: Final = Path(sys.executable).with_name("litemaas")
SERVER: Final = Path(__file__).with_name("command_server.py")


@dataclass(frozen=True, slots=True)
class CommandResult:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        assert self.code == 0, self.err
        return self.any_json()

    def any_json(self) -> Any:
        """Also of a command that found something and exits with another code."""
        assert self.out.count("\n") == 1, self.err
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class CommandLine:
    """Runs `litemaas` with these environment variables, forked from a process that has imported it; what the start
    itself does is tested by those that run PROGRAM. `heeds_modes`: also as
    root it may write only where the modes of folders let it."""

    env: Mapping[str, str]
    heeds_modes: bool = False

    async def run(self, *arguments: str, **env: str) -> CommandResult:
        path = await asyncio.to_thread(server)
        with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as err:
            asked = {
                "arguments": arguments,
                "env": {**self.env, **env},
                "out": out.name,
                "err": err.name,
                "heeds_modes": self.heeds_modes,
            }
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(json.dumps(asked).encode() + b"\n")
            code = int(await reader.readline())
            writer.close()
            done = CommandResult(code, out.read().decode(), err.read().decode())
        assert "Traceback" not in done.err
        return done


@cache
def server() -> str:
    """The socket of this process's server of commands, which is started now."""
    folder = tempfile.TemporaryDirectory(prefix="litemaas-commands-")
    path = f"{folder.name}/socket"
    environment = bare_environment(Path(folder.name)) | {"PYTHONPATH": str(SERVER.parents[1])}
    process = subprocess.Popen([sys.executable, "-P", SERVER, path], env=environment, stdout=subprocess.PIPE, text=True)

    def stop() -> None:
        process.terminate()
        process.wait()
        folder.cleanup()

    atexit.register(stop)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", "the server of commands did not start"
    return path
