"""Requests to join teams, which wait for an answer. Every answer deletes the row."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinRequest:
    """A person who asks to become a member of a team."""

    id: int
    team_id: int
    team: str
    user_id: int
    email: str
    name: str
    reason: str
    created_at: datetime


INSERT: Final = """
INSERT INTO team_join_requests (account_id, user_id, reason) VALUES ($1, $2, $3)
ON CONFLICT (account_id, user_id) DO NOTHING RETURNING id
"""


async def insert_request(executor: "Executor", *, team_id: int, user_id: int, reason: str) -> int | None:
    """Its id; None if one of the person waits already."""
    request_id: int | None = await executor.fetchval(INSERT, team_id, user_id, reason)
    return request_id


# Of people who are active and have not become members in another way: looked up for each request, which OFFSET has
# Postgres 15 do, too. It would read all members of the team.
_OPEN: Final = """
SELECT r.id, r.account_id AS team_id, a.name AS team, r.user_id, u.email, u.name, r.reason, r.created_at
FROM team_join_requests r JOIN accounts a ON a.id = r.account_id JOIN users u ON u.id = r.user_id
WHERE a.archived_at IS NULL AND u.status = 'active'
  AND NOT EXISTS (SELECT FROM team_members m WHERE m.account_id = r.account_id AND m.user_id = r.user_id OFFSET 0)
"""

FIND: Final = f"""
{_OPEN} AND r.id = $1
"""


async def find_request(executor: "Executor", request_id: int) -> JoinRequest | None:
    """One that is open."""
    row = await executor.fetchrow(FIND, request_id)
    return JoinRequest(**row) if row else None


LIST: Final = f"""
{_OPEN} AND r.id > $1 AND ($2::bigint IS NULL OR r.account_id = $2) AND ($3::bigint IS NULL OR r.user_id = $3)
ORDER BY r.id LIMIT $4
"""


async def list_requests(
    executor: "Executor", *, after_id: int, limit: int, team_id: int | None = None, user_id: int | None = None
) -> list[JoinRequest]:
    """Open ones by id, those after `after_id`: to a team, or of a person."""
    return [JoinRequest(**row) for row in await executor.fetch(LIST, after_id, team_id, user_id, limit)]


DELETE: Final = """
DELETE FROM team_join_requests WHERE account_id = $1 AND user_id = $2
"""


async def delete_request(executor: "Executor", *, team_id: int, user_id: int) -> None:
    """Nothing if there is none."""
    await executor.execute(DELETE, team_id, user_id)
