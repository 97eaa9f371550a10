"""From `LITEMAAS_REDIS_URL` to what runs scripts there: a single server, Sentinel's primary, or a cluster."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import Sentinel
from redis.asyncio.connection import AbstractConnection, Connection, ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.storage.redis.cluster import ClusterScripts
from gateway.storage.redis.link import Address, OnConnect, RedisLink, Script, Scripts
from gateway.tls import NO_FILES, TlsFiles


def connect(
    url: str,
    scripts: Sequence[Script],
    *,
    timeout_s: float,
    tls: TlsFiles = NO_FILES,
    on_connect: OnConnect | None = None,
) -> Scripts:
    """For `redis://`, `redis+cluster://host:port`, `redis+sentinel://host:port,host:port/primary`; `rediss` for TLS."""
    parts = urlsplit(url)
    options: dict[str, Any] = {
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "client_name": "litemaas",
        "protocol": 2,
    }
    kind = SSLConnection if parts.scheme.startswith("rediss") else Connection
    if parts.scheme in ("redis+cluster", "rediss+cluster"):
        addresses, login = read_netloc(parts.netloc, default_port=6379)

        def new_link(address: Address, serves: Callable[[str], bool] | None) -> RedisLink:
            async def new_connection() -> AbstractConnection:
                return with_files(kind(host=address[0], port=address[1], **login, **options), tls)

            if serves is None:
                return RedisLink(new_connection, scripts, timeout_s=timeout_s)
            return RedisLink(new_connection, scripts, timeout_s=timeout_s, on_connect=on_connect, serves=serves)

        return ClusterScripts(addresses, new_link)
    if parts.scheme in ("redis+sentinel", "rediss+sentinel"):
        new_connection = _through_sentinel(parts.netloc, parts.path.strip("/") or "mymaster", kind, options, tls)
    else:
        pool = ConnectionPool.from_url(url, **options)

        async def new_connection() -> AbstractConnection:
            connection: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]  # untyped there
            return with_files(connection, tls)

    return RedisLink(new_connection, scripts, timeout_s=timeout_s, on_connect=on_connect)


def with_files(connection: AbstractConnection, tls: TlsFiles) -> AbstractConnection:
    """Gives a connection that will speak TLS the certificates of now; without `tls` it keeps its own settings."""
    if tls and isinstance(connection, SSLConnection):
        connection.ssl_context.context = tls.context()
    return connection


def client_options(tls: TlsFiles) -> dict[str, Any]:
    """For a client of redis-py that speaks TLS; it reads the files at each connection."""
    options: dict[str, Any] = {"ssl": True, "ssl_cert_reqs": ssl.CERT_REQUIRED}
    named = {"ssl_ca_certs": tls.ca, "ssl_certfile": tls.certificate, "ssl_keyfile": tls.key}
    return options | {name: str(file) for name, file in named.items() if file is not None}


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
    netloc: str, primary: str, kind: type[Connection], options: dict[str, Any], tls: TlsFiles
) -> Callable[[], Awaitable[AbstractConnection]]:
    sentinels, login = read_netloc(netloc, default_port=26379)
    timeout_s = options["socket_connect_timeout"]
    # One that hangs or is away is passed over for the next.
    about = {"socket_connect_timeout": timeout_s, "socket_timeout": timeout_s, "retry": options["retry"]}
    if kind is SSLConnection:
        about |= client_options(tls)
    sentinel = Sentinel(sentinels, sentinel_kwargs=about)  # type: ignore[no-untyped-call]  # untyped there

    async def new_connection() -> AbstractConnection:
        try:
            host, port = await sentinel.discover_master(primary)
        finally:
            # Needed again at the next failover only. Left open, they would keep the event loop from closing.
            await asyncio.gather(*(client.aclose() for client in sentinel.sentinels))
        return with_files(kind(host=host, port=port, **login, **options), tls)

    return new_connection
