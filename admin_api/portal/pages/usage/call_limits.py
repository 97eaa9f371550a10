"""The limits that count a call, as its page writes them."""

from dataclasses import dataclass

from admin_api.operations.usage.calls import Call, counted_of
from admin_api.portal.visits import Visit
from admin_api.portal.word_texts import KINDS, LEVELS, WINDOWS
from gateway.domain.limits import Kind, is_money


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
