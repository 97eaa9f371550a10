"""The limits that count a call, as its page writes them."""

from dataclasses import dataclass

from admin_api.operations.usage.calls import Call, counted_of
from admin_api.portal.limit_texts import amount_of, level_text, name_of
from admin_api.portal.visits import Visit


@dataclass(frozen=True, slots=True)
class CallLimit:
    """Texts of one limit, and what a call counted in it."""

    level: str
    name: str
    amount: str
    counted: str


def limits_of(visit: Visit, call: Call) -> list[CallLimit]:
    """In the order in which they decide."""
    return [
        CallLimit(
            level_text(visit, one.level),
            name_of(visit, one.kind, one.window),
            amount_of(visit, one.kind, one.amount),
            amount_of(visit, one.kind, counted_of(one, call.row)),
        )
        for one in call.limits
    ]
