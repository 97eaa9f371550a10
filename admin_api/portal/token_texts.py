"""How the state of a personal access token is named and coloured, and what a form may ask for one."""

from collections.abc import Sequence
from datetime import UTC, datetime

from admin_api.operations.people.personal_tokens import bounded_role
from admin_api.portal.key_texts import STATES
from admin_api.portal.visits import Visit
from admin_api.portal.word_texts import ROLES, text_of
from admin_api.storage.personal_tokens import PersonalToken
from gateway.domain.roles import Role

FIELDS = ("name", "role", "expires_at")
Line = tuple[PersonalToken, str, str | None, str]


def token_lines(visit: Visit, tokens: Sequence[PersonalToken]) -> list[Line]:
    """Each with its state, the state's colour and its role, in the person's language."""
    lines = []
    for one in tokens:
        text, colour = STATES[one.status_at(datetime.now(UTC))]
        lines.append((one, visit.messages.gettext(text), colour, text_of(visit, ROLES, one.role)))
    return lines


def role_choices(visit: Visit, role: Role) -> list[tuple[str, str]]:
    """Roles that a token of a user with this role may have, the user's own first."""
    allowed = [one for one in ROLES if bounded_role(one, role) == one]
    return [(one, text_of(visit, ROLES, one)) for one in sorted(allowed, key=lambda one: one != role)]
