"""Which errors each operation can answer with, for the OpenAPI document.

Most follow from what a route takes: a login, a body, names of things. `OF_OPERATION` has
what only an operation knows. tests/contract/test_a21_openapi.py compares it with what the operations raise.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from admin_api.routes import dependencies
from admin_api.routes.responses import ERRORS
from admin_api.schemas.errors import ErrorView
from admin_api.web.call_rates import limit_address
from admin_api.web.counters import counters_of

ERROR: Final = {"application/json": {"schema": {"$ref": f"#/components/schemas/{ErrorView.__name__}"}}}
INVALID, INTERNAL = (str(ERRORS[status]["description"]) for status in (422, 500))
CHANGING: Final = ("POST", "PUT", "PATCH", "DELETE")
# Parameters and fields that name a thing which may not be there, or not be seen.
NAMES: Final = frozenset(("user", "users", "team", "model", "models", "key", "account", "about"))
# Path parameters that are words, not names of things.
WORDS: Final = frozenset(("answer", "by", "decision", "move"))
MISSING: Final = "There is no such thing, or you may not see it"
# Those of which a number may be a team's id or name.
TEAMS: Final = frozenset(("team", "about"))
AMBIGUOUS: Final = "The number is the id of one team and the name of another"
UNDER_WAY: Final = "A request with this Idempotency-Key is under way"
NO_CLICKHOUSE: Final = "There is no ClickHouse"
CLICKHOUSE_FAILED: Final = "ClickHouse or the database does not answer: try again"
NO_USER: Final = "This login belongs to no user"
NOT_YOURS: Final = "Whose usage is asked for is not yours to see"
PROVIDER_AWAY: Final = "The identity provider or the database does not answer: try again"
# A name that is not there is created, or has a row of its own in the answer.
NEVER_MISSING: Final = frozenset(("put_provider_key", "decide_subscriptions"))
# operation -> status -> when.
OF_OPERATION: Final[Mapping[str, Mapping[int, str]]] = {
    "show_usage_store": {404: NO_CLICKHOUSE, 503: CLICKHOUSE_FAILED},
    "verify_usage_store": {404: NO_CLICKHOUSE, 503: CLICKHOUSE_FAILED},
    "create_user": {409: "Another user has this address"},
    "update_own_user": {404: NO_USER},
    "list_own_emails": {404: NO_USER},
    "choose_own_emails": {404: NO_USER},
    "update_user": {409: "Another user has this address, or no active admin would be left"},
    "anonymise_user": {409: "They are anonymised already, yourself, or the last active admin"},
    "unlink_identity": {409: "No active admin would be left"},
    "create_own_token": {409: "You have as many tokens as are allowed"},
    "create_user_token": {409: "The user has as many tokens as are allowed, or is deactivated"},
    "create_team": {409: "Another team has this name"},
    "update_team": {409: "Another team has this name, or the team is archived"},
    "add_member": {409: "They are a member already, or deactivated, or the team is archived"},
    "update_member": {409: "The team would have no owner, or is archived"},
    "remove_member": {409: "The team would have no owner, or is archived"},
    "withdraw_invitation": {409: "The team is archived"},
    "invite_to_team": {
        409: "The team is archived; or they are a member, invited already or deactivated; or too many invitations are "
        "open"
    },
    "list_own_join_requests": {404: NO_USER},
    "request_to_join": {
        409: "You are a member or have asked already, or the team is archived; or too many requests of yours are open"
    },
    "decide_join_request": {409: "The team is archived"},
    "request_limit": {409: "A request of it waits, or it is temporary, or of a key's owner, who may change it"},
    "list_own_limit_requests": {404: NO_USER},
    "withdraw_own_limit_request": {409: "It does not wait any more: `details` names its state"},
    "decide_limit_request": {409: "It does not wait any more: `details` names its state"},
    "rename_model": {409: "LiteLLM still has the old name, or a model of another mode under the new one"},
    "undo_price": {409: "The version that was added last is LiteLLM's"},
    "create_subscription": {
        409: "There is one already: `details` names its state and what it allows. Or the model is not "
        "offered, or the account is suspended"
    },
    "change_subscription": {409: "Its state does not allow this: `details` names the state and what it allows"},
    "create_key": {
        409: "The account has as many keys as are allowed, or no active subscription to a model; or the model "
        "is unlisted or disabled, or the user is "
        "deactivated, or not in the team"
    },
    "update_key": {409: "The key has ended, or the account has no active subscription to a model"},
    "rotate_key": {409: "The key has ended, or an earlier secret is still in its grace period"},
    "archive_key": {409: "The key has not ended"},
    "unarchive_key": {409: "The key has not ended"},
    "apply_limits": {409: "The changes would differ from those that the preview showed"},
    "boost_limit": {409: "The limit is itself temporary"},
    "retry_delivery": {409: "It was delivered, its webhook is disabled, or the next try is within a minute"},
    "list_own_tokens": {403: NO_USER},
    "list_invitations": {403: "This is for owners of the team and admins"},
    "list_join_requests": {403: "This is for owners of the team and admins"},
    "summarize_usage": {403: NOT_YOURS},
    "read_usage_series": {403: NOT_YOURS},
    "break_down_usage": {403: NOT_YOURS},
    "measure_latencies": {403: NOT_YOURS},
    "export_usage": {403: NOT_YOURS},
    "list_own_invitations": {404: NO_USER},
    "show_own_user": {404: NO_USER},
    "log_in": {404: "This identity provider is not set up", 503: PROVIDER_AWAY},
    "finish_login": {
        400: "The login cannot go on: log in again",
        403: "The person may not log in: the message says why",
        409: "Another user has the address that the provider reports",
        503: PROVIDER_AWAY,
    },
}


def errors_of(route: APIRoute, method: str) -> dict[str, dict[str, Any]]:
    """Status -> the response object."""
    calls = set(_calls(route.dependant))
    changes = method in CHANGING
    texts = {422: INVALID, 500: INTERNAL}
    if route.body_field is not None:
        texts |= {
            400: "The body is not valid JSON",
            413: "The body is too large",
            415: "The body has an unknown coding",
        }
    if dependencies.log_in in calls:
        texts |= {401: "No login, or one that is not valid", 503: "The database does not answer: try again"}
        texts[429] = "Too many calls a minute: Retry-After says when the next may come"
        if changes or calls & {dependencies.allow_admin, dependencies.allow_reader}:
            texts[403] = _refusal(calls)
    if limit_address in calls:
        texts[429] = "Too many calls a minute from this address: Retry-After says when the next may come"
    if counters_of in calls:
        texts[503] = "The database or Redis does not answer: try again"
    if dependencies.litellm_of in calls and changes:
        texts |= {502: "LiteLLM's answer is not valid", 503: "The database or LiteLLM does not answer: try again"}
    names = _names_of(route)
    if route.name not in NEVER_MISSING and names:
        texts[404] = MISSING
    texts |= OF_OPERATION.get(route.name, {})
    conflicts = [texts[409]] if 409 in texts else []
    conflicts += [AMBIGUOUS] if names & TEAMS else []
    conflicts += [UNDER_WAY] if method == "POST" and dependencies.log_in in calls else []
    if conflicts:
        texts[409] = ". Or: ".join(conflicts)
    return {str(status): {"description": text, "content": ERROR} for status, text in texts.items()}


def _refusal(calls: set[Callable[..., Any]]) -> str:
    if dependencies.allow_admin in calls:
        return "This is for admins; or the session's request lacks the header x-litemaas-csrf"
    if dependencies.allow_reader in calls:
        return "This is for admins, read-only ones among them"
    return "You see it but may not change it; or the session's request lacks the header x-litemaas-csrf"


def _names_of(route: APIRoute) -> set[str]:
    """The parts of the path, parameters and fields of the body that name a thing."""
    in_path = {parameter.name for parameter in route.dependant.path_params} - WORDS
    return in_path | (NAMES & set(_inputs(route)))


def _inputs(route: APIRoute) -> Iterator[str]:
    for parameter in (*route.dependant.query_params, *route.dependant.body_params, *_below(route.dependant)):
        annotation = parameter.field_info.annotation
        yield parameter.alias
        for shape in getattr(annotation, "__args__", (annotation,)):
            yield from getattr(shape, "model_fields", ())


def _below(dependant: Dependant) -> Iterator[Any]:
    for one in dependant.dependencies:
        yield from one.query_params
        yield from _below(one)


def _calls(dependant: Dependant) -> Iterator[Callable[..., Any]]:
    """All dependencies of a route."""
    for one in dependant.dependencies:
        if one.call is not None:
            yield one.call
        yield from _calls(one)
