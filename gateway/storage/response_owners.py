"""Whose a response is that is stored at the provider. The table response_owners is written with the batches of the
ledger; Redis knows the last hour, a worker the last thousands it met.

A row holds a hash of account and id: whoever reads the table learns no id, and under another account the same id is
not found.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

import structlog

from gateway.domain.usage_rows import UsageRow
from gateway.storage.failures import POSTGRES_FAILED
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

SELECT_OWNER: Final = """
SELECT model_id, total_tokens FROM response_owners WHERE id_hash = $1 AND account_id = $2 ORDER BY day DESC LIMIT 1
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
    """Of one worker. `start` runs a task of the app; `on_look_up(found_in)` counts."""

    def __init__(
        self,
        pool: "Pool",
        scripts: Scripts,
        start: Callable[[Coroutine[Any, Any, None], str], object],
        on_look_up: Callable[[FoundIn], None],
    ) -> None:
        self._pool = pool
        self._scripts = scripts
        self._start = start
        self._on_look_up = on_look_up
        self._known: OrderedDict[UUID, StoredResponse] = OrderedDict()
        self._selects = asyncio.Semaphore(MAX_SELECTS)

    def begun(self, id_hash: UUID, model_id: int) -> None:
        """The caller is given the id; the call goes on. Returns at once."""
        self._start(self._write_redis(id_hash, model_id, _RUNNING), "response-owner")

    def ended(self, row: UsageRow) -> None:
        """Its row is in the journal, and in Postgres soon. Returns at once."""
        if row.stored_as is None:
            return
        self._know(row.stored_as, StoredResponse(row.model_id, row.stored_tokens))
        tokens = _LEFT if row.stored_tokens is None else row.stored_tokens
        self._start(self._write_redis(row.stored_as, row.model_id, tokens), "response-owner")

    async def find(self, account_id: int, response_id: str) -> StoredResponse | None:
        """What the account may name; None: nothing of that id is its own. Raises OwnersUnavailable."""
        id_hash = hash_of(account_id, response_id)
        try:
            found, where = await self._find(account_id, id_hash)
            if found is None or found.is_running:
                await asyncio.sleep(AGAIN_S)
                found, where = await self._find(account_id, id_hash)
        except POSTGRES_FAILED as exc:
            self._on_look_up("failed")
            log.warning("response_owner_not_read", cause=str(exc) or type(exc).__name__)
            raise OwnersUnavailable from exc
        self._on_look_up(where)
        if found is not None and not found.is_running:
            self._know(id_hash, found)
        return found

    async def _find(self, account_id: int, id_hash: UUID) -> tuple[StoredResponse | None, FoundIn]:
        if (found := self._known.get(id_hash)) is not None:
            return found, "worker"
        if (found := await self._read_redis(id_hash)) is not None:
            return found, "redis"
        async with asyncio.timeout(SELECT_S), self._selects:
            record = await self._pool.fetchrow(SELECT_OWNER, id_hash, account_id)
        if record is None:
            return None, "nowhere"
        return StoredResponse(record["model_id"], record["total_tokens"]), "postgres"

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

    def _know(self, id_hash: UUID, response: StoredResponse) -> None:
        self._known[id_hash] = response
        self._known.move_to_end(id_hash)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)


async def keep_response_days(pool: "Pool", kept: int) -> list[str]:
    """Makes the days ahead and drops those before the last `kept`; the names of what was dropped."""
    await pool.execute(ENSURE_DAYS, AHEAD)
    return [record[0] for record in await pool.fetch(DROP_DAYS, kept)]
