"""What a limit would say, and whether the ledger agrees with itself, as shown."""

from typing import Any

from admin_api.schemas.shapes import View


class ExplanationView(View):
    """Whether such a call would be let in now, and each limit it would have to pass."""

    allowed: bool
    code: str | None
    message: str | None
    limits: list[dict[str, Any]]


class DriftView(View):
    """One counter and what the ledger says; in nano-USD for kind cost."""

    account_id: int
    field: str
    kind: str
    counted: int
    ledger: int
    difference: int


class RepairView(View):
    """The counters that were apart before they were made anew."""

    drifted: list[DriftView]


class DifferenceView(View):
    """One day of one account and model on which rows and rollups disagree; `told` is what each says, as JSON."""

    day: str
    account_id: int
    model_id: int
    reported: str


class LedgerCheckView(View):
    """`agrees`: rows, quarters of an hour and days say the same."""

    agrees: bool
    rows: int
    reaped: int
    differences: list[DifferenceView]
