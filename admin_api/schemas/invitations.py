"""JSON of invitations to teams."""

from datetime import datetime

from admin_api.schemas.shapes import View
from gateway.domain.roles import TeamRole


class TeamInvitationView(View):
    """An open invitation: the user becomes `role` of the team if they accept before `expires_at`. `invited_by` is an
    e-mail address; null: an admin who is no user."""

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
