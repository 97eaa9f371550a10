"""The teams that a person is in, and for admins all teams, the tightest first."""

from dataclasses import dataclass
from typing import Any, Final

from admin_api.operations.actors import require_admin
from admin_api.operations.limits.team_uses import TeamUse, list_team_uses
from admin_api.operations.people import invitations, join_requests, memberships, teams
from admin_api.operations.people.new_accounts import NewTeam, set_up_team
from admin_api.operations.validation import invalid
from admin_api.portal.flashes import Flash
from admin_api.portal.form_values import nano_usd_of, needed
from admin_api.portal.forms import NONE, Refusal, refusal_of, typed
from admin_api.portal.limit_texts import amount_of, colour_of, name_of, share_of
from admin_api.portal.rendering import Page, Redirect
from admin_api.portal.visits import Visit
from gateway.domain.errors import GatewayError

PAGE_ROWS: Final = 50
JOIN: Final = ("team", "reason")
NEW: Final = ("name", "time_zone", "owner", "monthly_cost_usd")


@dataclass(frozen=True, slots=True)
class Line:
    """A team of the admins' list; without a limit the texts are empty."""

    use: TeamUse
    limit: str
    used: str
    left: str
    share: str
    colour: str | None


async def show_list(visit: Visit, refused: Refusal = NONE) -> Page:
    """The person's own, invitations to others, and requests to join some."""
    mine = await memberships.list_memberships(visit.pool, visit.actor, limit=PAGE_ROWS, cursor=visit.query("cursor"))
    invited = await invitations.list_own(visit.pool, visit.actor)
    asked = await join_requests.list_own(visit.pool, visit.actor)
    context = {
        "rows": mine.rows,
        **visit.paging(mine.next_cursor),
        "invitations": invited.rows,
        "join_requests": asked.rows,
        "sent": typed(visit, *JOIN),
        "refused": refused,
    }
    return Page("teams.html", visit.messages.gettext("Teams"), context, refused.status)


async def join(visit: Visit) -> Page | Redirect:
    """Asks to join a team, by its name."""
    try:
        made = await join_requests.ask_to_join(
            visit.pool, visit.actor, team=needed(visit, "team"), reason=visit.field("reason") or ""
        )
    except GatewayError as error:
        return await show_list(visit, refusal_of(visit, _shown_beside_field(error), *JOIN))
    said = visit.messages.gettext("You have asked to join %(team)s. An owner of the team decides.")
    return Redirect("/teams", Flash("success", said % {"team": made.team}))


async def withdraw_join(visit: Visit) -> Redirect:
    """Takes a request to join back."""
    await join_requests.withdraw(visit.pool, visit.actor, visit.request.path_params["id"])
    return Redirect("/teams", Flash("success", visit.messages.gettext("You have withdrawn the request.")))


async def answer_invitation(visit: Visit) -> Redirect:
    """Accepts or declines."""
    _ = visit.messages.gettext
    invitation_id: int = visit.request.path_params["id"]
    if visit.request.path_params["action"] == "accept":
        member = await invitations.accept(visit.pool, visit.actor, invitation_id)
        return Redirect(f"/teams/{member.account_id}", Flash("success", _("You are in this team now.")))
    await invitations.decline(visit.pool, visit.actor, invitation_id)
    return Redirect("/teams", Flash("success", _("You have declined the invitation.")))


async def show_all(visit: Visit) -> Page:
    """All teams, for admins; archived ones by the address."""
    if visit.query("archived"):
        page = await teams.list_teams(visit.pool, visit.actor, archived=True, limit=1000, cursor=visit.query("cursor"))
        gone: dict[str, Any] = {
            "archived": [team for team in page.rows if team.archived_at],
            **visit.paging(page.next_cursor),
        }
        return Page("admin_teams_archived.html", visit.messages.gettext("Archived teams"), gone)
    found = await list_team_uses(visit.pool, visit.actor, limit=PAGE_ROWS, cursor=visit.query("cursor"))
    context = {"rows": [_line(visit, use) for use in found.rows], **visit.paging(found.next_cursor)}
    return Page("admin_teams.html", visit.messages.gettext("All teams"), context)


async def show_new(visit: Visit, refused: Refusal = NONE) -> Page:
    """The form for a new team."""
    require_admin(visit.actor)
    sent = typed(visit, *NEW)
    sent["time_zone"] = sent["time_zone"] or visit.formats.zone
    context = {"sent": sent, "refused": refused}
    return Page("admin_team_new.html", visit.messages.gettext("Create a team"), context, refused.status)


async def create(visit: Visit) -> Page | Redirect:
    """A team with an owner and a budget of a month, if they are given."""
    owner = visit.field("owner")
    try:
        new = NewTeam(
            name=visit.field("name") or "",
            time_zone=visit.field("time_zone") or "UTC",
            owners=[owner] if owner else (),
            monthly_cost_nano_usd=nano_usd_of(visit, "monthly_cost_usd"),
        )
        made = await set_up_team(visit.pool, visit.actor, new)
    except GatewayError as error:
        return await show_new(visit, refusal_of(visit, error, *NEW))
    said = visit.messages.gettext("Team %(name)s has been created.") % {"name": made.team.name}
    return Redirect(f"/admin/teams/{made.team.id}", Flash("success", said))


def _shown_beside_field(error: GatewayError) -> GatewayError:
    """A team that is not there is a message beside its name, not a page of its own."""
    return invalid("team", error.message) if error.code == "not_found" else error


def _line(visit: Visit, use: TeamUse) -> Line:
    tight = use.tightest
    if tight is None:
        return Line(use, visit.messages.gettext("unlimited"), "", "", "", None)
    kind = tight.limit.kind
    amount = amount_of(visit, kind, tight.limit.amount)
    return Line(
        use,
        f"{name_of(visit, kind, tight.limit.window)}: {amount}",
        amount_of(visit, kind, tight.used),
        amount_of(visit, kind, tight.left),
        share_of(visit, tight.share),
        colour_of(tight.share),
    )
