"""The faults, one function each: it runs under load and returns its line of the table."""

import asyncio
import os
import shutil
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from secrets import SystemRandom
from uuid import uuid4

import aiohttp
import asyncpg
import redis.asyncio
from accounting import wait_for
from callers import Caller
from held_up_rows import rows_held_up

from chaos.counts import Line, UpstreamRecord, compare, reap_now, settle_down
from chaos.load import Load
from chaos.site import Disk, Site, copy_segments
from deploy.embedded.postgres import OWNER
from gateway.storage.ledger.writer import LedgerWriter

chance = SystemRandom()


@dataclass(frozen=True, slots=True)
class Scale:
    """How long and how often; `waits_for_leases` lets leases end by the real clock, else by a test's."""

    kills: int
    postgres_away_s: float
    crashes: int
    flushes: int
    waits_for_leases: bool
    mounts: bool


FULL = Scale(kills=20, postgres_away_s=60, crashes=10, flushes=10, waits_for_leases=True, mounts=True)
SHORT = Scale(kills=1, postgres_away_s=1.5, crashes=1, flushes=2, waits_for_leases=False, mounts=False)


class Run:
    """One fault under load, from the first call to the counts."""

    def __init__(self, site: Site, scale: Scale, fault: str) -> None:
        self.site = site
        self.scale = scale
        self.line = Line(fault)
        self.disk = Disk(site)
        # Calls that failed for what should fail no call.
        self.failed = 0
        self.prefix = uuid4().hex[:8]
        self.caller: Caller
        self.load: Load
        self.upstream_log: UpstreamRecord

    async def begin(self, **about: object) -> None:
        """Starts the load; returns once calls are in flight."""
        self.caller = await self.site.make_caller()
        self.upstream_log = UpstreamRecord(self.site, self.prefix)
        self.load = Load(self.caller, self.prefix, **about)
        await asyncio.sleep(0.7)

    async def end(self) -> Line:
        """Stops the load, has the leases of dead workers reaped, and counts."""
        await asyncio.sleep(0.7)
        await self.load.stop()
        await settle_down(self.site, self.caller, self.load, reaps_now=not self.scale.waits_for_leases)
        line = await compare(self.site, self.caller, self.load, self.upstream_log, self.line)
        line.failed = self.failed
        return line

    def count_failed(self, since: int) -> None:
        """Of the calls from the `since`th on that have been answered."""
        failed = {place: n for place, n in self.load.statuses(since).items() if place[0] not in (0, 200)}
        self.failed += sum(failed.values())
        if failed:
            self.line.details.append(f"failed: {failed}")

    async def calls_pass(self) -> None:
        """Until calls of this account are answered again, by every worker: each has a breaker of its own."""

        async def passes() -> bool:
            try:
                said = await self.caller.chats(20, f"Hello [tokens=1] [mark={self.prefix}.probe]")
            except (aiohttp.ClientError, TimeoutError):
                return False
            return all(one.status == 200 for one in said)

        await wait_for(passes, "calls to pass again", 90)

    async def move(self) -> None:
        """Moves the load to the gateway started last."""
        self.load.move(self.site.workers.url)
        self.caller = self.caller.at(self.site.workers.url)


async def nothing(run: Run) -> None:
    """No fault: the baseline."""
    await asyncio.sleep(1)


async def kill_workers(run: Run) -> None:
    """SIGKILL to one of two workers, at any moment of its calls, rows and settlements."""
    run.line.rounds = run.scale.kills
    for _ in range(run.scale.kills):
        run.site.kill_worker()
        await asyncio.sleep(0.2 + chance.random() * 0.6)
        await run.site.all_workers()
        await asyncio.sleep(chance.random() * 0.4)


async def kill_workers_while_postgres_is_held_up(run: Run) -> None:
    """Every row is in a journal alone when its worker dies."""
    async with rows_held_up(run.site.postgres.url(OWNER)):
        await asyncio.sleep(1)
        run.site.kill_worker()
        await asyncio.sleep(0.3)
    if run.scale.waits_for_leases:
        await run.site.all_workers()


async def postgres_stopped(run: Run) -> None:
    """No call may fail."""
    await asyncio.to_thread(run.site.postgres.stop)
    before = len(run.load.attempts)
    await asyncio.sleep(run.scale.postgres_away_s)
    run.count_failed(before)
    await asyncio.to_thread(run.site.postgres.start)
    run.line.note = f"{run.scale.postgres_away_s:.0f} s"


async def postgres_crashes(run: Run) -> None:
    """In the middle of batches: a COMMIT whose answer never comes may have happened or not."""
    run.line.rounds = run.scale.crashes
    before = len(run.load.attempts)
    for _ in range(run.scale.crashes):
        await run.site.crash_postgres()
        await asyncio.sleep(0.3 + chance.random() * 0.5)
    run.count_failed(before)


async def connections_cut(run: Run) -> None:
    """Many times a second: of every statement of a batch and of its COMMIT, one is the last."""
    run.line.rounds = run.scale.crashes * 10
    before = len(run.load.attempts)
    admin = await asyncpg.connect(run.site.postgres.url("postgres", "postgres"))
    sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'litemaas-gateway'"
    for _ in range(run.line.rounds):
        await admin.execute(sql)
        await asyncio.sleep(chance.random() * 0.15)
    await admin.close()
    run.count_failed(before)


async def redis_flushed(run: Run) -> None:
    """Counters are seeded from the ledger, leases are taken again."""
    run.line.rounds = run.scale.flushes
    before = len(run.load.attempts)
    async with redis.asyncio.from_url(run.site.valkey.url()) as client:
        for _ in range(run.scale.flushes):
            await client.flushall()
            await asyncio.sleep(0.5)
    run.count_failed(before)


async def redis_restarted(run: Run) -> None:
    """It restarts empty."""
    await asyncio.to_thread(run.site.valkey.stop)
    await asyncio.sleep(0.5)
    await asyncio.to_thread(run.site.valkey.start)
    await run.calls_pass()
    await asyncio.sleep(1)


async def redis_restored(run: Run) -> None:
    """From a snapshot that lacks what was counted since, and has leases that are long over."""
    async with redis.asyncio.from_url(run.site.valkey.url()) as client:
        await client.save()
    await asyncio.sleep(1.5)
    await asyncio.to_thread(run.site.valkey.stop)
    await asyncio.to_thread(run.site.valkey.start)
    (run.site.valkey.folder / "dump.rdb").unlink(missing_ok=True)
    await run.calls_pass()
    await asyncio.sleep(1)


async def sigterm(run: Run) -> None:
    """Streams end, or are cut at the grace limit."""
    long = Load(run.caller, f"{run.prefix}.long", clients=3, kinds=(5,))
    long.attempts = run.load.attempts
    await asyncio.sleep(0.3)
    await run.site.restart_gateway()
    await run.move()
    long.move(run.site.workers.url)
    await long.stop()


async def journal_replayed_twice(run: Run) -> None:
    """Copies of journals, as a backup or a volume that was copied has them, turn up in the folder."""
    run.line.rounds = 2
    place = run.site.folder / f"copies-{uuid4().hex[:6]}"
    async with rows_held_up(run.site.postgres.url(OWNER)):
        await asyncio.sleep(1)
        copied = await asyncio.to_thread(copy_segments, run.site, place)
    assert copied > 1000
    journal = run.site.state / "journal"
    workers = [uuid4() for _ in range(run.line.rounds)]
    for worker in workers:
        for number, path in enumerate(sorted(place.iterdir()), 1):
            await asyncio.to_thread(shutil.copy, path, journal / f"{worker}.{number:06d}.log")

    async def are_adopted() -> bool:
        return not any(list(journal.glob(f"{worker}.*")) for worker in workers)

    await wait_for(are_adopted, "the copies to be adopted", 20)


async def reaper_and_replay_race(run: Run) -> None:
    """All workers die; their journals come back at the very moment their leases are reaped."""
    async with rows_held_up(run.site.postgres.url(OWNER)), redis.asyncio.from_url(run.site.valkey.url()) as client:
        # No settlement gets through either, so that every lease is open and every row in a journal.
        await client.client_pause(1500)
        await asyncio.sleep(0.8)
        run.site.kill_gateway()
        await client.ping()
    journal, place = run.site.state / "journal", run.site.folder / f"lost-{uuid4().hex[:6]}"
    journal.rename(place)

    async def replay() -> None:
        await asyncio.sleep(chance.random() * 0.05)
        found = LedgerWriter(run.site.pool, place, max_bytes=2**20, on_late=_nothing)
        found.open()
        await found.adopt_all()
        await found.close(5)

    reaped, *_ = await asyncio.gather(reap_now(run.site, run.caller.account_id), replay(), replay())
    run.line.note = f"{reaped} leases reaped meanwhile"
    await run.site.restart_gateway()
    await run.move()


async def gateway_killed_and_redis_emptied(run: Run) -> None:
    """Within a second: what was under way is known beside the journals alone."""
    run.line.rounds = run.scale.flushes
    async with redis.asyncio.from_url(run.site.valkey.url()) as client:
        for _ in range(run.scale.flushes):
            await asyncio.sleep(chance.random() * 0.5)
            run.site.kill_gateway()
            await client.flushall()
            await run.site.restart_gateway()
            await run.move()
            await asyncio.sleep(0.7)


async def _nothing(_: object) -> None:
    return None


async def disk_full(run: Run) -> None:
    """Rows go directly to Postgres; without Postgres, calls get a 503."""
    await _without_disk(run, run.disk.fill, run.disk.empty)


async def folder_read_only(run: Run) -> None:
    """The same."""
    await _without_disk(run, run.disk.lock, run.disk.unlock)


async def _without_disk(run: Run, break_: Callable[[], None], mend: Callable[[], None]) -> None:
    """First with Postgres there, then without it, then a worker dies and all comes back."""
    await run.site.all_workers()
    # A first call of each: the bound on file sizes would else hit the files its metrics begin with.
    await asyncio.sleep(0.7)
    await asyncio.to_thread(break_)
    before = len(run.load.attempts)
    await asyncio.sleep(1.5)
    run.count_failed(before)
    await asyncio.to_thread(run.site.postgres.stop)

    async def is_refused() -> bool:
        return run.load.statuses(before)[503, "ledger_unavailable"] >= 10

    await wait_for(is_refused, "503 ledger_unavailable", 20)

    async def is_reported() -> bool:
        async with run.site.http.get(run.site.workers.program.metrics_url) as answer:
            return "litemaas_ledger_journals_without_disk 2.0" in await answer.text()

    await wait_for(is_reported, "the metrics to tell", 30)
    run.site.kill_worker()
    await asyncio.to_thread(run.site.postgres.start)
    await asyncio.to_thread(mend)
    await run.site.all_workers()
    await run.calls_pass()
    run.line.note = f"{run.disk.kind}; without Postgres 503 ledger_unavailable"


async def litellm_killed(run: Run) -> None:
    """Between gateway and model: calls that reached the model are charged, though nobody tells their usage."""
    part = run.site.litellm
    assert part is not None
    assert part.child is not None
    run.upstream_log.has_litellm_died = True
    os.kill(part.pid, signal.SIGKILL)
    await asyncio.to_thread(part.child.stop)
    await asyncio.sleep(0.5)
    await asyncio.to_thread(part.start)
    await run.calls_pass()


async def model_server_killed(run: Run) -> None:
    """Its record is lost with it: the record a moment before is compared."""
    await run.upstream_log.read()
    run.upstream_log.have_gap = True
    os.kill(run.site.model_server.pid, signal.SIGKILL)
    assert run.site.model_server.child is not None
    await asyncio.to_thread(run.site.model_server.child.stop)
    await asyncio.sleep(0.5)
    await asyncio.to_thread(run.site.model_server.start)
    await run.calls_pass()
    run.line.note = "its record ends a moment before"


async def everything(run: Run) -> None:
    """One load, and all of these one after another: what `make test` has time for."""
    acts = (
        redis_flushed,
        redis_restored,
        connections_cut,
        postgres_crashes,
        journal_replayed_twice,
        kill_workers_while_postgres_is_held_up,
        disk_full,
        reaper_and_replay_race,
        gateway_killed_and_redis_emptied,
    )
    for act in acts:
        await act(run)
    run.line.rounds, run.line.note = len(acts), ""


Act = Callable[[Run], Awaitable[None]]
FAULTS: dict[str, Act] = {
    "none": nothing,
    "kill −9 of a worker": kill_workers,
    "kill −9 while Postgres is held up": kill_workers_while_postgres_is_held_up,
    "Postgres stopped": postgres_stopped,
    "Postgres crashes in mid-batch": postgres_crashes,
    "connections to Postgres cut": connections_cut,
    "Redis flushed": redis_flushed,
    "Redis restarted, empty": redis_restarted,
    "Redis restored from an old snapshot": redis_restored,
    "SIGTERM under streams": sigterm,
    "the same journal replayed twice": journal_replayed_twice,
    "reaper and replay racing": reaper_and_replay_race,
    "kill −9 of a gateway and Redis emptied": gateway_killed_and_redis_emptied,
    "disk full": disk_full,
    "folder read-only": folder_read_only,
    "LiteLLM killed": litellm_killed,
    "model server killed": model_server_killed,
    "many of them, one after another": everything,
}
ON_DISK = (disk_full, folder_read_only)


async def measure(site: Site, scale: Scale, name: str) -> Line:
    """Runs one fault; returns its line of the table."""
    run = Run(site, scale, name)
    act = FAULTS[name]
    has_disk = act in ON_DISK and scale.mounts
    if has_disk:
        await asyncio.to_thread(site.workers.program.stop)
        run.disk.mount()
        await site.restart_gateway()
    try:
        await run.begin()
        await act(run)
        line = await run.end()
    finally:
        await run.load.cancel()
        if has_disk:
            await asyncio.to_thread(site.workers.program.stop)
            run.disk.unmount()
    if has_disk:
        await site.restart_gateway()
    return line
