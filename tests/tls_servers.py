"""Postgres, Redis and LiteLLM with TLS, which may ask for client certificates.

Those of the tests' packages are built without TLS: relays end it before them. `make tls` has Debian's, with TLS."""

import os
import re
import shutil
import socket
import ssl
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, Self

import asyncpg
import redis.asyncio
from certificates import Issued
from conftest import Database
from gateways import Backends, wait_until

from deploy.embedded.postgres import SUPERUSER, Postgres
from deploy.embedded.postgres_binaries import unprivileged_account
from deploy.embedded.processes import free_port
from deploy.embedded.valkey import Valkey

# Set where Postgres and Redis were built with TLS.
SPEAK_TLS: Final = "LITEMAAS_TEST_SERVERS_SPEAK_TLS"
# Of Postgres's protocol: its length, and the code by which a client asks for TLS.
ASK_POSTGRES: Final = (8).to_bytes(4) + (80877103).to_bytes(4)

LINGER_S: Final = 2.0


class TlsServer(Protocol):
    """A server at 127.0.0.1 that changes its certificate while it runs."""

    port: int

    async def use(self, certificate: Issued, client_ca: Path | None = None) -> None:
        """For new connections. With `client_ca` only clients with a certificate of it may enter."""
        ...

    async def drop(self) -> None:
        """Ends all connections."""
        ...


class Relay:
    """Ends TLS before a server on loopback, in threads of its own; with `is_postgres` after the client asked for it.
    Not by asyncio, which tells nobody why it ends a handshake."""

    def __init__(self, target: int, *, is_postgres: bool = False) -> None:
        self._target, self._is_postgres = target, is_postgres
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        # To wake the thread that waits in `accept`.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._end_all()

    async def use(self, certificate: Issued, client_ca: Path | None = None) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.file, certificate.key)
        if client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(client_ca)
        self._context = context

    async def drop(self) -> None:
        self._end_all()

    def _end_all(self) -> None:
        for one in list(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        threading.Thread(target=work, args=arguments, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self._start(self._serve, self._listener.accept()[0])

    def _serve(self, plain: socket.socket) -> None:
        with plain, suppress(OSError):
            if self._is_postgres:
                if plain.recv(len(ASK_POSTGRES)) != ASK_POSTGRES:
                    return
                plain.sendall(b"S")
            here = self._context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
            try:
                here.do_handshake()
            except ssl.SSLError:
                # What was sent is read, or the client would not read why it is refused.
                here.settimeout(LINGER_S)
                with here:
                    while socket.socket.recv(here, 65536):
                        pass
                return
            with here, socket.create_connection(("127.0.0.1", self._target)) as there:
                both = {here, there}
                self._open |= both
                self._start(_pass_on, there, here)
                _pass_on(here, there)
                self._open -= both


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for one in (source, target):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


class RedisWithTls:
    """A real one with a second port, for TLS."""

    def __init__(self, folder: Path, first: Issued) -> None:
        self.port = free_port()
        arguments = [part for one in _redis_settings(first, None).items() for part in (f"--{one[0]}", one[1])]
        self.valkey = Valkey(folder, arguments=("--tls-port", str(self.port), *arguments))

    async def use(self, certificate: Issued, client_ca: Path | None = None) -> None:
        words = [part for one in _redis_settings(certificate, client_ca).items() for part in one]
        async with redis.asyncio.from_url(self.valkey.url()) as client:
            await client.execute_command("CONFIG", "SET", *words)

    async def drop(self) -> None:
        async with redis.asyncio.from_url(self.valkey.url()) as client:
            await client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def _redis_settings(certificate: Issued, client_ca: Path | None) -> dict[str, str]:
    return {
        "tls-cert-file": str(certificate.file),
        "tls-key-file": str(certificate.key),
        "tls-ca-cert-file": str(client_ca or certificate.file),
        "tls-auth-clients": "yes" if client_ca else "no",
    }


class PostgresWithTls:
    """The tests' Postgres, with TLS until the end of the block; only its connections to `database` must use it."""

    def __init__(self, postgres: Postgres, database: str) -> None:
        self._postgres, self._database = postgres, database
        self.port = postgres.port
        self._folder = Path(tempfile.mkdtemp(prefix="litemaas-tests-tls-"))
        self._connection: asyncpg.Connection | None = None

    async def __aenter__(self) -> Self:
        self._connection = await asyncpg.connect(self._postgres.url(SUPERUSER, "postgres"))
        self._rules = Path(await self._connection.fetchval("SHOW hba_file"))
        self._usual = self._rules.read_text()
        self._folder.chmod(0o755)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._rules.write_text(self._usual)
        await self._set(ssl=None, ssl_cert_file=None, ssl_key_file=None, ssl_ca_file=None)
        assert self._connection is not None
        await self._connection.close()
        shutil.rmtree(self._folder)

    async def use(self, certificate: Issued, client_ca: Path | None = None) -> None:
        kept = Issued(self._folder / "server.pem", self._folder / "server.key")
        certificate.put_into(kept)
        kept.key.chmod(0o600)
        if (account := unprivileged_account()) is not None:
            os.chown(kept.key, account.uid, account.gid)
        ca = self._folder / "ca.pem"
        ca.write_bytes((client_ca or certificate.file).read_bytes())
        proof = " clientcert=verify-ca" if client_ca else ""
        rule = f"hostssl {self._database} all 127.0.0.1/32 scram-sha-256{proof}\n"
        # No other rule of this database but the superuser's.
        self._rules.write_text(f"{rule}hostnossl {self._database} all 127.0.0.1/32 reject\n{self._usual}")
        await self._set(ssl="on", ssl_cert_file=str(kept.file), ssl_key_file=str(kept.key), ssl_ca_file=str(ca))

    async def drop(self) -> None:
        assert self._connection is not None
        statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"
        await self._connection.execute(statement, self._database)

    async def _set(self, **settings: str | None) -> None:
        """Returns once the server that takes connections has read them."""
        assert self._connection is not None
        for name, value in settings.items():
            change = f"RESET {name}" if value is None else f"SET {name} = '{value}'"
            await self._connection.execute(f"ALTER SYSTEM {change}")
        before = await self._loaded_at()
        await self._connection.execute("SELECT pg_reload_conf()")

        async def is_read() -> bool:
            return await self._loaded_at() != before

        await wait_until(is_read, "Postgres to read its settings again")

    async def _loaded_at(self) -> object:
        new = await asyncpg.connect(self._postgres.url(SUPERUSER, "postgres"))
        try:
            return await new.fetchval("SELECT pg_conf_load_time()")
        finally:
            await new.close()


@dataclass(frozen=True, slots=True)
class TlsSite:
    """A database, a Redis and LiteLLM that speak nothing but TLS, at 127.0.0.1."""

    database: Database
    postgres: TlsServer
    redis: TlsServer
    litellm: TlsServer
    redis_password: str

    @property
    def servers(self) -> dict[str, TlsServer]:
        """By the word in the names of their settings."""
        return {"DATABASE": self.postgres, "REDIS": self.redis, "LITELLM": self.litellm}

    def database_url(self, url: str, host: str = "127.0.0.1") -> str:
        """Of Postgres without TLS, here."""
        return re.sub(r"@127\.0\.0\.1:\d+/", f"@{host}:{self.postgres.port}/", url)

    async def use(self, certificate: Issued, client_ca: Path | None = None) -> None:
        for server in self.servers.values():
            await server.use(certificate, client_ca)

    async def drop(self) -> None:
        for server in self.servers.values():
            await server.drop()

    def environment(self, host: str = "127.0.0.1", **files: Path) -> dict[str, str]:
        """Of each server, with the files of all of them: `CA=…, CERT=…, KEY=…`."""
        addresses = {
            "LITEMAAS_DATABASE_URL": self.database_url(self.database.app_url, host),
            "LITEMAAS_OWNER_DATABASE_URL": self.database_url(self.database.owner_url, host),
            "LITEMAAS_REDIS_URL": f"rediss://:{self.redis_password}@{host}:{self.redis.port}/0",
            "LITEMAAS_LITELLM_URLS": f"https://{host}:{self.litellm.port}",
        }
        return addresses | {
            f"LITEMAAS_{server}_{kind}_FILE": str(file) for kind, file in files.items() for server in self.servers
        }


@asynccontextmanager
async def tls_site(
    backends: Backends, postgres: Postgres, database: Database, folder: Path, first: Issued
) -> AsyncIterator[TlsSite]:
    async with AsyncExitStack() as stack:
        litellm = stack.enter_context(Relay(int(backends.litellm_url.rpartition(":")[2])))
        server: TlsServer
        redis_server: TlsServer
        valkey = backends.valkey
        if os.environ.get(SPEAK_TLS):
            server = await stack.enter_async_context(PostgresWithTls(postgres, database.name))
            redis_server = RedisWithTls(folder / "redis", first)
            valkey = stack.enter_context(redis_server.valkey)
        else:
            server = stack.enter_context(Relay(postgres.port, is_postgres=True))
            redis_server = stack.enter_context(Relay(valkey.port))
        site = TlsSite(database, server, redis_server, litellm, valkey.password)
        await site.use(first)
        yield site
