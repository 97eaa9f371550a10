"""The person's own personal access tokens, with which their programs call the admin API."""

from admin_api.operations.people import personal_tokens
from admin_api.portal.flashes import Flash
from admin_api.portal.form_values import end_of_day
from admin_api.portal.forms import NONE, Refusal, refusal_of, typed
from admin_api.portal.rendering import Page, Redirect
from admin_api.portal.token_texts import FIELDS, role_choices, token_lines
from admin_api.portal.visits import Visit
from gateway.domain.errors import GatewayError

PATH = "/settings/tokens"
PAGE_ROWS = 50


async def show(visit: Visit, refused: Refusal = NONE) -> Page:
    """The tokens, revoked and expired ones too, and the form for another."""
    page = await personal_tokens.list_tokens(visit.pool, visit.actor, limit=PAGE_ROWS, cursor=visit.query("cursor"))
    context = {
        "tokens": token_lines(visit, page.rows),
        **visit.paging(page.next_cursor),
        "roles": role_choices(visit, visit.user.role),
        "sent": typed(visit, *FIELDS),
        "refused": refused,
        "may_change": visit.actor.role != "admin-readonly",
        "origin": visit.settings.own_origin,
        "days": personal_tokens.DEFAULT_DAYS,
        "most_days": personal_tokens.MAX_DAYS,
    }
    return Page("own_tokens.html", visit.messages.gettext("Personal access tokens"), context, refused.status)


async def create(visit: Visit) -> Page | Redirect:
    """A token whose secret is shown on the next page, once."""
    try:
        made = await personal_tokens.create_token(
            visit.pool,
            visit.actor,
            visit.settings.peppers,
            name=visit.field("name") or "",
            role=visit.field("role"),
            expires_at=end_of_day(visit, "expires_at"),
        )
    except GatewayError as error:
        return await show(visit, refusal_of(visit, error, *FIELDS))
    said = visit.messages.gettext("This is your new token. It is not shown again: copy it now.")
    return Redirect(PATH, Flash("success", said, made.secret))


async def revoke(visit: Visit) -> Redirect:
    """One of the person's own."""
    await personal_tokens.revoke_token(visit.pool, visit.actor, visit.request.path_params["id"])
    said = visit.messages.gettext("The token is revoked: it is refused from the next call on.")
    return Redirect(PATH, Flash("success", said))
