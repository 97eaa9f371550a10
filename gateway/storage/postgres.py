"""The Postgres pool and its settings."""

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import asyncpg

from gateway.storage.failures import UNAVAILABLE
from gateway.storage.postgres_hosts import PostgresHosts
from gateway.tls import NO_FILES, TlsFiles

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

# Names for asyncpg's generic classes, which cannot be subscripted at run time.
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
# What a function that runs SQL takes: a connection of its own, or one lent by the pool.
Executor: TypeAlias = "Connection | PoolConnectionProxy[asyncpg.Record]"

CONNECT_S: Final = 5.0


async def connect(url: str, *, tls: TlsFiles = NO_FILES, name: str = "litemaas") -> "Connection":
    """One connection outside the pool. Without `tls` the address's own settings decide (sslmode, sslrootcert, …). Its
    statements have no names, so that a PgBouncer may be in between."""
    ssl, settings = tls.context() if tls else None, {"application_name": name}
    return await _connected(
        PostgresHosts(), url, timeout=CONNECT_S, ssl=ssl, server_settings=settings, statement_cache_size=0
    )


async def _connected(hosts: PostgresHosts, url: str, **settings: Any) -> "Connection":
    """A connection that Postgres refuses is Postgres that is away, whatever its reason: a database that takes no
    connections, or none of this role. Raises one of UNAVAILABLE."""
    try:
        connection: Connection = await hosts.connect(url, **settings)
    except UNAVAILABLE:
        raise
    except asyncpg.PostgresError as exc:
        raise asyncpg.CannotConnectNowError(str(exc)) from exc
    return connection


async def _keep(_: object) -> None:
    """Nothing is reset when a connection goes back, which would be one more round trip: no statement of ours sets
    anything for longer than its transaction."""


class BoundedPool(asyncpg.Pool):
    """Lends a connection within `wait_s`, or raises TimeoutError: while Postgres hangs, every caller would wait for all
    callers before it."""

    def __init__(self, url: str, *, wait_s: float | None, tls: TlsFiles, **settings: Any) -> None:
        # Beside `settings`, what asyncpg.create_pool fills in.
        super().__init__(
            url,
            max_queries=50_000,
            max_inactive_connection_lifetime=300.0,
            loop=None,
            connection_class=asyncpg.Connection,
            record_class=asyncpg.Record,
            connect=self._connect_once,  # type: ignore[arg-type]  # it names every argument of its own
            **settings,
        )
        self.wait_s = wait_s
        self._tls, self._hosts = tls, PostgresHosts()

    async def _connect_once(self, url: str, **settings: Any) -> Connection:
        """By the certificates of now."""
        return await _connected(self._hosts, url, ssl=self._tls.context() if self._tls else None, **settings)

    def acquire(self, *, timeout: float | None = None) -> Any:
        """As asyncpg's; `timeout` instead of `wait_s`."""
        return super().acquire(timeout=self.wait_s if timeout is None else timeout)


def new_pool(
    url: str,
    *,
    size: int,
    behind_pgbouncer: bool = False,
    tls: TlsFiles = NO_FILES,
    name: str = "litemaas",
    replans: bool = False,
    wait_s: float | None = None,
) -> "Pool":
    """A pool that has not connected yet: the program starts while Postgres is away, and says so in readiness.

    `await pool` connects it. PgBouncer in transaction mode cannot keep prepared statements: no cache then.
    `replans` is for lists whose filters may be absent: each call is planned for the filters it has, where one plan
    for all of them would read whole tables. `wait_s` is the longest wait for a connection; None: without end.
    """
    settings = {"application_name": name}
    if replans and not behind_pgbouncer:
        # Without a cache every statement is planned again, and PgBouncer refuses parameters it does not know.
        settings["plan_cache_mode"] = "force_custom_plan"
    pool: Pool = BoundedPool(
        url,
        wait_s=wait_s,
        min_size=0,
        max_size=size,
        timeout=CONNECT_S,
        command_timeout=30,
        tls=tls,
        reset=_keep,
        statement_cache_size=0 if behind_pgbouncer else 256,
        # The ledger's largest is longer than asyncpg keeps by itself.
        max_cacheable_statement_size=64 * 1024,
        server_settings=settings,
    )
    return pool
