"""JSON of users, teams and their members."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Self

from pydantic import Field

from admin_api.schemas.shapes import View
from admin_api.storage.accounts import AccountStatus
from admin_api.storage.users import Locale, UserStatus
from gateway.domain.roles import Role, TeamRole

if TYPE_CHECKING:
    from admin_api.storage.accounts import Account, TeamMember


class UserView(View):
    """A user; `account_id` is the personal account. `role` is in force: the stronger of `assigned_role`, which an admin
    assigned, and `group_role`, which groups of the identity provider gave at the last login. `locale` null: the
    browser's."""

    id: int
    email: str
    name: str
    role: Role
    assigned_role: Role
    group_role: Role | None
    status: UserStatus
    status_reason: str | None = Field(description="Given by who deactivated them")
    locale: Locale | None
    time_zone: str
    account_id: int
    created_at: datetime
    updated_at: datetime
    anonymised_at: datetime | None
    last_login_at: datetime | None


class AnonymisedView(View):
    """An anonymised user, and how many rows of each kind were ended or changed."""

    user: UserView = Field(description="The user as they are now")
    audit_rows: int = Field(description="Audit rows from which names were taken")
    texts: int = Field(description="Other values in which a name was replaced")
    answers: int = Field(description="Answers deleted that were kept for repeated requests")
    sessions: int = Field(description="Sessions that ended")
    identities: int = Field(description="Identities at identity providers that were deleted")
    messages: int = Field(description="E-mails to them that were deleted, sent or not")
    refused_calls: int = Field(description="Kept refusals of their calls that were deleted")
    invitations: int = Field(description="Invitations to and by them that were deleted")
    join_requests: int = Field(description="Requests to join teams that were deleted")
    limit_requests: int = Field(description="Requests for more of a limit that lost their reasons")
    teams: int = Field(description="Teams that they left")
    tokens: int = Field(description="Personal access tokens that were revoked, or were before")
    keys: int = Field(description="Keys that were revoked, or were before")
    subscriptions: int = Field(description="Subscriptions that were cancelled")


class TeamView(View):
    """A team; `id` is the id of its account."""

    id: int
    name: str
    time_zone: str
    status: AccountStatus
    status_reason: str | None = Field(description="Given by who suspended it")
    archived_at: datetime | None
    created_at: datetime


class MemberView(View):
    """A member of a team."""

    user_id: int
    email: str
    name: str
    role: TeamRole
    joined_at: datetime


class TeamDetailView(TeamView):
    """A team and its members."""

    members: list[MemberView]

    @classmethod
    def of(cls, team: "Account", members: "Sequence[TeamMember]") -> Self:
        """The team with these members."""
        shown = [MemberView.model_validate(member) for member in members]
        return cls(**TeamView.model_validate(team).model_dump(), members=shown)
