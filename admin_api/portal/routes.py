"""Which path shows and does what, and the one way in which a page is answered."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from admin_api.portal.errors import answer_failure
from admin_api.portal.pages import (
    admin_alerts,
    admin_audit,
    admin_limit_requests,
    admin_limits,
    admin_lookup,
    admin_model_syncs,
    admin_models,
    admin_overview,
    admin_prices,
    admin_requests,
    admin_settings,
    admin_styleguide,
    admin_user,
    admin_user_acts,
    admin_users,
    admin_webhook_acts,
    admin_webhooks,
    api_keys,
    home,
    key_limits,
    limits,
    login,
    models,
    own_notifications,
    own_settings,
    own_tokens,
    playground,
    refusals,
    subscriptions,
    teams,
)
from admin_api.portal.pages.usage import calls as usage_calls
from admin_api.portal.pages.usage import files as usage_files
from admin_api.portal.pages.usage import show as usage
from admin_api.portal.rendering import Page, Redirect, render_page
from admin_api.portal.static_files import PREFIX, serve
from admin_api.portal.visits import Visit, begin_visit
from gateway.domain.errors import GatewayError

View = Callable[[Visit], Awaitable[Page | Redirect | Response]]
API: Final = "/api/"

# GET and POST of each page of a person who has logged in.
PAGES: Final[Mapping[str, tuple[View | None, View | None]]] = {
    "/home": (home.show, None),
    "/home/alerts/{id:int}": (None, home.acknowledge),
    "/limits": (limits.show_list, None),
    "/limits/{id:int}/more": (limits.show_more, limits.ask),
    "/limits/requests/{id:int}/withdraw": (None, limits.withdraw),
    "/models": (models.show_list, None),
    "/models/{name:path}": (models.show_one, None),
    "/subscriptions": (subscriptions.show_list, subscriptions.create),
    "/subscriptions/{id:int}": (subscriptions.show_one, None),
    "/subscriptions/{id:int}/{action}": (None, subscriptions.change),
    "/api-keys": (api_keys.show_list, api_keys.create),
    "/api-keys/new": (api_keys.show_new, None),
    "/api-keys/{id:int}": (api_keys.show_one, None),
    "/api-keys/{id:int}/edit": (api_keys.show_edit, api_keys.update),
    "/api-keys/{id:int}/limit": (key_limits.show_form, key_limits.set_limit),
    "/api-keys/{id:int}/unlimit": (None, key_limits.remove_limit),
    "/api-keys/{id:int}/{action}": (None, api_keys.act),
    "/playground": (playground.show, playground.ask),
    "/playground/stream": (None, playground.stream),
    "/teams": (teams.lists.show_list, teams.lists.join),
    "/teams/join-requests/{id:int}/withdraw": (None, teams.lists.withdraw_join),
    "/teams/invitations/{id:int}/{action}": (None, teams.lists.answer_invitation),
    "/teams/{id:int}": (teams.team.show_one, None),
    "/teams/{id:int}/{action}": (teams.forms.show_form, teams.acts.act),
    "/usage": (usage.show, None),
    "/usage/calls": (usage_calls.show_list, None),
    "/usage/calls/{request_id}": (usage_calls.show_one, None),
    "/refusals": (refusals.show, None),
    "/refusals/{request_id}": (refusals.show_one, None),
    "/settings": (own_settings.show, own_settings.update),
    "/settings/sessions": (None, own_settings.end_sessions),
    "/settings/sessions/{id:int}": (None, own_settings.end_session),
    "/settings/notifications": (own_notifications.show, own_notifications.update),
    "/settings/tokens": (own_tokens.show, own_tokens.create),
    "/settings/tokens/{id:int}/revoke": (None, own_tokens.revoke),
    "/admin": (admin_overview.show, None),
    "/admin/requests": (admin_requests.show, admin_requests.decide),
    "/admin/users": (admin_users.show_list, admin_users.create),
    "/admin/users/new": (admin_users.show_new, None),
    "/admin/users/{id:int}": (admin_user.show, admin_user.update),
    "/admin/users/{id:int}/anonymise": (admin_user_acts.show_anonymise, admin_user_acts.anonymise_user),
    "/admin/users/{id:int}/{action}": (None, admin_user_acts.act),
    "/admin/models": (admin_models.show_list, None),
    "/admin/models/syncs": (admin_model_syncs.show, admin_model_syncs.sync_now),
    "/admin/models/name/{name:path}": (admin_models.show_one, admin_models.update),
    "/admin/models/rename/{name:path}": (None, admin_models.rename_one),
    "/admin/models/price/{name:path}": (admin_prices.show, admin_prices.update),
    "/admin/models/undo-price/{name:path}": (None, admin_prices.undo),
    "/admin/requests/limits": (admin_limit_requests.show, admin_limit_requests.decide),
    "/admin/limits": (admin_limits.show_list, None),
    "/admin/limits/bulk": (admin_limits.show_bulk, admin_limits.change_many),
    "/admin/usage": (usage.show_of_all, None),
    "/admin/alerts": (admin_alerts.show_list, None),
    "/admin/alerts/{id:int}/seen": (None, admin_alerts.acknowledge),
    "/admin/audit": (admin_audit.show, None),
    "/admin/styleguide": (admin_styleguide.show, None),
    "/admin/lookup": (admin_lookup.show, None),
    "/admin/settings": (admin_settings.show, admin_settings.update),
    "/admin/webhooks": (admin_webhooks.show_list, admin_webhooks.create),
    "/admin/webhooks/new": (admin_webhooks.show_new, None),
    "/admin/webhooks/deliveries": (admin_webhooks.show_deliveries, None),
    "/admin/webhooks/deliveries/{id:int}/retry": (None, admin_webhook_acts.retry),
    "/admin/webhooks/{id:int}": (admin_webhooks.show_one, admin_webhooks.update),
    "/admin/webhooks/{id:int}/{action}": (None, admin_webhook_acts.act),
    "/admin/usage/calls": (usage_calls.show_list_of_all, None),
    "/admin/refusals": (refusals.show_of_all, None),
    "/admin/teams": (teams.lists.show_all, None),
    "/admin/teams/new": (teams.lists.show_new, teams.lists.create),
    "/admin/teams/{id:int}": (teams.team.show_one, None),
    "/admin/teams/{id:int}/{action}": (teams.forms.show_form, teams.acts.act),
    "/logout": (None, login.log_out),
}


STREAMS: Final = ("/playground/stream",)
# Of 1 to 9; more takes longer and saves a hundredth.
COMPRESSION: Final = 6
# GET of files.
FILES: Final[Mapping[str, View]] = {
    "/usage/files/{kind}": usage_files.send,
    "/admin/usage/files/{kind}": usage_files.send_of_all,
}


def routes() -> list[Route]:
    """All of the portal."""
    return [
        Route("/", _lead_home, methods=["GET"]),
        Route("/login", login.show, methods=["GET"]),
        Route(PREFIX + "{name:path}", serve, methods=["GET"]),
        *(_route(path, get, post) for path, (get, post) in PAGES.items()),
        *(_route(path, get, None) for path, get in FILES.items()),
    ]


def _route(path: str, get: View | None, post: View | None) -> Route:
    methods = [*(["GET"] if get else []), *(["POST"] if post else [])]
    # What streams goes out piece by piece, uncompressed.
    middleware = [] if path in STREAMS else [Middleware(GZipMiddleware, compresslevel=COMPRESSION)]
    return Route(path, _answers(get, post), methods=methods, middleware=middleware)


def show_unknown_pages(app: Starlette) -> None:
    """A browser gets a page for an address at which there is none; programs get what the API says."""
    answer_others = app.exception_handlers[HTTPException]
    show = _answers(_show_nothing, None)

    async def answer(request: Request, exc: Exception) -> Response:
        is_unknown = isinstance(exc, HTTPException) and exc.status_code == HTTPStatus.NOT_FOUND
        is_page = request.method == "GET" and not request.url.path.startswith((API, PREFIX))
        if is_unknown and is_page and "text/html" in request.headers.get("accept", ""):
            return await show(request)
        answered: Response = await answer_others(request, exc)
        return answered

    app.add_exception_handler(HTTPException, answer)


async def _show_nothing(visit: Visit) -> Page:
    raise GatewayError("not_found", visit.messages.gettext("There is no such page."))


async def _lead_home(_: Request) -> Response:
    return RedirectResponse("/home", 303)


def _answers(get: View | None, post: View | None) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        visit: Visit | None = None
        try:
            visit = await begin_visit(request)
            view = post if request.method == "POST" else get
            if view is None:
                raise GatewayError("method_not_allowed", "This page does not take forms.")
            return render_page(visit, await view(visit))
        except GatewayError as error:
            if error.code == "not_authenticated":
                return _lead_to_login(request)
            return answer_failure(request, visit, error)
        except Exception as exc:
            return answer_failure(request, visit, exc)

    return answer


def _lead_to_login(request: Request) -> Response:
    """And back to the same page afterwards; a form that was sent is lost."""
    path = request.url.path if request.method == "GET" else "/home"
    query = f"?{request.url.query}" if request.url.query and request.method == "GET" else ""
    login_path = f"/login?next={quote(path + query, safe='')}"
    if "hx-request" in request.headers:
        # htmx would put the login into a part of the page.
        return Response(status_code=204, headers={"hx-redirect": login_path})
    return RedirectResponse(login_path, 303)
