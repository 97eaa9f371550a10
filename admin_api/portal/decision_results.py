"""What became of each of many things that an admin decided."""

from dataclasses import dataclass
from typing import Any, Self

from admin_api.operations.decisions import Decided
from admin_api.portal.forms import said_of
from admin_api.portal.visits import Visit


@dataclass(frozen=True, slots=True)
class Result:
    """Texts in the person's language; `error` says why nothing became of it."""

    name: str
    status: str | None
    colour: str | None
    error: str | None

    @classmethod
    def of(cls, visit: Visit, decided: Decided[Any], name: str | None, state: tuple[str, str | None]) -> Self:
        """`name` None: it is none that the page had; `state` is the text and the colour of its status."""
        if decided.error is not None:
            return cls(name or str(decided.id), None, None, said_of(visit, decided.error.message))
        return cls(name or str(decided.id), *state, None)


def reason_after(visit: Visit, results: list[Result] | None) -> str:
    """What the field has: a reason is that of one decision, and the next one would be sent to somebody else."""
    is_done = results is not None and not any(one.error for one in results)
    return "" if is_done else visit.field("reason") or ""
