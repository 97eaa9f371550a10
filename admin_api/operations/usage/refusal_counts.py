"""How many calls were refused over time, by error code, model, key, user or account."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, get_args

from admin_api.operations.actors import Actor
from admin_api.operations.pagination import check_limit
from admin_api.operations.usage.grouping import Report, report_fields
from admin_api.operations.usage.overview import MAX_GROUPS, steps_of
from admin_api.operations.usage.refusals import check_code, resolve_people
from admin_api.operations.usage.reports import STEPS
from admin_api.operations.usage.scope import UsageFilter
from admin_api.operations.validation import check_word
from admin_api.storage.usage import names as usage_names
from admin_api.storage.usage import refusal_sums
from admin_api.storage.usage.refusal_sums import RefusalsBy
from gateway.domain.rollup_ranges import Step

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

REFUSALS_BY: Final = get_args(RefusalsBy)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalGroup:
    """`id` is None for refusals without one (no user, a model that is not the key's); `points` are by step."""

    id: str | None
    name: str | None
    count: int
    points: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalReport(Report):
    """The largest groups, all others, and the total, by step; an hour of UTC counts where it begins. `bounds` are those
    of the steps: one more than there are points."""

    by: RefusalsBy
    step: Step
    bounds: Sequence[datetime]
    groups: Sequence[RefusalGroup]
    number_of_groups: int
    points: Sequence[int]

    @property
    def total(self) -> int:
        """Of the period."""
        return sum(self.points)

    @property
    def others(self) -> int:
        """What is in no group that is listed."""
        return self.total - sum(group.count for group in self.groups)


async def count_refusals(
    pool: "Pool",
    actor: Actor,
    query: UsageFilter,
    *,
    by: str = "code",
    step: str | None = None,
    code: str | None = None,
    limit: int = 20,
) -> RefusalReport:
    """Authorized as usage by key is. Raises GatewayError `forbidden`, `not_found`, `validation_failed`."""
    check_word("by", by, REFUSALS_BY)
    if step is not None:
        check_word("step", step, STEPS)
    check_limit(limit, MAX_GROUPS)
    known = None if code is None else check_code(code)
    async with pool.acquire() as connection:
        scope = await resolve_people(connection, actor, query)
        given, bounds = steps_of(scope, step)
        sums = await refusal_sums.sum_refusals(
            connection, scope.selection, bounds, by, code=known, limit=limit  # type: ignore[arg-type]  # checked
        )  # fmt: skip
        names = await usage_names.name_all(connection, by, [one for one in sums.groups if one != "0"])
    groups = [
        RefusalGroup(
            id=None if one == "0" else one,
            name=one if by == "code" else names.get(one),
            count=sum(points),
            points=points,
        )
        for one, points in sums.groups.items()
    ]
    groups.sort(key=lambda group: (-group.count, group.name or ""))
    return RefusalReport(
        by=by,  # type: ignore[arg-type]  # checked
        step=given,
        bounds=bounds,
        groups=groups,
        number_of_groups=sums.number,
        points=sums.total,
        **report_fields(scope),
    )
