"""What a user may do in the whole deployment, and in a team."""

from typing import Final, Literal, get_args

Role = Literal["admin", "admin-readonly", "user"]
TeamRole = Literal["owner", "member"]
ROLES: Final = get_args(Role)
TEAM_ROLES: Final = get_args(TeamRole)
