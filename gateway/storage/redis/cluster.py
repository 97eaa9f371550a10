"""Redis Cluster, with the interface of a single server."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import structlog
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, RedisError

from gateway.cancellation import end_tasks
from gateway.storage.redis.link import Address, Argument, NotRun, RedisLink, RedisUnavailable, Script

log = structlog.get_logger(__name__)

# The map of slots is read again after this, and when a node redirects us or is away.
LEARN_S: Final = 10.0
LEARN_PAUSE_S: Final = 1.0
MAX_REDIRECTS: Final = 5
# For a key at each primary: a hundred of them take some five hundred.
MAX_KEYS_TRIED: Final = 2_000
# To a primary, with the keys that it serves; to a node that is only asked for the map: None.
NewLink = Callable[[Address, Callable[[str], bool] | None], RedisLink]


class ClusterScripts:
    """Redis Cluster: a link to each primary. A call for a key that is elsewhere has not run, and is sent there; no
    other is sent twice."""

    def __init__(self, addresses: Sequence[Address], new_link: NewLink) -> None:
        self._addresses = addresses
        self._new_link = new_link
        self._links: dict[Address, RedisLink] = {}
        self._owners: dict[int, Address] = {}
        self._task: asyncio.Task[None] | None = None
        self._is_outdated = asyncio.Event()

    @property
    def is_connected(self) -> bool:
        # While one primary is away, the accounts of the others are served.
        return any(link.is_connected for link in self._links.values())

    async def open(self) -> None:
        await self._learn()
        self._task = asyncio.get_running_loop().create_task(self._keep_learning(), name="redis-cluster")

    async def close(self) -> None:
        if self._task is not None:
            await end_tasks([self._task])
        await asyncio.gather(*(link.close() for link in self._links.values()))

    def keys_of_primaries(self, prefix: str) -> list[str]:
        """But for primaries with hardly any slots, as when these begin or end to be moved."""
        primaries, found = len(set(self._owners.values())), dict[Address, str]()
        for n in range(MAX_KEYS_TRIED):
            if len(found) == primaries:
                break
            key = f"{prefix}{n}"
            if (owner := self._owners.get(key_slot(key.encode()))) is not None:
                found.setdefault(owner, key)
        return list(found.values())

    async def run(self, script: Script, key: str, *args: Argument) -> Any:
        return await self._at_owner(key, lambda link, asking: link.run(script, key, *args, asking=asking))

    async def command(self, *args: Argument) -> Any:
        """Its key, if it has one, comes first."""
        key = args[1] if len(args) > 1 else ""
        return await self._at_owner(str(key), lambda link, asking: link.command(*args, asking=asking))

    async def _at_owner(self, key: str, call: Callable[[RedisLink, bool], Awaitable[Any]]) -> Any:
        slot, asking = key_slot(key.encode()), False
        address = self._owners.get(slot)
        for _ in range(MAX_REDIRECTS):
            if address is None:
                break
            try:
                return await call(await self._link_to(address), asking)
            except AskError as elsewhere:
                address, asking = (elsewhere.host or address[0], int(elsewhere.port)), True
                if isinstance(elsewhere, MovedError):
                    self._owners[slot], asking = address, False
                    self._is_outdated.set()
            except RedisUnavailable:
                # A replica may take this primary's place.
                self._is_outdated.set()
                raise
        self._is_outdated.set()
        raise NotRun("no node of the cluster answers for this key")

    def _is_at(self, address: Address, key: str) -> bool:
        return self._owners.get(key_slot(key.encode())) == address

    async def _link_to(self, address: Address) -> RedisLink:
        link = self._links.get(address)
        if link is None:
            link = self._links[address] = self._new_link(address, partial(self._is_at, address))
        if not link.is_connected:
            await link.open()
        return link

    async def _keep_learning(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LEARN_S):
                    await self._is_outdated.wait()
            self._is_outdated.clear()
            await self._learn()
            await asyncio.sleep(LEARN_PAUSE_S)

    async def _learn(self) -> None:
        for address in [*self._links, *self._addresses]:
            known = self._links.get(address)
            link = known or self._new_link(address, None)
            try:
                await link.open()
                ranges = await link.command("CLUSTER", "SLOTS")
            except (RedisUnavailable, RedisError) as exc:
                log.warning("redis_cluster_node_away", address=f"{address[0]}:{address[1]}", cause=str(exc))
                continue
            finally:
                if known is None:
                    await link.close()
            owners = {}
            for first, last, primary, *_ in ranges:
                # A node that does not know its own name leaves it out.
                owner = (primary[0].decode() if primary[0] else address[0], int(primary[1]))
                owners.update(dict.fromkeys(range(first, last + 1), owner))
            if owners:
                await self._use(owners)
                return

    async def _use(self, owners: dict[int, Address]) -> None:
        self._owners = owners
        primaries = set(owners.values())
        gone = [self._links.pop(address) for address in set(self._links) - primaries]
        await asyncio.gather(*(link.close() for link in gone), *map(self._link_to, primaries))
