"""What the form of a page about usage offers."""

from typing import Any, Final

from admin_api.operations.keys import keys
from admin_api.operations.models import models
from admin_api.operations.people import teams
from admin_api.portal.ending_texts import ENDINGS
from admin_api.portal.pages.usage.question import GROUPS, METRICS, PERIODS, ZONES, Question
from admin_api.portal.visits import Visit

# As many as somebody looks through. Of what there is more of, the name is typed.
MAX_CHOICES: Final = 50
Choice = tuple[str, str]


async def choices_of(visit: Visit, question: Question, *, sees_people: bool = True) -> dict[str, Any]:
    """Pairs of a value and its text, for each field; None for a field that is typed."""
    _ = visit.messages.gettext
    names = await models.list_names(visit.pool, visit.actor, limit=MAX_CHOICES + 1)
    providers = (await models.find_choices(visit.pool, visit.actor)).providers
    # Members of a team, but not its owners, see it without people and keys.
    groups = [one for one in question.audience.groups if sees_people or one not in ("user", "key")]
    periods = dict(PERIODS) if question.period in PERIODS else {**PERIODS, question.period: question.period}
    return {
        "periods": [(one, _(text)) for one, text in periods.items()],
        "groups": [(one, _(GROUPS[one])) for one in groups],
        "parts": [("", _("nothing"))] + [(one, _(GROUPS[one])) for one in _parts(question, groups)],
        "metrics": [(one, _(text)) for one, text in METRICS.items()],
        "zones": [(one, one) for one in dict.fromkeys((visit.formats.zone, question.zone, *ZONES))],
        "models": _all(visit, names, question.model) if len(names) <= MAX_CHOICES else None,
        "providers": _all(visit, providers, question.provider),
        "endings": [("", _("All"))] + [(one, _(text)) for one, text in ENDINGS.items()],
        "teams": await _teams(visit),
        "keys": await _keys(visit, question),
    }


def _all(visit: Visit, values: list[str], chosen: str) -> list[Choice]:
    more = [chosen] if chosen and chosen not in values else []
    return [("", visit.messages.gettext("All")), *((one, one) for one in (*values, *more))]


def _parts(question: Question, groups: list[str]) -> list[str]:
    return [one for one in groups if one != question.by and question.can_divide(one)]


async def _teams(visit: Visit) -> list[Choice] | None:
    found = await teams.list_teams(visit.pool, visit.actor, limit=MAX_CHOICES)
    if found.next_cursor is not None:
        return None
    return [(str(one.id), one.name) for one in found.rows]


async def _keys(visit: Visit, question: Question) -> list[Choice] | None:
    """One's own; an admin, and who has very many, chooses keys in the table."""
    if question.audience.is_of_all:
        return None
    found = await keys.list_keys(visit.pool, visit.actor, user=str(visit.user.id), limit=MAX_CHOICES)
    if found.next_cursor is not None:
        return None
    return [("", visit.messages.gettext("All"))] + [(str(one.id), f"{one.name} …{one.last_four}") for one in found.rows]
