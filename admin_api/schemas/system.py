"""JSON of the state of the whole system."""

from datetime import datetime
from typing import TYPE_CHECKING, Self
from uuid import UUID

from pydantic import Field

from admin_api.schemas.models import LiteLLMHealthView
from admin_api.schemas.shapes import View
from admin_api.schemas.usage_reports import UsageSumsView
from admin_api.storage.deliveries import Channel
from admin_api.storage.usage.lookups import MatchKind
from gateway.domain.limits import Kind
from gateway.domain.windows import WindowKind

if TYPE_CHECKING:
    from admin_api.operations.maintenance.system import SystemState


class WaitingView(View):
    """What waits for an admin."""

    requests: int = Field(description="Subscriptions that wait for approval")
    oldest_request_at: datetime | None = Field(description="Since when the oldest of them waits; null: none does")
    limit_requests: int = Field(description="Requests for more of a limit that wait for an answer")
    join_requests: int = Field(description="Requests to join a team that wait for one of its owners or an admin")
    unseen_alerts: int = Field(description="Alerts that nobody has acknowledged, of limits still near their end")
    hidden_models: int = Field(description="Models that LiteLLM has and users do not see")
    unpriced_models: int = Field(description="Calls of accounts with a budget are refused for them")
    active_users: int = Field(description="Users who are not deactivated")


class WaitingDeliveriesView(View):
    """Messages of one channel that wait, and those that failed for good."""

    channel: Channel
    waiting: int = Field(description="For their first or next try")
    failed: int = Field(description="Given up after the last try")
    oldest_at: datetime | None = Field(description="Since when the oldest waits that is not held back; null: none")


class RefusalsOfCodeView(View):
    """How many calls were refused with an error code."""

    code: str = Field(description="Error code of the answer")
    calls: int


class TightLimitView(View):
    """A limit of a team, and how much of it is used: 1.0 is all."""

    account_id: int
    team: str
    kind: Kind
    window: WindowKind
    share: float = Field(description="Of the limit, in the present window: 1.0 is all")


class SystemView(View):
    """The state of the whole system. `today` is the day in `time_zone`, `hour` the last one; `refusals` are those of
    the last 24 hours, the most frequent first; `tightest` the limits of teams of which the most is used."""

    waiting: WaitingView = Field(description="What waits for an admin")
    deliveries: list[WaitingDeliveriesView] = Field(description="Messages of each channel")
    time_zone: str
    today: UsageSumsView = Field(description="Calls of all accounts on this day")
    hour: UsageSumsView = Field(description="Calls of all accounts in the last hour, extended to quarters of an hour")
    failed_today: int = Field(description="Calls of today that failed, without those whose caller disconnected")
    refusals: list[RefusalsOfCodeView] = Field(description="The most frequent codes of the last 24 hours")
    tightest: list[TightLimitView] = Field(description="Limits of teams of which the most is used")
    litellm: LiteLLMHealthView = Field(description="Whether each address of LiteLLM answers")
    sync_problem: str | None = Field(description="What was wrong with the last sync of models; null: nothing")
    redis: bool | None = Field(description="Whether Redis answers; null: not set up here")
    workers: int | None = Field(description="Workers of gateways that live; null: Redis cannot be asked")
    calls_in_flight: int | None = Field(
        description="Calls that they forward, at most two seconds ago; null: Redis cannot be asked"
    )

    @classmethod
    def of(cls, state: "SystemState") -> Self:
        """One state."""
        return cls(
            waiting=WaitingView.model_validate(state.waiting),
            deliveries=[WaitingDeliveriesView.model_validate(one) for one in state.deliveries],
            time_zone=state.time_zone,
            today=UsageSumsView.of(state.today),
            hour=UsageSumsView.of(state.hour),
            failed_today=state.failed_today,
            refusals=[RefusalsOfCodeView.model_validate(one) for one in state.refusals],
            tightest=[TightLimitView.model_validate(one) for one in state.tightest],
            litellm=LiteLLMHealthView.model_validate(state.litellm),
            sync_problem=state.sync_problem,
            redis=state.redis,
            workers=state.workers,
            calls_in_flight=state.calls_in_flight,
        )


class MatchView(View):
    """A call, a refused call or a change that has an id."""

    kind: MatchKind = Field(description="call: in the ledger; refusal: a refused call; change: a row of the audit log")
    request_id: UUID = Field(description="x-request-id of its answer; of a call also LiteLLM's id")
    at: datetime
    about: str = Field(description="The model that a call asked for, the code of a refusal, or what a change did")


class MatchesView(View):
    """All that has an id."""

    rows: list[MatchView] = Field(description="Newest first")
