"""What a check of a deployment reads from Redis servers, each on a connection of its own. Nothing is changed."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from gateway.storage.redis.link import Address
from gateway.storage.redis.urls import client_options, read_netloc
from gateway.tls import TlsFiles

SENTINEL_PORT: Final = 26379
# A digest of no script.
NO_SCRIPT: Final = "0" * 40

REFUSED: Final = (AuthenticationError, NoPermissionError)
FAILED: Final = (RedisError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisServer:
    """A server's INFO. `saves` is its setting `save`, None where the user may not read settings; `may_run_scripts`
    says whether the user may."""

    address: str
    info: Mapping[str, Any]
    saves: str | None
    may_run_scripts: bool
    seconds: int
    microseconds: int

    @property
    def time_s(self) -> float:
        """Its clock."""
        return self.seconds + self.microseconds / 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class SentinelState:
    """What Sentinels say: by address the fault of those that have one, where the primary is, and what is wrong with
    the quorum."""

    sentinels: int
    faults: Mapping[str, str]
    primary: Address | None
    quorum_fault: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterState:
    """CLUSTER INFO, and by address the primaries with the number of their replicas; `failing` are other nodes that
    do not answer."""

    info: Mapping[str, str]
    primaries: Mapping[Address, int]
    failing: Sequence[str]


class RedisServers:
    """The servers behind LITEMAAS_REDIS_URL."""

    def __init__(self, url: str, *, tls: TlsFiles, timeout_s: float) -> None:
        parts = urlsplit(url)
        self.kind = parts.scheme.rpartition("+")[2] if "+" in parts.scheme else "single"
        self.is_tls = parts.scheme.startswith("rediss")
        default_port = SENTINEL_PORT if self.kind == "sentinel" else 6379
        self.addresses, login = read_netloc(parts.netloc, default_port=default_port)
        self._primary_name = parts.path.strip("/") or "mymaster"
        self._sentinel_options: dict[str, Any] = {
            "protocol": 2,
            "socket_timeout": timeout_s,
            "socket_connect_timeout": timeout_s,
            "retry": Retry(NoBackoff(), 0),
            "client_name": "litemaas-doctor",
            "decode_responses": True,
        }
        if self.is_tls:
            self._sentinel_options |= client_options(tls)
        self._options = self._sentinel_options | login

    async def read_server(self, address: Address) -> RedisServer:
        """Raises one of FAILED."""
        async with self._client(address) as client:
            info = await client.info()
            seconds, microseconds = await client.time()
            saves: str | None = None
            # Hosted servers allow it to nobody.
            with suppress(NoPermissionError, ResponseError):
                saves = (await client.config_get("save")).get("save", "")
            may_run_scripts = True
            try:
                await client.script_exists(NO_SCRIPT)
            except NoPermissionError:
                may_run_scripts = False
        return RedisServer(
            address=shown(address),
            info=info,
            saves=saves,
            may_run_scripts=may_run_scripts,
            seconds=seconds,
            microseconds=microseconds,
        )

    async def read_sentinels(self) -> SentinelState:
        """Asks each."""
        faults: dict[str, str] = {}
        primary: Address | None = None
        quorum_fault: str | None = None
        for address in self.addresses:
            try:
                async with Redis(host=address[0], port=address[1], **self._sentinel_options) as client:
                    found = await self._command(client, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._primary_name)
                    primary = primary or ((found[0], int(found[1])) if found else None)
                    try:
                        await self._command(client, "SENTINEL", "CKQUORUM", self._primary_name)
                    except ResponseError as exc:
                        quorum_fault = str(exc)
            except FAILED as exc:
                faults[shown(address)] = str(exc) or type(exc).__name__
        return SentinelState(sentinels=len(self.addresses), faults=faults, primary=primary, quorum_fault=quorum_fault)

    async def read_cluster(self) -> ClusterState:
        """As the first node that answers sees it. Raises one of FAILED."""
        last: BaseException = OSError("no address")
        for address in self.addresses:
            try:
                async with self._client(address) as client:
                    info = await self._command(client, "CLUSTER INFO")
                    nodes = await self._command(client, "CLUSTER NODES")
                return _read_cluster(info, nodes, address)
            except FAILED as exc:
                last = exc
        raise last

    async def _command(self, client: Redis, *words: str) -> Any:
        return await client.execute_command(*words)  # type: ignore[no-untyped-call]  # untyped there

    def _client(self, address: Address) -> Redis:
        return Redis(host=address[0], port=address[1], **self._options)


def shown(address: Address) -> str:
    """`host:port`."""
    return f"{address[0]}:{address[1]}"


def single_address(url: str) -> Address:
    """Of `redis://` and `rediss://`, without login."""
    parts = urlsplit(url)
    return unquote(parts.hostname or "localhost"), parts.port or 6379


def _read_cluster(info: Mapping[str, str], nodes: Mapping[str, Any], asked: Address) -> ClusterState:
    primaries: dict[str, tuple[Address, int]] = {}
    failing: list[str] = []
    for name, node in nodes.items():
        flags, host, port = node["flags"].split(","), *name.rpartition(":")[::2]
        # A node that does not know its own name leaves it out.
        address = (host or asked[0], int(port.partition("@")[0]))
        if "fail" in flags or "fail?" in flags:
            failing.append(shown(address))
        elif "master" in flags and node["slots"]:
            primaries[node["node_id"]] = (address, 0)
    for node in nodes.values():
        flags = node["flags"].split(",")
        if "slave" in flags and not {"fail", "fail?"} & set(flags) and node["master_id"] in primaries:
            address, replicas = primaries[node["master_id"]]
            primaries[node["master_id"]] = (address, replicas + 1)
    return ClusterState(info=info, primaries=dict(primaries.values()), failing=failing)
