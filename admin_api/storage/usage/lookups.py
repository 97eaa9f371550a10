"""What an id belongs to: calls, refused calls and changes that carried it."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal
from uuid import UUID

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

MatchKind = Literal["call", "refusal", "change"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """`about` is the model that a call asked for, the error code of a refusal, or what a change did."""

    kind: MatchKind
    request_id: UUID
    at: datetime
    about: str


FIND_BY_REQUEST: Final = """
SELECT 'call' AS kind, request_id, started_at AS at, model_asked AS about FROM usage_logs WHERE request_id = $1
UNION ALL
SELECT 'refusal', request_id, at, code FROM refused_calls WHERE request_id = $1
UNION ALL
(SELECT 'change', request_id, at, action FROM audit_logs WHERE request_id = $1 ORDER BY id LIMIT 1)
"""


async def find_by_request(executor: "Executor", request_id: UUID) -> list[Match]:
    """By the id that the answer had; of several changes in one request the first."""
    return [Match(**row) for row in await executor.fetch(FIND_BY_REQUEST, request_id)]


FIND_BY_CLIENT_ID: Final = """
(SELECT 'call' AS kind, request_id, started_at AS at, model_asked AS about FROM usage_logs
 WHERE client_request_id = $1 ORDER BY request_id DESC LIMIT $2)
UNION ALL
(SELECT 'refusal', request_id, at, code FROM refused_calls WHERE client_request_id = $1 ORDER BY at DESC LIMIT $2)
ORDER BY at DESC LIMIT $2
"""


async def find_by_client_id(executor: "Executor", client_request_id: str, *, limit: int) -> list[Match]:
    """By an id of the caller's own, newest first."""
    return [Match(**row) for row in await executor.fetch(FIND_BY_CLIENT_ID, client_request_id, limit)]
