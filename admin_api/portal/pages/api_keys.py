"""The person's API keys: of their own account and of their teams."""

from collections.abc import Awaitable, Callable, Mapping
from textwrap import shorten
from typing import Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from admin_api.operations import subscriptions
from admin_api.operations.keys import changes, keys
from admin_api.operations.people.memberships import find_account_of, find_team_access
from admin_api.operations.playground.key_trials import KeyTrial, try_key
from admin_api.operations.preconditions import version_of
from admin_api.portal.flashes import Flash
from admin_api.portal.form_values import count_of, end_of_day, nano_usd_of
from admin_api.portal.forms import NONE, Refusal, refusal_of, typed
from admin_api.portal.key_lines import uses_of
from admin_api.portal.key_texts import state_of
from admin_api.portal.rendering import Page, Redirect
from admin_api.portal.texts import marked
from admin_api.portal.visits import Visit
from admin_api.web.addresses import address_of
from gateway.domain.errors import GatewayError

FIELDS: Final = (
    "name", "models", "expires_at", "allowed_ips", "rpm", "tpm", "concurrency", "monthly_cost_usd", "team", "is_service"
)  # fmt: skip
PAGE_ROWS: Final = 100
EDITED: Final = ("name", "models", "expires_at", "allowed_ips")
# How long an earlier secret may go on working, in seconds.
GRACES: Final[Mapping[int, str]] = {
    0: marked("not at all"),
    3600: marked("an hour"),
    86400: marked("a day"),
    604800: marked("a week"),
}
# Why a test call was not made: the page that shows the new secret comes again.
TRY_LATER: Final = ("conflict", "upstream_unavailable", "upstream_timeout", "upstream_error")
# Of a model's answer to a test call.
MAX_SHOWN: Final = 200


async def show_list(visit: Visit) -> Page:
    """Keys that still work and those that have ended, without archived ones; of a team, all that the person may see."""
    team = visit.query("team")
    user = None if team else str(visit.user.id)
    page = await keys.list_keys(
        visit.pool, visit.actor, team=team, user=user, limit=PAGE_ROWS, cursor=visit.query("cursor")
    )
    uses = await uses_of(visit, page.rows)
    new_path = f"/api-keys/new?{urlencode({'team': team})}" if team else "/api-keys/new"
    rows = [(key, *state_of(visit, key), uses[key.id]) for key in page.rows]
    context = {"rows": rows, **visit.paging(page.next_cursor), "team": team, "new_path": new_path}
    return Page("api_keys.html", visit.messages.gettext("API keys"), context)


async def show_new(visit: Visit, refused: Refusal = NONE) -> Page:
    """The form for a new key: of the person's own account, or in a team of theirs."""
    team = visit.field("team") if visit.form is not None else visit.query("team")
    access = await find_team_access(visit.pool, visit.actor, team) if team else None
    models = await _callable_models(visit, team)
    sent = typed(visit, *FIELDS) | {"team": team or ""}
    chosen = visit.fields("models") if visit.form is not None else models
    context = {
        "models": [(model, model) for model in models],
        "chosen": chosen,
        "sent": sent,
        "refused": refused,
        "access": access,
    }
    return Page("api_key_new.html", visit.messages.gettext("Create an API key"), context, refused.status)


async def create(visit: Visit) -> Page | Redirect:
    """A key whose secret is shown on the next page, once."""
    _ = visit.messages.gettext
    try:
        made = await keys.create_key(visit.pool, visit.actor, visit.settings.peppers, _input(visit))
    except GatewayError as error:
        return await show_new(visit, refusal_of(visit, error, *FIELDS))
    said = _("This is your new key. It is not shown again: copy it now.")
    return Redirect(f"/api-keys/{made.row.id}", Flash("success", said, made.secret))


async def show_one(visit: Visit, refused: Refusal = NONE) -> Page:
    """One key, its use and limits, and what can be done with it."""
    key = await keys.find_key(visit.pool, visit.actor, visit.request.path_params["id"])
    use = (await uses_of(visit, [key]))[key.id]
    text, colour = state_of(visit, key)
    title = key.name or visit.messages.gettext("Key …%(last_four)s") % {"last_four": key.last_four}
    context = {
        "key": key,
        "status_text": text,
        "status_colour": colour,
        "refused": refused,
        "use": use,
        "versions": {line.row.id: version_of(line.row) for line in use.limits or ()},
        "graces": [(seconds, visit.messages.gettext(name)) for seconds, name in GRACES.items()],
    }
    return Page("api_key.html", title, context, refused.status)


async def show_edit(visit: Visit, refused: Refusal = NONE) -> Page:
    """The form that changes a key."""
    key = await keys.find_key(visit.pool, visit.actor, visit.request.path_params["id"])
    account = await find_account_of(visit.pool, visit.actor, key)
    models = await _callable_models(visit, str(account.id) if account.kind == "team" else None)
    expires = key.expires_at.astimezone(ZoneInfo(visit.formats.zone)).date().isoformat() if key.expires_at else ""
    before = {"name": key.name, "expires_at": expires, "allowed_ips": " ".join(key.allowed_ips)}
    context = {
        "key": key,
        "models": [(model, model) for model in sorted({*models, *key.models})],
        "chosen": key.models if visit.form is None else visit.fields("models"),
        "sent": before if visit.form is None else typed(visit, *EDITED),
        "refused": refused,
        "expires_before": expires,
        "as_of": version_of(key) if visit.form is None else visit.field("as_of"),
    }
    title = visit.messages.gettext("Change key %(key)s") % {"key": key.name or f"…{key.last_four}"}
    return Page("api_key_edit.html", title, context, refused.status)


async def update(visit: Visit) -> Page | Redirect:
    """The key's name, models, expiry and networks, if nobody else has changed it meanwhile."""
    key_id: int = visit.request.path_params["id"]
    # The form has a day only: saved unchanged, the key still ends at the hour that it had.
    is_same_day = visit.field("expires_at") == visit.field("expires_before")
    try:
        change = changes.KeyChange(
            name=visit.field("name") or "",
            models=visit.fields("models"),
            allowed_ips=_networks(visit),
            expires_at=None if is_same_day else end_of_day(visit, "expires_at"),
            never_expires=not is_same_day and visit.field("expires_at") is None,
        )
        await changes.update_key(visit.pool, visit.actor, key_id, change, as_of=visit.field("as_of"))
    except GatewayError as error:
        return await show_edit(visit, refusal_of(visit, error, *EDITED))
    return Redirect(f"/api-keys/{key_id}", Flash("success", visit.messages.gettext("The key has been changed.")))


async def act(visit: Visit) -> Redirect:
    """Rotates, revokes or archives."""
    action: str = visit.request.path_params["action"]
    if action not in ACTIONS:
        raise GatewayError("not_found", f"A key has no action '{action[:50]}'.")
    return await ACTIONS[action](visit, visit.request.path_params["id"])


async def _rotate(visit: Visit, key_id: int) -> Redirect:
    grace_s = count_of(visit, "grace_s")
    grace_s = changes.DEFAULT_GRACE_S if grace_s is None else grace_s
    made = await changes.rotate_key(visit.pool, visit.actor, visit.settings.peppers, key_id, grace_s=grace_s)
    said = visit.messages.gettext("This is the key's new secret. It is not shown again: copy it now.")
    if made.row.previous_ends_at is not None:
        until = visit.formats.moment(made.row.previous_ends_at)
        said += " " + visit.messages.gettext("The earlier one works until %(time)s.") % {"time": until}
    return Redirect(f"/api-keys/{key_id}", Flash("success", said, made.secret))


async def _revoke(visit: Visit, key_id: int) -> Redirect:
    await keys.revoke_key(visit.pool, visit.actor, key_id)
    said = visit.messages.gettext("The key has been revoked: every gateway refuses it within a second.")
    return Redirect("/api-keys", Flash("success", said))


async def _try(visit: Visit, key_id: int) -> Redirect:
    """One call with the new secret, which the page that shows it sends back; the next page shows it again."""
    secret, link = visit.field("secret") or "", visit.request.app.state.gateway_link
    address = address_of(visit.request)
    try:
        tried = await try_key(visit.pool, link, visit.actor, visit.settings.peppers, key_id, secret, address=address)
        flash = _trial(visit, tried, secret)
    except GatewayError as error:
        if error.code not in TRY_LATER:
            raise
        flash = Flash("danger", visit.in_language(error.message), secret)
    return Redirect(f"/api-keys/{key_id}", flash)


def _trial(visit: Visit, tried: KeyTrial, secret: str) -> Flash:
    _, refused = visit.messages.gettext, tried.answer.refused
    if refused is not None:
        about = {"why": visit.in_language(refused.message), "request_id": tried.answer.request_id}
        return Flash("danger", _("The call was refused: %(why)s (%(request_id)s)") % about, secret)
    shown = {"model": tried.model, "text": shorten(tried.answer.text, MAX_SHOWN, placeholder="…")}
    return Flash("success", _("The key works: %(model)s answered “%(text)s”.") % shown, secret)


async def _archive(visit: Visit, key_id: int) -> Redirect:
    await changes.archive_key(visit.pool, visit.actor, key_id)
    return Redirect("/api-keys", Flash("success", visit.messages.gettext("The key is no longer listed.")))


ACTIONS: Final[Mapping[str, Callable[[Visit, int], Awaitable[Redirect]]]] = {
    "rotate": _rotate,
    "revoke": _revoke,
    "try": _try,
    "archive": _archive,
}


async def _callable_models(visit: Visit, team: str | None) -> list[str]:
    """Those that the account has an active subscription to."""
    user = None if team else str(visit.user.id)
    active = await subscriptions.list_subscriptions(
        visit.pool, visit.actor, team=team, user=user, status="active", limit=1000
    )
    return [row.model_name for row in active.rows]


def _input(visit: Visit) -> keys.KeyInput:
    team = visit.field("team")
    return keys.KeyInput(
        models=visit.fields("models"),
        team=team,
        user=str(visit.user.id) if team and not visit.field("is_service") else None,
        name=visit.field("name") or "",
        allowed_ips=_networks(visit),
        expires_at=end_of_day(visit, "expires_at"),
        rpm=count_of(visit, "rpm"),
        tpm=count_of(visit, "tpm"),
        concurrency=count_of(visit, "concurrency"),
        monthly_cost_nano_usd=nano_usd_of(visit, "monthly_cost_usd"),
    )


def _networks(visit: Visit) -> list[str]:
    return (visit.field("allowed_ips") or "").replace(",", " ").split()
