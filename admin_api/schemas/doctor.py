"""JSON of the checks of a deployment."""

from collections.abc import Sequence
from typing import Self

from pydantic import Field

from admin_api.operations.doctor.findings import Finding, Status
from admin_api.schemas.shapes import View


class FindingView(View):
    """What a check found."""

    check: str
    status: Status = Field(description="problem: it does not work, or is not safe; warning: not for ever, or for all")
    text: str
    cure: str | None = Field(description="What to do; null where nothing is to be done")


class DoctorView(View):
    """All findings, problems first."""

    problems: int
    warnings: int
    findings: list[FindingView]

    @classmethod
    def of(cls, findings: Sequence[Finding]) -> Self:
        """The view of them."""
        return cls(
            problems=sum(one.status == "problem" for one in findings),
            warnings=sum(one.status == "warning" for one in findings),
            findings=[FindingView.model_validate(one) for one in findings],
        )
