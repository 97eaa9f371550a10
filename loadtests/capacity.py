"""What a deployment needs: `make capacity` measures what a call and an open stream take of the gateway, Redis and
Postgres with one worker, two workers and two gateways, and makes the tables of docs/capacity.md of it.

Client and model server share the machine's cores with what is measured, so calls per second say little, and CPU time of
a call is what the tables are made of. `--write` puts them into the page.
"""

import argparse
import asyncio
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import asyncpg

from deploy.embedded.postgres import OWNER
from loadtests.bench import requests, stages
from loadtests.bench.client import Streams
from loadtests.bench.gateway import Gateway, Site
from loadtests.bench.model_servers import FixedAnswers, PacedServer
from loadtests.bench.targets import Target
from loadtests.bench.wrk import Wrk
from loadtests.capacity_tables import ARRANGEMENTS, MIB, STREAMS, Arrangement, Streamed, Taken, page
from loadtests.processes import cpu_s, load_average, memory_bytes

PAGE: Final = Path(__file__).parents[1] / "docs" / "capacity.md"
LIMITS: Final = 8
CONNECTIONS: Final = 32
ROUNDS: Final = 3
# Rows of the last calls are written by then.
WRITTEN_S: Final = 3.0


class Measurement:
    """A site, its model servers and wrk."""

    def __init__(self, folder: Path, running: ExitStack) -> None:
        self.paced, self.fixed = PacedServer(folder / "paced"), FixedAnswers(folder / "fixed")
        for server in (self.paced, self.fixed):
            running.callback(server.discard)
            server.start()
        self.site = Site(folder / "site")
        running.callback(self.site.stop)
        self.site.start(self.fixed.url, [LIMITS])
        self.wrk = Wrk(folder)

    def _started(self, gateway: Gateway, model_server_url: str) -> Target:
        gateway.launch(model_server_url)
        gateway.wait()
        (target,) = gateway.targets()
        return target

    def calls(self, arrangement: Arrangement, seconds: float) -> Taken:
        """With a closed loop on each gateway, all at the same time."""
        gateways = [Gateway(self.site, [LIMITS], workers=arrangement.workers) for _ in range(arrangement.gateways)]
        with ExitStack() as running:
            targets = []
            for gateway in gateways:
                running.callback(gateway.stop)
                targets.append(self._started(gateway, self.fixed.url))
            self._load(targets, 1.5)
            return self._taken(arrangement, targets, seconds)

    def _taken(self, arrangement: Arrangement, targets: Sequence[Target], seconds: float) -> Taken:
        time.sleep(WRITTEN_S)
        pids = [target.pid for target in targets if target.pid]
        redis, postgres = self.site.valkey.pid, self.site.postgres.pid
        began = [sum(map(cpu_s, pids)), cpu_s(redis), cpu_s(postgres, with_ended=True), float(self._rows())]
        answered, calls_per_s = self._load(targets, seconds)
        time.sleep(WRITTEN_S)
        ended = [sum(map(cpu_s, pids)), cpu_s(redis), cpu_s(postgres, with_ended=True), float(self._rows())]
        gateway_s, redis_s, postgres_s, rows = (after - before for before, after in zip(began, ended, strict=True))
        memory = sum(map(memory_bytes, pids)) / MIB / (arrangement.gateways * arrangement.workers)
        us = 1e6 / answered
        return Taken(calls_per_s, gateway_s * us, redis_s * us, postgres_s * us, rows / answered, memory)

    def _load(self, targets: Sequence[Target], seconds: float) -> tuple[int, float]:
        """Answered calls, in all and a second."""
        body, done = requests.json_body(1024), []
        connections = CONNECTIONS // len(targets)

        def run(target: Target) -> None:
            done.append(self.wrk.run(target, body, connections=connections, seconds=seconds))

        threads = [threading.Thread(target=run, args=(target,)) for target in targets]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if len(done) < len(targets):
            raise SystemExit("A load ended early; see the messages above.")
        return sum(one.calls for one in done), sum(one.calls_per_s for one in done)

    def _rows(self) -> int:
        async def count() -> int:
            connection = await asyncpg.connect(self.site.postgres.url(OWNER))
            rows: int = await connection.fetchval("SELECT count(*) FROM usage_logs")
            await connection.close()
            return rows

        return asyncio.run(count())

    def bytes_of_row(self) -> float:
        """On Postgres's disk, with its indexes."""

        async def size() -> float:
            connection = await asyncpg.connect(self.site.postgres.url(OWNER))
            total: int = await connection.fetchval(
                "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('usage_logs')"
            )
            await connection.close()
            return float(total) / max(self._rows_now, 1)

        self._rows_now = self._rows()
        return asyncio.run(size())

    def streams(self, seconds: float) -> Streamed:
        """Open streams of one worker, at an even pace."""
        gateway = Gateway(self.site, [LIMITS])
        with ExitStack() as running:
            running.callback(gateway.stop)
            target = self._started(gateway, self.paced.url)
            asyncio.run(stages.warm_up_streams(target))
            before = memory_bytes(target.pid or 0)
            streams, cpu, open_bytes = asyncio.run(self._read_streams(target, seconds))
            events = len(streams.events())
            return Streamed(cpu / events * 1e6, (open_bytes - before) / STREAMS.streams / 1024)

    async def _read_streams(self, target: Target, seconds: float) -> tuple[Streams, float, int]:
        largest = 0

        async def watch() -> None:
            nonlocal largest
            while True:
                largest = max(largest, memory_bytes(target.pid or 0))
                await asyncio.sleep(0.5)

        watching = asyncio.ensure_future(watch())
        try:
            streams, cpu = await stages.read_streams(target, STREAMS, seconds)
        finally:
            watching.cancel()
        return streams, cpu, largest


def main() -> None:
    """Measures, prints, and with `--write` puts it into the page."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=4.0, help="of each load")
    options.add_argument("--write", action="store_true", help="put the tables into docs/capacity.md")
    chosen = options.parse_args()
    before = load_average()
    with tempfile.TemporaryDirectory(prefix="litemaas-capacity-") as name, ExitStack() as running:
        folder = Path(name)
        folder.chmod(0o755)  # Postgres's own account enters it
        measurement = Measurement(folder, running)
        found: dict[Arrangement, list[Taken]] = {arrangement: [] for arrangement in ARRANGEMENTS}
        for number in range(1, ROUNDS + 1):
            for arrangement in ARRANGEMENTS:
                sys.stderr.write(f"round {number} of {ROUNDS}: {arrangement.name}\n")
                found[arrangement].append(measurement.calls(arrangement, chosen.seconds))
        row_bytes = measurement.bytes_of_row()
        text = page(found, measurement.streams(chosen.seconds), row_bytes, before)
    sys.stdout.write(text + "\n")
    if chosen.write:
        from tests.contract.tables import with_table

        PAGE.write_text(with_table(PAGE.read_text(), "capacity", text))


if __name__ == "__main__":
    main()
