"""`litemaas teams …`"""

from typing import Annotated, Final

import typer

from admin_api.cli.budgets import Budget, parse_budget
from admin_api.cli.cells import with_units
from admin_api.cli.columns import columns
from admin_api.cli.made_texts import made_lines
from admin_api.cli.options import words_option
from admin_api.cli.session import AsJSON, Cursor, PageSize, act, operator, show, show_details, show_page
from admin_api.operations.limits import team_uses
from admin_api.operations.people import invitations, join_requests, teams
from admin_api.operations.people.new_accounts import NewTeam, set_up_team
from admin_api.schemas.accounts import MemberView, TeamDetailView, TeamView
from admin_api.schemas.invitations import TeamInvitationView
from admin_api.schemas.new_accounts import MadeTeamView
from admin_api.schemas.requests import JoinRequestView
from admin_api.schemas.shapes import PageView
from admin_api.schemas.team_uses import TeamUseView
from admin_api.storage.accounts import ACCOUNT_STATUSES
from gateway.domain.roles import TEAM_ROLES

app = typer.Typer(no_args_is_help=True, help="Teams and their members.")
TEAMS: Final = columns("id", "name", "time_zone", "status", "archived_at")
MEMBERS: Final = columns("user_id", "email", "name", "role", "joined_at")
INVITATIONS: Final = columns("id", "email", "role", "invited_by", "expires_at")
JOIN_REQUESTS: Final = columns("id", "email", "name", "created_at", "reason")
USES: Final = columns("id", "name", "members", "kind", "window", "limit", "used", "remaining", "used_percent")
Team = Annotated[str, typer.Argument(help="Name or id of the team.")]
UserOption = Annotated[str, typer.Option("--user", help="E-mail address or id.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Name of the team.")],
    time_zone: Annotated[str, typer.Option("--time-zone", "--timezone", help="IANA time zone of its windows.")] = "UTC",
    owner: Annotated[list[str] | None, typer.Option(help="Address or id of an owner; may be repeated.")] = None,
    member: Annotated[list[str] | None, typer.Option(help="Address or id of a member; may be repeated.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Model to subscribe it to; may be repeated.")] = None,
    monthly_cost_usd: Budget = None,
    as_json: AsJSON = False,
) -> None:
    """Create a team, with people, models and a budget: all of it, or nothing."""
    new = NewTeam(
        name=name,
        time_zone=time_zone,
        owners=owner or (),
        members=member or (),
        models=model or (),
        monthly_cost_nano_usd=parse_budget(monthly_cost_usd),
    )
    made = act(lambda pool: set_up_team(pool, operator(), new))
    lines = [f"Team {made.team.id}: {made.team.name} ({made.team.time_zone})."]
    lines += [f"{one.email} is {one.role}." for one in made.members]
    lines += made_lines(made.subscriptions, made.limits)
    show(MadeTeamView.of(made), as_json=as_json, sentence="\n".join(lines))


@app.command("list")
def list_(
    archived: Annotated[bool, typer.Option("--archived", help="Include archived teams.")] = False,
    limit: PageSize = 100,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """List teams."""
    page = act(lambda pool: teams.list_teams(pool, operator(), archived=archived, limit=limit, cursor=cursor))
    show_page(PageView[TeamView].model_validate(page), what="teams", as_json=as_json, columns=TEAMS)


@app.command("show")
def show_(team: Team, as_json: AsJSON = False) -> None:
    """Show a team and its members."""
    row, members = act(lambda pool: teams.find_team(pool, operator(), team))
    show_details(TeamDetailView.of(row, members), as_json=as_json)


@app.command("members")
def list_members(team: Team, limit: PageSize = 100, cursor: Cursor = None, as_json: AsJSON = False) -> None:
    """List the members of a team."""
    page = act(lambda pool: teams.list_members(pool, operator(), team, limit=limit, cursor=cursor))
    view = PageView[MemberView].model_validate(page)
    show_page(view, what=f"members of {team}", as_json=as_json, columns=MEMBERS)


@app.command()
def add_member(
    team: Team,
    user: UserOption,
    role: Annotated[str, words_option(TEAM_ROLES)] = "member",
    as_json: AsJSON = False,
) -> None:
    """Add a user to a team."""
    member = act(lambda pool: teams.add_member(pool, operator(), team, user=user, role=role))
    show(MemberView.model_validate(member), as_json=as_json, sentence=f"{member.email} is {member.role} of {team}.")


@app.command()
def remove_member(team: Team, user: UserOption) -> None:
    """Remove a user from a team and revoke their keys in it."""
    revoked = act(lambda pool: teams.remove_member(pool, operator(), team, user=user))
    typer.echo(f"{user} is removed from {team}; {len(revoked)} keys revoked.")


@app.command()
def set_role(
    team: Team,
    user: UserOption,
    role: Annotated[str, words_option(TEAM_ROLES)],
    as_json: AsJSON = False,
) -> None:
    """Change the role of a member."""
    member = act(lambda pool: teams.update_member(pool, operator(), team, user=user, role=role))
    show(MemberView.model_validate(member), as_json=as_json, sentence=f"{member.email} is {member.role} of {team}.")


@app.command()
def invite(
    team: Team,
    user: UserOption,
    role: Annotated[str, words_option(TEAM_ROLES)] = "member",
    as_json: AsJSON = False,
) -> None:
    """Invite a user to a team: they become a member or owner when they accept, within a week."""
    made = act(lambda pool: invitations.invite(pool, operator(), team, user=user, role=role))
    sentence = f"Invitation {made.id}: {made.email} may become {made.role} of {made.team}."
    show(TeamInvitationView.model_validate(made), as_json=as_json, sentence=sentence)


@app.command("invitations")
def list_invitations(team: Team, limit: PageSize = 100, cursor: Cursor = None, as_json: AsJSON = False) -> None:
    """List the open invitations of a team."""
    page = act(lambda pool: invitations.list_invitations(pool, operator(), team, limit=limit, cursor=cursor))
    view = PageView[TeamInvitationView].model_validate(page)
    show_page(view, what=f"open invitations of {team}", as_json=as_json, columns=INVITATIONS)


@app.command()
def withdraw(
    team: Team, invitation: Annotated[int, typer.Argument(metavar="ID", help="Id of the invitation.")]
) -> None:
    """Withdraw an open invitation."""
    act(lambda pool: invitations.withdraw(pool, operator(), team, invitation))
    typer.echo(f"Invitation {invitation} is withdrawn.")


@app.command("join-requests")
def list_join_requests(team: Team, limit: PageSize = 100, cursor: Cursor = None, as_json: AsJSON = False) -> None:
    """List the open requests to join a team."""
    page = act(lambda pool: join_requests.list_requests(pool, operator(), team, limit=limit, cursor=cursor))
    view = PageView[JoinRequestView].model_validate(page)
    show_page(view, what=f"open requests to join {team}", as_json=as_json, columns=JOIN_REQUESTS)


JoinRequest = Annotated[int, typer.Argument(metavar="ID", help="Id of the request.")]
Answer = Annotated[str | None, typer.Option("--reason", help="The user reads it.")]


@app.command()
def accept(team: Team, request: JoinRequest, reason: Answer = None) -> None:
    """Accept a request to join a team."""
    done = act(lambda pool: join_requests.decide(pool, operator(), team, request, "accept", reason=reason))
    typer.echo(f"{done.email} is a member of {done.team}.")


@app.command()
def decline(team: Team, request: JoinRequest, reason: Answer = None) -> None:
    """Decline a request to join a team."""
    done = act(lambda pool: join_requests.decide(pool, operator(), team, request, "decline", reason=reason))
    typer.echo(f"{done.email} is not accepted to {done.team}.")


@app.command()
def tightest(limit: PageSize = 100, as_json: AsJSON = False) -> None:
    """List teams, those nearest to a limit first, by what the ledger says was used."""
    page = act(lambda pool: team_uses.list_team_uses(pool, operator(), limit=limit))
    view = PageView[TeamUseView](rows=[TeamUseView.of(use) for use in page.rows], next_cursor=None)
    show_page(view, what="teams", as_json=as_json, columns=USES, as_row=with_units)


@app.command()
def update(
    team: Team,
    name: Annotated[str | None, typer.Option(help="Its new name.")] = None,
    time_zone: Annotated[
        str | None, typer.Option("--time-zone", "--timezone", help="IANA time zone of its windows.")
    ] = None,
    status: Annotated[str | None, words_option(ACCOUNT_STATUSES)] = None,
    reason: Annotated[str | None, typer.Option(help="Of the status: callers with the team's keys read it.")] = None,
    as_json: AsJSON = False,
) -> None:
    """Change the name, time zone or status of a team."""
    change = teams.TeamChange(name=name, time_zone=time_zone, status=status, reason=reason)
    row, _ = act(lambda pool: teams.update_team(pool, operator(), team, change))
    sentence = f"Team {row.id}: {row.name} ({row.time_zone}), {row.status}."
    show(TeamView.model_validate(row), as_json=as_json, sentence=sentence)


@app.command()
def archive(team: Team, as_json: AsJSON = False) -> None:
    """Hide a team from the lists and refuse its keys, until it is unarchived."""
    row, _ = act(lambda pool: teams.archive_team(pool, operator(), team))
    show(TeamView.model_validate(row), as_json=as_json, sentence=f"Team {row.id}: {row.name} is archived.")


@app.command()
def unarchive(team: Team, as_json: AsJSON = False) -> None:
    """Take an archived team back into the lists; its keys work again."""
    row, _ = act(lambda pool: teams.archive_team(pool, operator(), team, archived=False))
    show(TeamView.model_validate(row), as_json=as_json, sentence=f"Team {row.id}: {row.name} is no longer archived.")
