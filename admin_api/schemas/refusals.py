"""JSON of refused calls."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Self
from uuid import UUID

from pydantic import Field

from admin_api.schemas.shapes import View
from admin_api.schemas.usage_reports import RangeView
from admin_api.storage.usage.refusal_sums import RefusalsBy
from gateway.domain.missing_models import Cause
from gateway.domain.rollup_ranges import Step

if TYPE_CHECKING:
    from admin_api.operations.usage.refusal_counts import RefusalReport

MISSING_CAUSE: Final = (
    "For admins, of code model_not_found: which it was, as of some seconds after the call. Its caller does not read "
    "it. Null for others, for other codes, and if the key may call the model after all"
)


class RefusalCountView(View):
    """How many calls were refused in one hour, of one key, model, limit and code. An id of 0: none."""

    hour: datetime = Field(description="Its start, in UTC")
    account_id: int
    account_name: str | None
    user_id: int = Field(description="0 for a team's service key")
    user_email: str | None
    api_key_id: int
    key_name: str | None
    key_last_four: str | None
    model_id: int = Field(description="0 if the model is not the key's, or was not read")
    model: str | None
    limit_id: int = Field(description="0 if no limit refused")
    code: str = Field(description="The error code that the callers read")
    count: int = Field(description="Refused calls")


class RefusalGroupView(View):
    """One group. `id` is null for refusals without one, `name` also for what was deleted."""

    id: str | None
    name: str | None = Field(description="As people know it; null: it was deleted, or there is none")
    count: int = Field(description="Refused calls")
    points: list[int] = Field(description="In the order of the steps")


class RefusalReportView(RangeView):
    """Refused calls over time, of the largest groups and of all."""

    by: RefusalsBy
    step: Step
    steps: list[datetime] = Field(description="The beginning of each step; an hour counts where it begins, in UTC")
    groups: list[RefusalGroupView]
    number_of_groups: int
    others: int
    points: list[int]
    total: int

    @classmethod
    def of(cls, report: "RefusalReport") -> Self:
        """One answer."""
        names = ("since", "until", "time_zone", "by", "step", "number_of_groups", "others", "total")
        return cls(
            **{name: getattr(report, name) for name in names},
            steps=list(report.bounds[:-1]),
            groups=[RefusalGroupView.model_validate(group) for group in report.groups],
            points=list(report.points),
        )


class RefusedCallView(View):
    """One refused call, as its caller was answered."""

    request_id: UUID
    at: datetime
    account_id: int
    account_name: str | None
    user_id: int | None
    user_email: str | None
    api_key_id: int
    key_name: str | None
    key_last_four: str | None
    model_asked: str | None = Field(description="Null if the call was refused before its body was read")
    endpoint: str | None
    status: int = Field(description="HTTP status of the answer")
    code: str
    message: str
    param: str | None = Field(description="The field at fault; null: none")
    details: dict[str, Any] = Field(description="The limit in numbers, or status and reason, as in the answer")
    client_request_id: str | None
    missing_cause: Cause | None = Field(description=MISSING_CAUSE)
    missing_cause_text: str | None = Field(description="The same as a sentence")
