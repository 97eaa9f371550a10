"""JSON of requests: for more of a limit, and to join a team."""

from datetime import datetime
from typing import TYPE_CHECKING, Self

from admin_api.schemas.limits import LimitView
from admin_api.schemas.shapes import View
from admin_api.storage.limit_requests import RequestStatus
from gateway.domain.limits import amount_fields

if TYPE_CHECKING:
    from admin_api.operations.limits.requests import RequestedLimit


class LimitRequestView(View):
    """A request for more of a limit, and the limit as it is now. `requested` is a count, `requested_usd` and
    `requested_nano_usd` are money; `granted` what an admin gave, null unless they approved it, with their `answer`."""

    id: int
    limit: LimitView
    user_id: int
    user_email: str
    requested: int | None
    requested_usd: str | None = None
    requested_nano_usd: int | None = None
    reason: str
    status: RequestStatus
    granted: int | None
    granted_usd: str | None = None
    granted_nano_usd: int | None = None
    answer: str | None
    decided_by: str | None
    decided_at: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, one: "RequestedLimit") -> Self:
        """One request."""
        request, kind = one.request, one.limit.kind
        names = ("id", "user_id", "user_email", "reason", "status", "answer", "decided_by", "decided_at", "created_at")
        amounts = amount_fields("requested", kind, request.amount) | amount_fields("granted", kind, request.granted)
        return cls.model_validate(
            {name: getattr(request, name) for name in names} | {"limit": LimitView.of(one.limit)} | amounts
        )


class JoinRequestView(View):
    """An open request of a user to become a member of a team."""

    id: int
    team_id: int
    team: str
    user_id: int
    email: str
    name: str
    reason: str
    created_at: datetime
