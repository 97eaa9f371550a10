"""The parts of one worker: made, opened and drained in one place."""

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from gateway import metrics
from gateway.access_log import AccessLog
from gateway.admit import Admission
from gateway.authenticate import Authenticator
from gateway.domain.cost_bounds import CostBounds
from gateway.domain.grants import KeyRecord
from gateway.domain.ids import RequestIds
from gateway.domain.keys import Peppers
from gateway.endpoints.allowed_fields import AllowedFields, parse_opened
from gateway.exchange import Exchanges
from gateway.forwarded_call import Bookkeeping
from gateway.limit_report import LimitReport
from gateway.local_limits import LocalLimits
from gateway.proxy import Proxy
from gateway.readiness import Readiness
from gateway.realtime.serve import Realtime
from gateway.realtime.session import Bounds
from gateway.refused_fields import RefusedFields
from gateway.settings import Settings
from gateway.settle import Settlements
from gateway.storage.changes import Changes
from gateway.storage.counters.data_marks import DataMarks
from gateway.storage.counters.scripts import SCRIPTS, Counters
from gateway.storage.counters.seeding import Seeder
from gateway.storage.counters.settling import keep_ended_of
from gateway.storage.counters.state import LimitState
from gateway.storage.counters.worker_count import WorkerCount
from gateway.storage.counters.worker_states import WorkerState
from gateway.storage.key_cache import KeyCache
from gateway.storage.key_records import find_key_record
from gateway.storage.ledger.writer import LedgerWriter
from gateway.storage.model_prices import ModelPrices
from gateway.storage.postgres import Pool, new_pool
from gateway.storage.redis import urls
from gateway.storage.refusal_counts import RefusalCounts
from gateway.storage.refused_calls import RefusedCalls
from gateway.storage.response_owners import ResponseOwners
from gateway.tallies import Tallies
from gateway.tasks.check_drift import DriftCheck
from gateway.tasks.keep_clock import keep_clock
from gateway.tasks.maintain_partitions import PartitionKeeper
from gateway.tasks.measure import Measurement
from gateway.tasks.note_redis_runs import RedisRuns
from gateway.tasks.reap_leases import Reaper
from gateway.tasks.renew_leases import LeaseKeeper
from gateway.unmetered import UnmeteredAccounts
from gateway.upstream.client import Timeouts, Upstream
from gateway.upstream.pool import UpstreamPool
from gateway.web.addresses import parse_networks
from gateway.web.background import Background
from gateway.web.bodies import BodyBudget
from gateway.web.shutdown import Shutdown
from gateway.without_redis import WithoutRedis

if TYPE_CHECKING:
    from gateway.tracing import Tracing

log = structlog.get_logger(__name__)

# How long calls that the server cancelled may take to say so; longer than a caller who does not read is waited for.
ANSWERS_S: Final = 2.0


def _open_pool(settings: Settings) -> Pool:
    return new_pool(
        settings.database_url.get_secret_value(),
        size=settings.database_pool_size,
        behind_pgbouncer=settings.pgbouncer,
        tls=settings.tls("database"),
        name="litemaas-gateway",
    )


def _new_tracing(settings: Settings) -> "Tracing | None":
    if settings.traces_url is None:
        return None
    # Its packages are an extra, and take half a second and some megabytes.
    from gateway.tracing import Tracing

    return Tracing(settings.traces_url, settings.traces_share)


class Worker:
    """Everything a worker holds. `open` also returns while Postgres or Redis is unavailable; readiness reports it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.background = Background()
        self.shutdown = Shutdown(settings.shutdown_delay_s)
        self.ids = RequestIds()
        self.tracing = _new_tracing(settings)
        self.pool = _open_pool(settings)
        listen_url = settings.listen_database_url or settings.database_url
        self.changes = Changes(
            self.pool,
            listen_url.get_secret_value(),
            self._invalidate,
            is_back=lambda: self.ledger.postgres_is_back(),
            tls=settings.tls("database"),
        )
        self.model_prices = ModelPrices(self.pool, max_named=settings.metrics_models)
        self.tallies = Tallies()
        self.keys = KeyCache(
            self._load_key,
            listening=lambda: self.changes.listening,
            last_contact=lambda: self.changes.last_contact,
            grace_s=settings.keys_grace_s,
        )
        self.scripts = urls.connect(
            settings.redis_url.get_secret_value(),
            SCRIPTS,
            timeout_s=settings.redis_timeout_s,
            tls=settings.tls("redis"),
            on_connect=lambda run_id, serves: self.redis_runs.connected(run_id, serves),
        )
        self.counters = Counters(self.scripts, self.tallies.script)
        self.ledger = LedgerWriter(
            self.pool,
            settings.state_dir / "journal",
            max_bytes=settings.journal_max_bytes,
            keep_s=settings.journal_keep_s,
            on_late=lambda rows: self.settlements.settle_late(rows),
            on_begun=lambda rows: self.reaper.close_begun(rows),
            on_event=metrics.count_ledger_event,
            before_seeds=lambda: self.redis_runs.settle_down(),
        )
        self.unmetered = UnmeteredAccounts(
            self.pool,
            rows_wait_s=lambda: self.ledger.waiting_s,
            keep=lambda account_ids: keep_ended_of(self.counters, account_ids),
            forget=lambda account_ids: self.without_redis.forget(account_ids),
        )
        self.leases = LeaseKeeper(self.counters, lambda *lost: self.admission.take_again(*lost))
        self.redis_runs = RedisRuns(
            self.pool,
            self.counters,
            self.background,
            raise_epochs=self.unmetered.raise_now,
            redis_is_back=self._redis_is_back,
        )
        self.worker_count = WorkerCount(
            self.counters,
            lambda: WorkerState(self.tallies.in_flight, self.ledger.waiting_ms),
        )
        self.data_marks = DataMarks(self.scripts, self.redis_runs.data_lost)
        policy, local = settings.when_limits_unavailable, LocalLimits(lambda: self.worker_count.number, self.leases)
        self.without_redis = WithoutRedis(
            self.unmetered.add, allowed=policy == "allow", local=local if policy == "local" else None
        )
        self.settlements = Settlements(self.counters, self.ledger, self.without_redis.ended, self.tracing)
        self.seeder = Seeder(self.counters, self.pool, metrics.SEEDS.inc, lambda: self.ledger.waiting_s)
        self.reaper = Reaper(self.counters, self.ledger)
        self.admission = Admission(
            self.counters,
            self.ids,
            seed=self.seeder.seed,
            sweep_due=self.reaper.sweep_due,
            free=self.settlements.free,
            background=self.background,
            without_redis=self.without_redis,
            token_counts_per_minute=settings.token_counts_per_minute,
            bounds=CostBounds(tool_uses=settings.paid_tool_uses, attachment_tokens=settings.attachment_tokens),
        )
        self.refusals = RefusalCounts(self.pool)
        self.refused_calls = RefusedCalls(self.pool)
        self.partitions = PartitionKeeper(
            self.pool,
            retention_months=settings.usage_retention_months,
            response_owners_days=settings.response_owners_days,
        )
        self.owners = ResponseOwners(self.pool, self.scripts, self.background.start, metrics.count_look_ups)
        self.limit_state = LimitState(self.counters, self.seeder)
        self.limits = LimitReport(self.limit_state, self.ids)
        self.bodies = BodyBudget(settings.max_body_bytes_in_flight)
        self.access_log = AccessLog(is_on=settings.access_log)
        proxies = parse_networks(settings.trusted_proxies)
        self.exchanges = Exchanges(self.ids, self.access_log, self.refusals, self.refused_calls, proxies, self.tracing)
        self.drift = DriftCheck(self.counters, self.pool)

    def _invalidate(self, code: str, ids: tuple[int, ...]) -> None:
        self.keys.invalidate(code, ids)
        if code in ("m", "*"):
            self.model_prices.changed()

    def _redis_is_back(self) -> None:
        """It may be another one, which knows neither counters nor leases nor accounts."""
        self.keys.invalidate("*", ())
        self.leases.redis_is_back()
        self.admission.forget_announced()

    async def _load_key(self, fingerprint: bytes) -> KeyRecord | None:
        digests = [fingerprint[n : n + 32] for n in range(0, len(fingerprint), 32)]
        return await find_key_record(self.pool, digests)

    async def open(self) -> Proxy:
        """Starts everything and returns what forwards calls."""
        self.shutdown.listen()
        settings = self.settings
        await self.pool
        self.ledger.open()
        await self.scripts.open()
        self.access_log.start()
        timeouts = Timeouts(
            connect_s=settings.connect_timeout_s,
            first_byte_s=settings.first_byte_timeout_s,
            idle_s=settings.idle_timeout_s,
        )
        key, tls = settings.litellm_api_key.get_secret_value(), settings.tls("litellm")
        connections = settings.upstream_connections
        self.upstream = UpstreamPool(
            [
                Upstream(url, api_key=key, timeouts=timeouts, connections=connections, tls=tls)
                for url in settings.litellm_urls
            ]
        )
        self.readiness = Readiness(
            pool=self.pool,
            changes=self.changes,
            scripts=self.scripts,
            ledger=self.ledger,
            upstream=self.upstream,
            keys_grace_s=settings.keys_grace_s,
            needs_redis=settings.when_limits_unavailable == "deny",
            shutdown=self.shutdown,
        )
        measurement = Measurement(
            tallies=self.tallies,
            ledger=self.ledger,
            settlements=self.settlements,
            keys=self.keys,
            upstream=self.upstream,
            counters=self.counters,
        )
        for name, work in (
            ("changes", self.changes.run),
            ("ledger", self.ledger.run),
            ("partitions", self.partitions.run),
            ("settlements", self.settlements.run),
            ("leases", self.leases.run),
            ("unmetered", self.unmetered.run),
            ("reaper", self.reaper.run),
            ("drift", self.drift.run),
            ("refusals", self.refusals.run),
            ("refused-calls", self.refused_calls.run),
            ("prices", self.model_prices.run),
            ("upstream", self.upstream.run),
            ("clock", partial(keep_clock, self.ids, self.counters)),
            ("metrics", measurement.run),
            ("worker-count", self.worker_count.run),
            ("data-marks", self.data_marks.run),
            ("readiness", self.readiness.run),
        ):
            self.background.keep(work, name)
        return Proxy(
            exchanges=self.exchanges,
            authenticator=Authenticator(Peppers.parse(settings.key_peppers.get_secret_value()), self.keys),
            admission=self.admission,
            upstream=self.upstream,
            books=Bookkeeping(
                leases=self.leases,
                settlements=self.settlements,
                prices=self.model_prices,
                owners=self.owners,
                begun=self.ledger.journal.begun,
                tallies=self.tallies,
            ),
            ledger=self.ledger,
            bodies=self.bodies,
            allowed_fields=AllowedFields(parse_opened(settings.allowed_fields), RefusedFields().report),
            max_body_bytes=settings.max_body_bytes,
            max_upload_bytes=settings.max_upload_bytes,
            upload_folder=settings.state_dir / "uploads",
            read_on_s=settings.read_on_s,
            ping_after_s=settings.ping_after_s,
            pings_before_answer=settings.pings_before_answer,
        )

    def new_realtime(self, proxy: Proxy) -> Realtime:
        """What serves realtime sessions."""
        return Realtime(
            proxy=proxy,
            counters=self.counters,
            state=self.limit_state,
            bounds=Bounds(session_s=self.settings.session_max_s, silence_s=self.settings.idle_timeout_s),
            allows_without_redis=self.settings.when_limits_unavailable == "allow",
        )

    async def close(self) -> None:
        """Settles and writes what has ended, then lets go. What is not done in time is in the journal, or reaped."""
        timeout_s = self.settings.drain_timeout_s
        # Those that were cancelled at the end of the grace are telling their callers; their rows come first.
        await self.exchanges.drain(ANSWERS_S)
        await self.settlements.drain(timeout_s / 2)
        await self.background.stop()
        await self.settlements.drain(timeout_s / 4)
        await self.refusals.write()
        await self.refused_calls.write()
        await self.ledger.close(timeout_s / 4)
        # Rows that no journal took are settled only now that Postgres has them.
        await self.settlements.drain(timeout_s / 4)
        # The calls of the last moment; where workers share a folder, their counts outlive them.
        self.tallies.write()
        await self.upstream.close()
        if self.tracing is not None:
            await asyncio.to_thread(self.tracing.close)
        await asyncio.to_thread(self.access_log.close)
        await self.scripts.close()
        try:
            async with asyncio.timeout(2):
                await self.pool.close()
        except TimeoutError:
            self.pool.terminate()
