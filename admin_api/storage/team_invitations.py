"""Invitations to teams that wait for an answer. Accepting, declining and withdrawing delete the row."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from gateway.domain.roles import TeamRole

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamInvitation:
    """A person who may become `role` of the team. `invited_by` is the address of who invited them; None: an admin who
    is no user."""

    id: int
    team_id: int
    team: str
    user_id: int
    email: str
    name: str
    role: TeamRole
    invited_by: str | None
    created_at: datetime
    expires_at: datetime


# Only while who invited may still do so: admins lose their role elsewhere, and users are deactivated.
_OPEN: Final = """
SELECT i.id, i.account_id AS team_id, a.name AS team, i.user_id, u.email, u.name, i.role, b.email AS invited_by,
       i.created_at, i.expires_at
FROM team_invitations i JOIN accounts a ON a.id = i.account_id JOIN users u ON u.id = i.user_id
LEFT JOIN users b ON b.id = i.invited_by
WHERE i.expires_at > now() AND (i.invited_by IS NULL OR (b.status = 'active' AND (b.role = 'admin' OR EXISTS (
    SELECT FROM team_members m WHERE m.account_id = i.account_id AND m.user_id = i.invited_by AND m.role = 'owner'))))
"""


INSERT: Final = """
INSERT INTO team_invitations (account_id, user_id, role, invited_by, expires_at)
VALUES ($1, $2, $3, $4, now() + $5 * interval '1 second') RETURNING id
"""


async def insert_invitation(
    executor: "Executor",
    *,
    team_id: int,
    user_id: int,
    role: TeamRole,
    invited_by: int | None,
    lifetime_s: float,
) -> int:
    """Its id. The person has no other invitation to the team, open or not."""
    invitation_id: int = await executor.fetchval(INSERT, team_id, user_id, role, invited_by, lifetime_s)
    return invitation_id


# Ordered by team or user first, so that they are read in the order of an index, which ends at a page.
LIST_OF_TEAM: Final = f"{_OPEN} AND i.account_id BETWEEN $1 AND $1 AND i.id > $2 ORDER BY i.account_id, i.id LIMIT $3"


async def list_of_team(executor: "Executor", team_id: int, *, after_id: int, limit: int) -> list[TeamInvitation]:
    """The open ones by id, those after `after_id`."""
    return [TeamInvitation(**row) for row in await executor.fetch(LIST_OF_TEAM, team_id, after_id, limit)]


LIST_OF_USER: Final = f"{_OPEN} AND i.user_id BETWEEN $1 AND $1 AND i.id > $2 ORDER BY i.user_id, i.id LIMIT $3"


async def list_of_user(executor: "Executor", user_id: int, *, after_id: int, limit: int) -> list[TeamInvitation]:
    """The open ones by id, those after `after_id`."""
    return [TeamInvitation(**row) for row in await executor.fetch(LIST_OF_USER, user_id, after_id, limit)]


FIND: Final = f"{_OPEN} AND i.id = $1"


async def find_invitation(executor: "Executor", invitation_id: int) -> TeamInvitation | None:
    """An open one."""
    row = await executor.fetchrow(FIND, invitation_id)
    return TeamInvitation(**row) if row else None


FIND_OF_USER: Final = f"{_OPEN} AND i.account_id = $1 AND i.user_id = $2"


async def find_of_user(executor: "Executor", *, team_id: int, user_id: int) -> TeamInvitation | None:
    """The open one of this person to this team."""
    row = await executor.fetchrow(FIND_OF_USER, team_id, user_id)
    return TeamInvitation(**row) if row else None


DELETE: Final = """
DELETE FROM team_invitations WHERE id = $1
"""


async def delete_invitation(executor: "Executor", invitation_id: int) -> None:
    """For one that was answered or withdrawn."""
    await executor.execute(DELETE, invitation_id)


DELETE_OF_USER: Final = """
DELETE FROM team_invitations WHERE account_id = $1 AND user_id = $2
"""


async def delete_of_user(executor: "Executor", *, team_id: int, user_id: int) -> None:
    """Of this person to this team, open or not."""
    await executor.execute(DELETE_OF_USER, team_id, user_id)


DELETE_MADE_BY: Final = """
DELETE FROM team_invitations WHERE account_id = $1 AND invited_by = $2
"""


async def delete_made_by(executor: "Executor", *, team_id: int, user_id: int) -> None:
    """For somebody who is no longer an owner of the team."""
    await executor.execute(DELETE_MADE_BY, team_id, user_id)


DELETE_OF_TEAM: Final = """
DELETE FROM team_invitations WHERE account_id = $1
"""


async def delete_of_team(executor: "Executor", team_id: int) -> None:
    """All to this team, open or not."""
    await executor.execute(DELETE_OF_TEAM, team_id)


DELETE_EXPIRED: Final = """
DELETE FROM team_invitations WHERE expires_at <= now()
"""


async def delete_expired(executor: "Executor") -> None:
    """Those that nobody answered in time."""
    await executor.execute(DELETE_EXPIRED)
