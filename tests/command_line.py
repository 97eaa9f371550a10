"""`litemaas …` as a child process: stdout, stderr and the exit code."""

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PROGRAM: Final = Path(sys.executable).with_name("litemaas")


@dataclass(frozen=True, slots=True)
class CommandResult:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        assert self.code == 0, self.err
        assert self.out.count("\n") == 1
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class CommandLine:
    """Runs `litemaas` with these environment variables."""

    env: Mapping[str, str]

    async def run(self, *arguments: str, **env: str) -> CommandResult:
        process = await asyncio.create_subprocess_exec(
            PROGRAM,
            *arguments,
            env={**self.env, **env},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        done = CommandResult(process.returncode or 0, out.decode(), err.decode())
        assert "Traceback" not in done.err
        return done
