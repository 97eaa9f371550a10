"""JSON of the store that usage questions can be answered from."""

from datetime import date, datetime
from typing import TYPE_CHECKING, Self

from admin_api.schemas.shapes import View

if TYPE_CHECKING:
    from admin_api.operations.maintenance.usage_store import UsageStoreCheck, UsageStoreStatus


class SentView(View):
    """How many calls and corrections were sent."""

    sent: int


class UsageStoreView(View):
    """How far ClickHouse is. `complete_at`: it has everything that was in the ledger then; `compared_at`: when all of
    its history was last compared; null: not yet. `missing` calls and corrections of open days, in `quarters` quarters
    of an hour, are not there."""

    complete_at: datetime | None
    compared_at: datetime | None
    missing: int
    quarters: int

    @classmethod
    def of(cls, status: "UsageStoreStatus") -> Self:
        """The view of a status."""
        return cls(
            complete_at=status.complete_at,
            compared_at=status.compared_at,
            missing=status.missing,
            quarters=status.quarters,
        )


class DifferingDayView(View):
    """A UTC day, and how many of its sums differ."""

    day: date
    sums: int


class UsageStoreCheckView(View):
    """How many sums by account, user, key, model and ending were compared, and the days on which some differ."""

    agrees: bool
    days: int
    sums: int
    differing: list[DifferingDayView]

    @classmethod
    def of(cls, check: "UsageStoreCheck") -> Self:
        """The view of a comparison."""
        differing = [DifferingDayView(day=day, sums=sums) for day, sums in check.differing]
        return cls(agrees=not differing, days=check.days, sums=check.sums, differing=differing)
