"""The limits that count a call, as its page writes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from admin_api.operations.usage.calls import Call, counted_of
from admin_api.portal.texts import marked
from admin_api.portal.visits import Visit
from gateway.domain.limits import Kind, Level, is_money
from gateway.domain.windows import WindowKind

LEVELS: Final[Mapping[Level, str]] = {
    "key": marked("API key"),
    "key_model": marked("API key and model"),
    "subscription": marked("Subscription"),
    "user": marked("User"),
    "team": marked("Team"),
}
KINDS: Final[Mapping[Kind, str]] = {
    "rpm": marked("requests per minute"),
    "tpm": marked("tokens per minute"),
    "concurrency": marked("requests at the same time"),
    "requests": marked("requests"),
    "tokens": marked("tokens"),
    "cost": marked("cost"),
}
WINDOWS: Final[Mapping[WindowKind, str]] = {
    "day": marked("a day"),
    "week": marked("a week"),
    "month": marked("a month"),
    "year": marked("a year"),
    "lifetime": marked("in all"),
}


@dataclass(frozen=True, slots=True)
class CallLimit:
    """Texts of one limit, and what a call counted in it."""

    level: str
    name: str
    amount: str
    counted: str


def limits_of(visit: Visit, call: Call) -> list[CallLimit]:
    """In the order in which they decide."""
    _ = visit.messages.gettext
    return [
        CallLimit(
            _(LEVELS[one.level]),
            " ".join(_(part) for part in (KINDS[one.kind], WINDOWS[one.window] if one.window else "") if part),
            _amount(visit, one.kind, one.amount),
            _amount(visit, one.kind, counted_of(one, call.row)),
        )
        for one in call.limits
    ]


def _amount(visit: Visit, kind: Kind, amount: int) -> str:
    return visit.formats.nano_usd(amount) if is_money(kind) else visit.formats.number(amount)
