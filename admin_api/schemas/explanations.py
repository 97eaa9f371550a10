"""JSON of explained limits, and of checks of counters and ledger."""

from typing import Any, Self

from admin_api.schemas.shapes import View
from gateway.storage.ledger.verify import LedgerCheck


class ExplanationView(View):
    """Whether such a call would be admitted now, and each limit that applies to it."""

    allowed: bool
    code: str | None
    message: str | None
    limits: list[dict[str, Any]]


class DriftView(View):
    """One counter and the sum in the ledger; in nano-USD for kind cost."""

    account_id: int
    field: str
    kind: str
    counted: int
    ledger: int
    difference: int


class RepairView(View):
    """The counters that differed before they were rebuilt."""

    drifted: list[DriftView]


class DifferenceView(View):
    """One day of one account and model on which rows and rollups differ; `told` has the sums of both, as JSON."""

    day: str
    account_id: int
    model_id: int
    told: str


class LedgerCheckView(View):
    """`agrees`: rows and rollups by quarter-hour and day have the same sums."""

    agrees: bool
    rows: int
    reaped: int
    differences: list[DifferenceView]

    @classmethod
    def of(cls, check: LedgerCheck) -> Self:
        """A check, with its differences."""
        found = [
            DifferenceView(day=day, account_id=account, model_id=model, told=told)
            for day, account, model, told in check.differences
        ]
        return cls(agrees=not found, rows=check.rows, reaped=check.reaped, differences=found)
