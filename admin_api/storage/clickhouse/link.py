"""The connection to a ClickHouse server, by HTTP. The package is an extra: `litemaas[clickhouse]`."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from clickhouse_connect.driver.asyncclient import AsyncClient
    from pydantic import SecretStr

CONNECT_TIMEOUT_S: Final = 5
# Of one statement: a comparison of a month of a large ledger takes minutes.
TIMEOUT_S: Final = 300
# Of a question that somebody waits for, with a connection to Postgres.
ANSWER_S: Final = 10.0
# Versions of a row that are not merged yet count as one. All versions of a row are in one partition.
SETTINGS: Final = {"final": 1, "do_not_merge_across_partitions_select_final": 1}
# Rows are known by their ids. The server's own rule, that an equal block is not written twice, would drop what is sent
# again after it was deleted.
INSERT_SETTINGS: Final = {"insert_deduplicate": 0, "async_insert": 0, "date_time_input_format": "basic"}
# A deletion is done when it returns, on every replica that is there.
DELETE_SETTINGS: Final = {"lightweight_deletes_sync": 2, "mutations_sync": 2}


class ClickHouseFailed(GatewayError):
    """ClickHouse did not answer, or answered with an error. `cause` has no address and no password."""

    def __init__(self, cause: str) -> None:
        super().__init__("database_unavailable", f"ClickHouse failed: {cause}")
        self.cause = cause


@dataclass(frozen=True, slots=True)
class ClickHouseAddress:
    """Where the server is: http(s)://user:password@host:8123/database."""

    url: "SecretStr"
    ca_file: Path | None = None


class ClickHouse:
    """One client, connected at its first use; any number of coroutines may use it."""

    def __init__(self, address: ClickHouseAddress) -> None:
        self._address = address
        self._client: AsyncClient | None = None
        self._connecting = asyncio.Lock()

    @property
    def database(self) -> str:
        """The database that the address names."""
        return database_of(self._address)

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Rows by column. Raises ClickHouseFailed."""
        client = await self._connect()
        try:
            found = await client.query(sql, parameters=dict(parameters or {}), settings=dict(SETTINGS))
            return list(found.named_results())
        except Exception as exc:
            raise _failure(exc) from exc

    async def answer(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """As `query`, within ANSWER_S: a server that hangs does not hold up who asks."""
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self.query(sql, parameters)
        except TimeoutError:
            raise ClickHouseFailed("no answer in time") from None

    async def command(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> None:
        """A statement without an answer. Raises ClickHouseFailed."""
        client = await self._connect()
        try:
            await client.command(sql, parameters=dict(parameters or {}), settings=dict(settings or {}))
        except Exception as exc:
            raise _failure(exc) from exc

    async def insert(self, table: str, columns: Sequence[str], lines: bytes) -> None:
        """Rows as lines of tab-separated text, as Postgres's COPY writes them. Raises ClickHouseFailed."""
        client = await self._connect()
        try:
            await client.raw_insert(
                table, column_names=columns, insert_block=lines, fmt="TabSeparated", settings=dict(INSERT_SETTINGS)
            )
        except Exception as exc:
            raise _failure(exc) from exc

    async def close(self) -> None:
        """Ends its connections."""
        if self._client is not None:
            await self._client.close()

    async def _connect(self) -> "AsyncClient":
        async with self._connecting:
            if self._client is None:
                # Only where it is used: the package is an extra.
                from clickhouse_connect.driver import create_async_client

                url = urlsplit(self._address.url.get_secret_value())
                ca_file = self._address.ca_file
                try:
                    self._client = await create_async_client(
                        host=url.hostname or "localhost",
                        port=url.port or (8443 if url.scheme == "https" else 8123),
                        username=unquote(url.username) if url.username else None,
                        password=unquote(url.password or ""),
                        database=database_of(self._address),
                        secure=url.scheme == "https",
                        ca_cert=str(ca_file) if ca_file else None,
                        connect_timeout=CONNECT_TIMEOUT_S,
                        send_receive_timeout=TIMEOUT_S,
                        form_encode_query_params=True,
                    )
                except Exception as exc:
                    raise _failure(exc) from exc
            return self._client


def new_clickhouse(url: "SecretStr | None", ca_file: Path | None) -> ClickHouse | None:
    """None without an address."""
    return None if url is None else ClickHouse(ClickHouseAddress(url, ca_file))


def database_of(address: ClickHouseAddress) -> str:
    """`default` where the address names none."""
    return unquote(urlsplit(address.url.get_secret_value()).path.strip("/")) or "default"


def _failure(error: Exception) -> ClickHouseFailed:
    """What the server said, or that it did not answer: without its address, and without the statement."""
    text = str(error) or type(error).__name__
    said = re.search(r"DB::Exception: ([^\n]{1,300})", text)
    return ClickHouseFailed(
        said.group(1) if said else re.sub(r"https?://\S+", "ClickHouse", text.splitlines()[0])[:300]
    )
