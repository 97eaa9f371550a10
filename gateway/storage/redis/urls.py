"""From `LITEMAAS_REDIS_URL` to what runs scripts there: a single server, Sentinel's primary, or a cluster."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import Sentinel
from redis.asyncio.connection import AbstractConnection, Connection, ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.storage.redis.cluster import ClusterScripts
from gateway.storage.redis.link import Address, OnConnect, RedisLink, Script, Scripts


def connect(
    url: str,
    scripts: Sequence[Script],
    *,
    timeout_s: float,
    ca_file: Path | None = None,
    on_connect: OnConnect | None = None,
) -> Scripts:
    """For `redis://`, `rediss://`, `redis+cluster://host:port` and `redis+sentinel://host:port,host:port/primary`."""
    parts = urlsplit(url)
    options: dict[str, Any] = {
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "client_name": "litemaas",
        "protocol": 2,
    }
    if parts.scheme.startswith("rediss") and ca_file:
        options |= {"ssl_ca_certs": str(ca_file), "ssl_cert_reqs": ssl.CERT_REQUIRED}
    if parts.scheme in ("redis+cluster", "rediss+cluster"):
        addresses, login = read_netloc(parts.netloc, default_port=6379)
        kind = SSLConnection if parts.scheme == "rediss+cluster" else Connection

        def new_link(address: Address, serves: Callable[[str], bool] | None) -> RedisLink:
            async def new_connection() -> AbstractConnection:
                return kind(host=address[0], port=address[1], **login, **options)

            if serves is None:
                return RedisLink(new_connection, scripts, timeout_s=timeout_s)
            return RedisLink(new_connection, scripts, timeout_s=timeout_s, on_connect=on_connect, serves=serves)

        return ClusterScripts(addresses, new_link)
    if parts.scheme == "redis+sentinel":
        new_connection = _through_sentinel(parts.netloc, parts.path.strip("/") or "mymaster", options)
    else:
        pool = ConnectionPool.from_url(url, **options)

        async def new_connection() -> AbstractConnection:
            connection: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]  # untyped there
            return connection

    return RedisLink(new_connection, scripts, timeout_s=timeout_s, on_connect=on_connect)


def read_netloc(netloc: str, *, default_port: int) -> tuple[list[Address], dict[str, Any]]:
    """`user:password@host:port,host:port`."""
    credentials, _, hosts = netloc.rpartition("@")
    username, _, password = map(unquote, credentials.partition(":"))
    addresses = []
    for part in hosts.split(","):
        host, _, port = part.rpartition(":") if part.rpartition(":")[2].isdecimal() else (part, "", "")
        addresses.append((host.strip("[]"), int(port or default_port)))
    return addresses, {"username": username or None, "password": password or None}


def _through_sentinel(
    netloc: str, primary: str, options: dict[str, Any]
) -> Callable[[], Awaitable[AbstractConnection]]:
    sentinels, login = read_netloc(netloc, default_port=26379)
    timeout_s = options["socket_connect_timeout"]
    # One that hangs or is away is passed over for the next.
    about = {"socket_connect_timeout": timeout_s, "socket_timeout": timeout_s, "retry": options["retry"]}
    sentinel = Sentinel(sentinels, **about)  # type: ignore[no-untyped-call]  # untyped there

    async def new_connection() -> AbstractConnection:
        try:
            host, port = await sentinel.discover_master(primary)
        finally:
            # Needed again at the next failover only. Left open, they would keep the event loop from closing.
            await asyncio.gather(*(client.aclose() for client in sentinel.sentinels))
        return Connection(host=host, port=port, **login, **options)

    return new_connection
