"""Finds a Chromium and starts it."""

import os
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from playwright.async_api import Browser, async_playwright, expect

from portal.browser import install

VARIABLE: Final = "LITEMAAS_TEST_CHROMIUM"
SYSTEM: Final = Path("/usr/bin/chromium")
# A page that loads something from elsewhere fails, on every machine.
ARGUMENTS: Final = (
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
STARTING_S: Final = 60
# What a page must show is waited for so long, on a busy machine.
PATIENCE_MS: Final = 20_000


class NoChromium(Exception):
    """None was found that runs; the text is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Program:
    """A Chromium, and what its environment must have."""

    path: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def reason_not_to_run(self) -> str | None:
        """The last line of what it or the system says; None: it runs."""
        try:
            done = subprocess.run(
                [self.path, "--version"], env=self.whole_environment(), capture_output=True, text=True,
                timeout=STARTING_S, check=False,
            )  # fmt: skip
        except OSError as exc:
            return str(exc)
        said = done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}"
        return said.splitlines()[-1] if done.returncode else None

    def whole_environment(self) -> dict[str, str]:
        """Nothing of the shell's but its path: no proxy, no language, no home."""
        return {"PATH": os.environ.get("PATH", ""), "HOME": str(install.FOLDER), **self.environment}


def find() -> Program:
    """The one that is named, that of npm's package, or the system's. Raises NoChromium."""
    reasons = []
    for program in _candidates():
        reason = program.reason_not_to_run()
        if reason is None:
            return program
        reasons.append(f"{program.path} does not run ({reason})")
    raise NoChromium(
        f"The portal's tests need a Chromium, and {'; '.join(reasons)}: name one that runs, "
        f"{VARIABLE}=/path/to/chromium, or install Debian's package chromium."
    )


def _candidates() -> Iterator[Program]:
    if (named := os.environ.get(VARIABLE)) is not None:
        yield Program(Path(named))
        # Another one would not be what was asked for.
        return
    if install.IS_BUILT_FOR_THIS:
        unpacked = install.UNPACKED
        libraries = {"LD_LIBRARY_PATH": str(unpacked / "lib"), "FONTCONFIG_FILE": str(unpacked / "fonts.conf")}
        yield Program(unpacked / "chromium", libraries)
    yield Program(SYSTEM)


@asynccontextmanager
async def running_chromium() -> AsyncIterator[Browser]:
    """Installs what is missing. Raises NoChromium."""
    install.install()
    program = find()
    expect.set_options(timeout=PATIENCE_MS)
    async with async_playwright() as playwright:
        # Its own sandbox needs rights that a container does not have; only our own pages are opened.
        browser = await playwright.chromium.launch(
            executable_path=program.path, args=ARGUMENTS, env=program.whole_environment(), chromium_sandbox=False
        )
        yield browser
        await browser.close()
