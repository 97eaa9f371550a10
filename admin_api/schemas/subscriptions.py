"""JSON of subscriptions and their history."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field

from admin_api.schemas.shapes import View
from gateway.domain.model_status import ModelStatus
from gateway.domain.subscriptions import Status

if TYPE_CHECKING:
    from admin_api.operations.decisions import Decided
    from admin_api.storage.subscriptions import HistoryRow, Subscription


class HistoryView(View):
    """One change of a subscription's state."""

    from_status: Status | None
    to_status: Status
    actor: str
    reason: str | None
    at: datetime


class SubscriptionView(View):
    """An account's subscription to a model."""

    id: int
    account_id: int
    account_name: str
    model_id: int
    model: str = Field(validation_alias="model_name")
    model_status: ModelStatus = Field(description="unlisted: LiteLLM no longer has the model; disabled: by an admin")
    status: Status
    reason: str | None
    expires_at: datetime | None
    created_at: datetime
    updated_at: datetime


class SubscriptionDetailView(SubscriptionView):
    """A subscription and its history, oldest first."""

    history: list[HistoryView]

    @classmethod
    def of(cls, row: "Subscription", history: "Sequence[HistoryRow]") -> Self:
        """The subscription with this history."""
        fields = SubscriptionView.model_validate(row).model_dump()
        fields["model_name"] = fields.pop("model")
        return cls.model_validate(fields | {"history": [HistoryView.model_validate(entry) for entry in history]})


class DecisionErrorView(View):
    """Why a subscription was not decided; `details` name its state and the actions it allows."""

    code: str
    message: str
    details: dict[str, Any]


class DecisionView(View):
    """Result for one subscription: its state now, and the error if it did not change."""

    id: int
    status: Status | None
    error: DecisionErrorView | None


class DecisionsView(View):
    """One row for each subscription that was named."""

    successful: int
    failed: int
    rows: list[DecisionView]

    @classmethod
    def of(cls, decided: "Sequence[Decided[Status]]") -> Self:
        """All of one request."""
        shown = [DecisionView.model_validate(one) for one in decided]
        failed = sum(one.error is not None for one in shown)
        return cls(successful=len(shown) - failed, failed=failed, rows=shown)
