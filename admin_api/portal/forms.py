"""A form that was refused is shown again, with what was typed and each message beside its field."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from admin_api.portal.visits import Visit
from gateway.domain.errors import GatewayError

# Refusals that the person can do something about on the same page.
SHOWN_AGAIN: Final = (409, 412, 422)


@dataclass(frozen=True, slots=True)
class Refusal:
    """`fields` are messages by field; `message` is for what belongs to none of the form's."""

    message: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    status: int = 200

    def of(self, name: str) -> str | None:
        """The message beside this field."""
        return self.fields.get(name)


NONE: Final = Refusal()


def refusal_of(visit: Visit, error: GatewayError, *names: str) -> Refusal:
    """For a form with fields of these names, in the person's language. Raises the error again if no form can
    mend it."""
    if error.status not in SHOWN_AGAIN:
        raise error
    said: dict[str, str] = {}
    others: list[str] = []
    reported: list[Mapping[str, Any]] = error.details.get("fields") or [
        {"field": error.param, "message": error.message}
    ]
    for one in reported:
        sentence = said_of(visit, str(one["message"]))
        if one.get("field") in names:
            said[str(one["field"])] = sentence
        else:
            others.append(sentence)
    return Refusal(" ".join(others) or None, said, error.status)


def said_of(visit: Visit, message: str) -> str:
    """What an operation says, in the person's language, with amounts of money written as on the rest of the page."""
    return visit.formats.amounts_in(visit.in_language(message))


def typed(visit: Visit, *names: str) -> dict[str, str]:
    """What the form had in these fields, to be shown in it again; empty before anything was sent."""
    return {name: visit.field(name) or "" for name in names}
