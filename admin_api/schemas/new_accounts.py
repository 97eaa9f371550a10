"""JSON of new users and teams, with what was made with them in one act."""

from typing import TYPE_CHECKING, Self

from pydantic import Field

from admin_api.schemas.accounts import MemberView, TeamView, UserView
from admin_api.schemas.limits import LimitView
from admin_api.schemas.shapes import View
from admin_api.schemas.subscriptions import SubscriptionView
from gateway.domain.roles import TeamRole

if TYPE_CHECKING:
    from admin_api.operations.people.new_accounts import MadeTeam, MadeUser


class MadeTeamView(TeamView):
    """A new team, its members, subscriptions, which may be pending, and limits."""

    members: list[MemberView]
    subscriptions: list[SubscriptionView]
    limits: list[LimitView]

    @classmethod
    def of(cls, made: "MadeTeam") -> Self:
        """All of it."""
        return cls(
            **TeamView.model_validate(made.team).model_dump(),
            members=[MemberView.model_validate(member) for member in made.members],
            subscriptions=[SubscriptionView.model_validate(row) for row in made.subscriptions],
            limits=[LimitView.of(row) for row in made.limits],
        )


class MembershipView(View):
    """A team that a user is in."""

    id: int
    name: str
    role: TeamRole


class MadeUserView(UserView):
    """A new user, their teams, subscriptions, which may be pending, and limits."""

    teams: list[MembershipView]
    subscriptions: list[SubscriptionView]
    limits: list[LimitView] = Field(description="Of their personal account, also by default")

    @classmethod
    def of(cls, made: "MadeUser") -> Self:
        """All of it."""
        return cls(
            **UserView.model_validate(made.user).model_dump(),
            teams=[
                MembershipView(id=member.account_id, name=name, role=member.role)
                for name, member in made.memberships.items()
            ],
            subscriptions=[SubscriptionView.model_validate(row) for row in made.subscriptions],
            limits=[LimitView.of(row) for row in made.limits],
        )
