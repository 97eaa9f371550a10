"""Whose a response is that is stored at the provider. The table response_owners is written with the batches of the
ledger; Redis knows the last hour, a worker the last thousands it met.

A row holds a hash of account and id: the table shows no id, and under another account the same id is not found.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Sequence, Set
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

import structlog

from gateway.domain.usage_rows import UsageRow
from gateway.storage.failures import POSTGRES_FAILED, cause_of
from gateway.storage.reads import read_again
from gateway.storage.redis.link import RedisUnavailable, ScriptFailed, Scripts

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

log = structlog.get_logger(__name__)

KEY: Final = "lmr1:%s"
REDIS_S: Final = 3600
# A call on another replica may have ended a moment ago.
AGAIN_S: Final = 0.25
MAX_KNOWN: Final = 20_000
SELECT_S: Final = 2.0
# Connections of the pool that look-ups may take at once: the ledger's writer shares it.
MAX_SELECTS: Final = 2
_RUNNING: Final = -1
_LEFT: Final = -2

SELECT_OWNERS: Final = """
SELECT id_hash, model_id, total_tokens FROM response_owners WHERE id_hash = ANY($1::uuid[]) AND account_id = $2
"""
ENSURE_DAYS: Final = "SELECT ensure_response_days($1)"
DROP_DAYS: Final = "SELECT drop_response_days($1)"
AHEAD: Final = 7

FoundIn = Literal["worker", "redis", "postgres", "nowhere", "failed"]


class OwnersUnavailable(Exception):
    """Postgres does not answer, and nobody else knows the response."""


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response of the account that asks. `tokens` are those of its turn, all that was before included; None: its call
    is still running, or was left before its end."""

    model_id: int
    tokens: int | None
    is_running: bool = False


def hash_of(account_id: int, response_id: str) -> UUID:
    """16 bytes, as Postgres stores them best."""
    data = response_id.encode(errors="surrogatepass")
    return UUID(bytes=blake2b(data, digest_size=16, key=account_id.to_bytes(8)).digest())


class ResponseOwners:
    """Of one worker. `start` runs a task of the app; `on_look_up(found_in, how_many)` counts."""

    def __init__(
        self,
        pool: "Pool",
        scripts: Scripts,
        start: Callable[[Coroutine[Any, Any, None], str], object],
        on_look_up: Callable[[FoundIn, int], None],
    ) -> None:
        self._pool = pool
        self._scripts = scripts
        self._start = start
        self._on_look_up = on_look_up
        # None: an item that is not the account's own, which nobody needs to ask for again.
        self._known: OrderedDict[UUID, StoredResponse | None] = OrderedDict()
        self._selects = asyncio.Semaphore(MAX_SELECTS)

    def begun(self, id_hash: UUID, model_id: int) -> None:
        """The caller is given the id; the call goes on. Returns at once."""
        self._start(self._write_redis(id_hash, model_id, _RUNNING), "response-owner")

    def ended(self, row: UsageRow) -> None:
        """Its row is in the journal, and in Postgres soon. Returns at once."""
        if row.stored_as is not None:
            self._know(row.stored_as, StoredResponse(row.model_id, row.stored_tokens))
            tokens = _LEFT if row.stored_tokens is None else row.stored_tokens
            self._start(self._write_redis(row.stored_as, row.model_id, tokens), "response-owner")
        if row.stored_tokens is not None:
            for item in row.stored_items or ():
                self._know(item, StoredResponse(row.model_id, row.completion_tokens))
                self._start(self._write_redis(item, row.model_id, row.completion_tokens), "response-owner")

    async def find(self, account_id: int, response_id: str) -> StoredResponse | None:
        """What the account may name; None: nothing of that id is its own. Raises OwnersUnavailable."""
        return (await self.find_all(account_id, (response_id,), {response_id})).get(response_id)

    async def find_all(
        self, account_id: int, stored_ids: Sequence[str], awaited: Set[str]
    ) -> dict[str, StoredResponse]:
        """Those of responses and items that are the account's own. What is `awaited` is looked up once more after a
        moment; what is not found of the others is not looked up again. Raises OwnersUnavailable."""
        hashes = {hash_of(account_id, stored_id): stored_id for stored_id in stored_ids}
        needed = {id_hash for id_hash, stored_id in hashes.items() if stored_id in awaited}
        try:
            found = await self._look_up(account_id, hashes, needed)
            unsettled = {h for h in needed if h not in found or found[h].is_running}
            if unsettled:
                await asyncio.sleep(AGAIN_S)
                found |= await self._look_up(account_id, unsettled, unsettled)
        except POSTGRES_FAILED as exc:
            self._on_look_up("failed", 1)
            log.warning("response_owner_not_read", cause=cause_of(exc))
            raise OwnersUnavailable from exc
        nowhere = [id_hash for id_hash in hashes if id_hash not in found]
        self._on_look_up("nowhere", len(nowhere))
        for id_hash in nowhere:
            if id_hash not in needed:
                self._know(id_hash, None)
        return {hashes[id_hash]: one for id_hash, one in found.items()}

    async def _look_up(self, account_id: int, hashes: Iterable[UUID], needed: Set[UUID]) -> dict[UUID, StoredResponse]:
        found: dict[UUID, StoredResponse] = {}
        left = []
        for id_hash in hashes:
            known = self._known.get(id_hash)
            if known is not None:
                found[id_hash] = known
            elif id_hash in needed or id_hash not in self._known:
                left.append(id_hash)
        self._on_look_up("worker", len(found))
        in_redis = await asyncio.gather(*map(self._read_redis, left))
        named = {id_hash: one for id_hash, one in zip(left, in_redis, strict=True) if one is not None}
        self._on_look_up("redis", len(named))
        in_postgres: dict[UUID, StoredResponse] = {}
        if unknown := [id_hash for id_hash in left if id_hash not in named]:
            async with asyncio.timeout(SELECT_S), self._selects:
                records = await read_again(lambda: self._pool.fetch(SELECT_OWNERS, unknown, account_id))
            in_postgres = {r["id_hash"]: StoredResponse(r["model_id"], r["total_tokens"]) for r in records}
            self._on_look_up("postgres", len(in_postgres))
        for id_hash, one in (named | in_postgres).items():
            if not one.is_running:
                self._know(id_hash, one)
        return found | named | in_postgres

    async def _read_redis(self, id_hash: UUID) -> StoredResponse | None:
        try:
            stored: bytes | None = await self._scripts.command("GET", KEY % id_hash.hex)
        except (RedisUnavailable, ScriptFailed):
            return None
        if stored is None:
            return None
        model_id, tokens = (int(part) for part in stored.split())
        return StoredResponse(model_id, tokens if tokens >= 0 else None, is_running=tokens == _RUNNING)

    async def _write_redis(self, id_hash: UUID, model_id: int, tokens: int) -> None:
        try:
            await self._scripts.command("SET", KEY % id_hash.hex, b"%d %d" % (model_id, tokens), "EX", REDIS_S)
        except (RedisUnavailable, ScriptFailed) as exc:
            # Until Postgres has it, only this worker knows.
            log.warning("response_owner_not_in_redis", cause=str(exc))

    def _know(self, id_hash: UUID, response: StoredResponse | None) -> None:
        self._known[id_hash] = response
        self._known.move_to_end(id_hash)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)


async def keep_response_days(pool: "Pool", kept: int) -> list[str]:
    """Makes the days ahead and drops those before the last `kept`; the names of what was dropped."""
    await pool.execute(ENSURE_DAYS, AHEAD)
    return [record[0] for record in await pool.fetch(DROP_DAYS, kept)]
