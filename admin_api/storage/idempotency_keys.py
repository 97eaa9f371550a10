"""Answers kept under the keys that callers gave their requests; encrypted, so that this module cannot read them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRequest:
    """A request that came with this key before. `status` None: still being handled, for `age_s` seconds."""

    request_hash: bytes
    status: int | None
    answer: bytes | None
    age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """An encrypted answer and the row it is in."""

    caller: str
    key: str
    status: int
    answer: bytes


INSERT: Final = """
INSERT INTO idempotency_keys (caller, key, request_hash) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING caller
"""


async def insert_key(executor: "Executor", *, caller: str, key: str, request_hash: bytes) -> bool:
    """False: this caller has used the key before."""
    return await executor.fetchval(INSERT, caller, key, request_hash) is not None


FIND: Final = """
SELECT request_hash, status, answer, extract(epoch FROM now() - created_at)::float8 AS age_s
FROM idempotency_keys WHERE caller = $1 AND key = $2
"""


async def find_key(executor: "Executor", *, caller: str, key: str) -> KeptRequest | None:
    """The earlier request with this key."""
    row = await executor.fetchrow(FIND, caller, key)
    return KeptRequest(**row) if row else None


UPDATE_ANSWER: Final = """
UPDATE idempotency_keys SET status = $3, answer = $4 WHERE caller = $1 AND key = $2
"""


async def update_answer(executor: "Executor", *, caller: str, key: str, status: int, answer: bytes) -> None:
    """Keeps the answer."""
    await executor.execute(UPDATE_ANSWER, caller, key, status, answer)


LOCK_ANSWERS: Final = """
SELECT caller, key, status, answer FROM idempotency_keys
WHERE (caller, key) > ($1, $2) AND answer IS NOT NULL ORDER BY caller, key LIMIT $3 FOR UPDATE SKIP LOCKED
"""


async def lock_answers(executor: "Executor", *, after: tuple[str, str], limit: int) -> list[KeptAnswer]:
    """By (caller, key), those after `after`, locked; without those that are just being made or deleted."""
    return [KeptAnswer(**row) for row in await executor.fetch(LOCK_ANSWERS, *after, limit)]


ERASE_ANSWER: Final = """
UPDATE idempotency_keys SET status = NULL, answer = NULL WHERE caller = $1 AND key = $2
"""


async def erase_answer(executor: "Executor", *, caller: str, key: str) -> None:
    """As if the outcome was never learned: the request, sent again, is refused."""
    await executor.execute(ERASE_ANSWER, caller, key)


DELETE: Final = """
DELETE FROM idempotency_keys WHERE caller = $1 AND key = $2
"""


async def delete_key(executor: "Executor", *, caller: str, key: str) -> None:
    """For a request that made nothing: it may come again."""
    await executor.execute(DELETE, caller, key)


DELETE_OLD: Final = """
DELETE FROM idempotency_keys WHERE created_at < now() - interval '24 hours'
"""


async def delete_old(executor: "Executor") -> None:
    """Those that are older than a day."""
    await executor.execute(DELETE_OLD)
