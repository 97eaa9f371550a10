"""`make upgrade`: from the last release to this version, back and forward, under load. Exit code 1: a fault."""

import asyncio
import sys
import tempfile
from pathlib import Path

import aiohttp
import httpx2

from deploy.embedded.processes import NotStarted
from gateway.web.logs import configure_logs
from upgrade.counts import settle
from upgrade.release import COMMIT, VERSION, NoRelease, install
from upgrade.run import Run
from upgrade.site import opened


async def run_all() -> list[str]:
    """What went wrong."""
    with tempfile.TemporaryDirectory(prefix="litemaas-upgrade-") as folder:
        async with opened(Path(folder), install()) as site:
            run = Run(site)
            try:
                async with run.load():
                    await run.upgrade()
                    await settle(run)
            except (AssertionError, NotStarted, TimeoutError, httpx2.TransportError, aiohttp.ClientError) as exc:
                run.problems.append(f"the run ended early: {exc!r}")
    return run.problems


def main() -> int:
    """The exit code."""
    configure_logs("error")
    try:
        problems = asyncio.run(run_all())
    except NoRelease as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    end = "\n".join(problems) or "no call failed, and every row is there once."
    sys.stdout.write(f"From {VERSION} ({COMMIT[:7]}) to this version: {end}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
