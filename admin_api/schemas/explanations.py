"""JSON of explained limits, and of checks of counters and ledger."""

from typing import TYPE_CHECKING, Any, Self

from pydantic import Field

from admin_api.schemas.shapes import DecimalText, View
from gateway.domain.limits import amount_fields
from gateway.domain.missing_models import Cause
from gateway.storage.ledger.verify import LedgerCheck

if TYPE_CHECKING:
    from gateway.storage.counters.drift import Drift


class ExplanationView(View):
    """Whether such a call would be admitted now, and each limit that applies to it."""

    allowed: bool
    code: str | None = Field(description="The error code that the gateway would answer; null: it would admit the call")
    message: str | None
    details: dict[str, Any] = Field(
        description="As in the gateway's answer: the limit in numbers; status of model or subscription, and the reason"
    )
    prompt_tokens: int | None = Field(description="What the call is assumed to need; null if no limit was asked")
    completion_tokens: int | None
    missing_cause: Cause | None = Field(
        description="For admins, of code model_not_found: which it is. The caller does not read it. Null for others"
    )
    missing_cause_text: str | None = Field(description="The same as a sentence")
    limits: list[dict[str, Any]]


class DriftView(View):
    """One counter and the sum in the ledger, and by how much the counter is above it. Money has its units, and null
    where other kinds have counts."""

    account_id: int
    field: str
    kind: str
    counted: int | None
    counted_usd: DecimalText | None = None
    counted_nano_usd: int | None = None
    ledger: int | None
    ledger_usd: DecimalText | None = None
    ledger_nano_usd: int | None = None
    difference: int | None
    difference_usd: DecimalText | None = None
    difference_nano_usd: int | None = None

    @classmethod
    def of(cls, drift: "Drift") -> Self:
        """One counter that differs."""
        about: dict[str, Any] = {"account_id": drift.account_id, "field": drift.field, "kind": drift.kind}
        for name in ("counted", "ledger", "difference"):
            about |= amount_fields(name, drift.kind, getattr(drift, name))
        return cls(**about)


class RepairView(View):
    """The counters that differed before they were rebuilt."""

    drifted: list[DriftView]


class DifferenceView(View):
    """One day of one account and model on which rows and rollups differ; `sums` has those of both, as JSON."""

    day: str
    account_id: int
    model_id: int
    sums: str


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
            DifferenceView(day=day, account_id=account, model_id=model, sums=sums)
            for day, account, model, sums in check.differences
        ]
        return cls(agrees=not found, rows=check.rows, reaped=check.reaped, differences=found)
