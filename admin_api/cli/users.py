"""`litemaas users …`"""

from typing import Annotated, Final, cast

import typer

from admin_api import settings as environment
from admin_api.cli.budgets import Budget, parse_budget
from admin_api.cli.columns import columns
from admin_api.cli.made_texts import made_lines
from admin_api.cli.options import words_option
from admin_api.cli.session import (
    AsJSON,
    Cursor,
    PageSize,
    act,
    operator,
    parse_age,
    show,
    show_details,
    show_page,
    show_rows,
)
from admin_api.operations.notifications import email_choices
from admin_api.operations.notifications.email_choices import EMAILS
from admin_api.operations.people import identities, invitations, sessions, users
from admin_api.operations.people.anonymise import anonymise_user
from admin_api.operations.people.new_accounts import NewUser, set_up_user
from admin_api.schemas.accounts import AnonymisedView, UserView
from admin_api.schemas.email_choices import EmailChoicesView, EmailChoiceView
from admin_api.schemas.identities import IdentityView
from admin_api.schemas.invitations import TeamInvitationView
from admin_api.schemas.new_accounts import MadeUserView
from admin_api.schemas.sessions import EndedView, SessionsView, SessionView
from admin_api.schemas.shapes import PageView
from admin_api.storage.users import LOCALES, USER_SORTS, USER_STATUSES, UserSort, UserStatus
from gateway.domain.roles import ROLES, Role

app = typer.Typer(no_args_is_help=True, help="Users and their roles.")
USERS: Final = columns("id", "email", "name", "role", "status", "last_login_at")
IDENTITIES: Final = columns("id", "issuer", "subject", "created_at", "groups_told_at")
INVITATIONS: Final = columns("id", "team", "role", "invited_by", "created_at", "expires_at")
EMAIL_CHOICES: Final = columns("event", "email")
SESSIONS: Final = columns("id", "provider", "ip", "created_at", "last_seen_at", "expires_at")
Email = Annotated[str, typer.Argument(help="E-mail address or id.")]


@app.command()
def create(
    email: Annotated[str, typer.Option(help="E-mail address.")],
    name: Annotated[str, typer.Option(help="Display name.")] = "",
    role: Annotated[str, words_option(ROLES)] = "user",
    time_zone: Annotated[
        str, typer.Option("--time-zone", "--timezone", help="IANA time zone of the personal account's windows.")
    ] = "UTC",
    locale: Annotated[str | None, words_option(LOCALES, help="Language of e-mails and pages:")] = None,
    team: Annotated[list[str] | None, typer.Option(help="Team that they join as member; may be repeated.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Model to subscribe them to; may be repeated.")] = None,
    monthly_cost_usd: Budget = None,
    as_json: AsJSON = False,
) -> None:
    """Create a user with their personal account, teams, models and budget: all of it, or nothing."""
    new = NewUser(
        email=email,
        name=name,
        role=role,
        time_zone=time_zone,
        locale=locale,
        teams=team or (),
        models=model or (),
        monthly_cost_nano_usd=parse_budget(monthly_cost_usd),
    )
    made = act(lambda pool: set_up_user(pool, operator(), new))
    lines = [f"User {made.user.id}: {made.user.email} ({made.user.role})."]
    lines += [f"They are {member.role} of team {name}." for name, member in made.memberships.items()]
    lines += made_lines(made.subscriptions, made.limits)
    show(MadeUserView.of(made), as_json=as_json, sentence="\n".join(lines))


@app.command("list")
def list_(
    search: Annotated[str | None, typer.Option(help="Part of the address or name.")] = None,
    role: Annotated[str | None, words_option(ROLES)] = None,
    status: Annotated[str | None, words_option(USER_STATUSES)] = None,
    no_login_for: Annotated[
        str | None, typer.Option(help="Only those who did not log in for so long, e.g. 90d; longest first.")
    ] = None,
    sort: Annotated[str, words_option(USER_SORTS)] = "created",
    limit: PageSize = 100,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """List users."""
    before = parse_age("no_login_for", no_login_for)
    page = act(
        lambda pool: users.list_users(
            pool,
            operator(),
            search=search,
            role=cast("Role | None", role),
            status=cast("UserStatus | None", status),
            last_login_before=before,
            sort=cast("UserSort", sort),
            limit=limit,
            cursor=cursor,
        )
    )
    view = PageView[UserView].model_validate(page)
    show_page(view, what="users", as_json=as_json, columns=USERS)


@app.command("show")
def show_(user: Email, as_json: AsJSON = False) -> None:
    """Show a user."""
    found = act(lambda pool: users.find_user(pool, operator(), user))
    show_details(UserView.model_validate(found), as_json=as_json)


@app.command()
def promote(
    user: Email,
    role: Annotated[str, words_option(ROLES)] = "admin",
    as_json: AsJSON = False,
) -> None:
    """Change a user's role."""
    changed = act(lambda pool: users.update_user(pool, operator(), user, role=role))
    show(UserView.model_validate(changed), as_json=as_json, sentence=f"{changed.email} is now {changed.role}.")


@app.command()
def update(
    user: Email,
    email: Annotated[str | None, typer.Option(help="New e-mail address.")] = None,
    name: Annotated[str | None, typer.Option(help="New display name.")] = None,
    as_json: AsJSON = False,
) -> None:
    """Correct a user's address or name."""
    changed = act(lambda pool: users.update_user(pool, operator(), user, email=email, name=name))
    sentence = f"User {changed.id} is {changed.email} ({changed.name or 'no name'})."
    show(UserView.model_validate(changed), as_json=as_json, sentence=sentence)


@app.command()
def deactivate(
    user: Email,
    reason: Annotated[str | None, typer.Option(help="Callers with the user's keys read it.")] = None,
    as_json: AsJSON = False,
) -> None:
    """Deactivate a user and all their keys."""
    changed = act(lambda pool: users.update_user(pool, operator(), user, status="deactivated", reason=reason))
    show(UserView.model_validate(changed), as_json=as_json, sentence=f"{changed.email} is deactivated.")


@app.command()
def activate(user: Email, as_json: AsJSON = False) -> None:
    """Activate a deactivated user again."""
    changed = act(lambda pool: users.update_user(pool, operator(), user, status="active"))
    show(UserView.model_validate(changed), as_json=as_json, sentence=f"{changed.email} is active.")


@app.command("identities")
def list_identities(user: Email, limit: PageSize = 100, cursor: Cursor = None, as_json: AsJSON = False) -> None:
    """List a user's identities at identity providers."""
    page = act(lambda pool: identities.list_identities(pool, operator(), user, limit=limit, cursor=cursor))
    view = PageView[IdentityView].model_validate(page)
    show_page(view, what=f"identities of {user}", as_json=as_json, columns=IDENTITIES)


@app.command()
def unlink(
    user: Email,
    identity: Annotated[int, typer.Argument(metavar="ID", help="Id of the identity.")],
    as_json: AsJSON = False,
) -> None:
    """Remove a user's identity. The next login at the provider with the user's verified e-mail address is linked."""
    gone = act(lambda pool: identities.unlink_identity(pool, operator(), user, identity))
    sentence = f"{user} is no longer {gone.subject} at {gone.issuer}; the next login with their address will be linked."
    show(IdentityView.model_validate(gone), as_json=as_json, sentence=sentence)


@app.command("sessions")
def list_sessions(user: Email, as_json: AsJSON = False) -> None:
    """List a user's open sessions in browsers."""
    settings = environment.UserSettings.from_env()
    idle_s = settings.session_idle_s
    found = act(lambda pool: sessions.list_sessions_of(pool, operator(), user, idle_s=idle_s), settings)
    view = SessionsView(rows=[SessionView.of(row, None) for row in found.rows])
    if as_json:
        typer.echo(view.model_dump_json())
    else:
        show_rows(view.model_dump(mode="json")["rows"], SESSIONS, what=f"open sessions of {user}")


@app.command()
def end_sessions(
    user: Email,
    session: Annotated[int | None, typer.Option(min=1, help="Id of one session; all of them if left out.")] = None,
    as_json: AsJSON = False,
) -> None:
    """End a user's sessions in browsers, at once and everywhere. They may log in again."""
    ended = act(lambda pool: sessions.end_sessions_of(pool, operator(), user, session_id=session))
    show(EndedView(ended=ended), as_json=as_json, sentence=f"{ended} sessions of {user} ended.")


@app.command("emails")
def list_emails(user: Email, as_json: AsJSON = False) -> None:
    """List the events, and whether a user gets e-mails about them."""
    _show_emails(act(lambda pool: email_choices.list_choices(pool, operator(), user=user)), user, as_json=as_json)


@app.command()
def choose_emails(
    user: Email,
    want: Annotated[list[str] | None, words_option(EMAILS, help="Event to get e-mails about:")] = None,
    mute: Annotated[list[str] | None, words_option(EMAILS, help="Event to get no e-mails about:")] = None,
    as_json: AsJSON = False,
) -> None:
    """Choose which e-mails a user gets; both options may be repeated."""
    emails = dict.fromkeys(want or (), True) | dict.fromkeys(mute or (), False)
    rows = act(lambda pool: email_choices.update_choices(pool, operator(), emails, user=user))
    _show_emails(rows, user, as_json=as_json)


def _show_emails(rows: list[email_choices.EmailChoice], user: str, *, as_json: bool) -> None:
    view = EmailChoicesView(rows=[EmailChoiceView.model_validate(row) for row in rows])
    if as_json:
        typer.echo(view.model_dump_json())
    else:
        show_rows(view.model_dump(mode="json")["rows"], EMAIL_CHOICES, what=f"events for {user}")


@app.command("invitations")
def list_invitations(user: Email, limit: PageSize = 100, cursor: Cursor = None, as_json: AsJSON = False) -> None:
    """List a user's open invitations to teams."""
    page = act(lambda pool: invitations.list_of_user(pool, operator(), user, limit=limit, cursor=cursor))
    view = PageView[TeamInvitationView].model_validate(page)
    show_page(view, what=f"open invitations of {user}", as_json=as_json, columns=INVITATIONS)


@app.command()
def anonymise(
    user: Email,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: it cannot be undone.")] = False,
    as_json: AsJSON = False,
) -> None:
    """Replace a user's names and addresses everywhere, for good, and revoke all they have."""
    settings = environment.SecretSettings.from_env()
    if not yes:
        typer.confirm(f"Anonymise {user}? It cannot be undone.", abort=True)
    done = act(lambda pool: anonymise_user(pool, operator(), settings.encryption_keys, user), settings)
    sentence = (
        f"User {done.user.id} is {done.user.email} now: {done.audit_rows} audit rows and {done.texts} texts rewritten, "
        f"{done.keys} keys, {done.tokens} tokens and {done.sessions} sessions ended, {done.teams} teams left."
    )
    show(AnonymisedView.model_validate(done), as_json=as_json, sentence=sentence)
