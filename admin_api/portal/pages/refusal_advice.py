"""What to do about a refused call, by its error code, in the person's language."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from admin_api.portal.languages import LANGUAGES
from admin_api.portal.limit_texts import LEVELS, NAMES, level_text, name_of
from admin_api.portal.texts import marked
from admin_api.portal.visits import Visit
from admin_api.portal.word_texts import text_of
from admin_api.storage.usage.refusals import RefusedCall


@dataclass(frozen=True, slots=True)
class Advice:
    """A sentence, and the page where it can be done, with the text of the link."""

    text: str
    path: str
    link: str


_LIMIT: Final = (
    marked("A limit was reached. Wait until it resets, or ask for more."),
    "/subscriptions",
    marked("Subscriptions"),
)
_KEY: Final = (marked("Use another key, or create one."), "/api-keys", marked("API keys"))
_MODEL: Final = (
    marked("Check the name of the model, subscribe to it, and see that the key may call it."),
    "/models",
    marked("Models"),
)
_ADMIN: Final = (
    marked("An administrator can change this. Give them the id of the request."),
    "/subscriptions",
    marked("Subscriptions"),
)
_CALL: Final = (
    marked("The request itself has to be changed: the answer says what was wrong with it."),
    "/models",
    marked("Models"),
)
_LATER: Final = (marked("Try again in a few seconds."), "/usage", marked("Usage"))
BY_CODE: Final[Mapping[str, tuple[str, str, str]]] = {
    "insufficient_quota": _LIMIT,
    "rate_limit_exceeded": (
        marked("Too many calls in too short a time. Wait for as long as the header retry-after says, or ask for more."),
        "/subscriptions",
        marked("Subscriptions"),
    ),
    "request_exceeds_limit": (
        marked("This one call is larger than the limit. Make it smaller, for example by max_tokens, or ask for more."),
        "/subscriptions",
        marked("Subscriptions"),
    ),
    "invalid_api_key": _KEY,
    "api_key_expired": _KEY,
    "ip_not_allowed": (
        marked("The key may not be used from this address. Change the addresses of the key, or use another one."),
        "/api-keys",
        marked("API keys"),
    ),
    "model_not_found": _MODEL,
    "subscription_suspended": _ADMIN,
    "account_suspended": _ADMIN,
    "team_archived": _ADMIN,
    "model_has_no_price": _ADMIN,
    "cost_not_bounded": _ADMIN,
    "limits_unavailable": _LATER,
    "upstream_unavailable": _LATER,
    "too_many_requests": _LATER,
}


# The sentences of gateway/domain/refusals.py, which are made of a limit's numbers.
OF_LIMIT: Final[Mapping[str, str]] = {
    "insufficient_quota": marked("The limit is used up: %(limit)s (%(level)s)."),
    "rate_limit_exceeded": marked("The limit is reached at this moment: %(limit)s (%(level)s)."),
    "request_exceeds_limit": marked("This call can never fit into the limit: %(limit)s (%(level)s)."),
}

# Where the answer does not say of which window.
KINDS: Final[Mapping[str, str]] = {
    "requests": marked("requests"),
    "tokens": marked("tokens"),
    "cost": marked("cost"),
}


# Names of the answer's details.
DETAILS: Final[Mapping[str, str]] = {
    "level": marked("Limit of"),
    "kind": marked("Limited"),
    "limit": marked("Limit"),
    "used": marked("Used"),
    "reserved": marked("Reserved by calls that run"),
    "requested": marked("This call needed"),
    "resets_at": marked("Resets"),
    "status": marked("State"),
    "reason": marked("Reason given"),
}
_MONEY: Final = "_nano_usd"


def details_of(visit: Visit, call: RefusedCall) -> list[tuple[str, str]]:
    """The limit in numbers as it was then, or state and reason: names and texts."""
    limit = call.details.get("limit")
    given = limit if isinstance(limit, Mapping) else call.details
    found = []
    for name, text in DETAILS.items():
        money, value = given.get(f"{name}{_MONEY}"), given.get(name)
        if money is not None:
            found.append((visit.messages.gettext(text), visit.formats.nano_usd(money)))
        elif value is not None:
            found.append((visit.messages.gettext(text), _text(visit, name, given)))
    return found


def _text(visit: Visit, name: str, given: Mapping[str, Any]) -> str:
    """Of one of these details. A kind is named with its window."""
    value = given[name]
    key: Any = given.get("kind"), given.get("window")
    if name == "level" and value in LEVELS:
        return level_text(visit, value)
    if name == "kind" and key in NAMES:
        return name_of(visit, *key)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return visit.formats.number(value) if is_number else visit.formats.sentence(str(value))


def said_of_call(visit: Visit, call: RefusedCall) -> str:
    """What its caller was answered, in the person's language: of a limit, without the numbers, which are details."""
    limit = call.details.get("limit")
    if visit.language == LANGUAGES[0] or call.code not in OF_LIMIT or not isinstance(limit, Mapping):
        return visit.formats.sentence(visit.in_language(call.message))
    key: Any = limit.get("kind"), limit.get("window")
    name = name_of(visit, *key) if key in NAMES else text_of(visit, KINDS, str(key[0]))
    level = level_text(visit, str(limit["level"])) if limit.get("level") in LEVELS else ""
    return visit.messages.gettext(OF_LIMIT[call.code]) % {"limit": name, "level": level}


def advice_for(visit: Visit, call: RefusedCall) -> Advice:
    """For other codes: by whose fault it is, the caller's or not."""
    text, path, link = BY_CODE.get(call.code) or (_LATER if call.status >= 500 else _CALL)
    _ = visit.messages.gettext
    return Advice(_(text), path, _(link))
