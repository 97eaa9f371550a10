"""JSON of usage rows."""

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Self
from uuid import UUID

from pydantic import Field

from admin_api.operations.usage.calls import counted_of
from admin_api.schemas.shapes import View
from gateway.domain.calls import Ending, EstimatedWhy
from gateway.domain.limits import Kind, Level, amount_fields
from gateway.domain.money import usd_text
from gateway.domain.windows import WindowKind

if TYPE_CHECKING:
    from admin_api.operations.usage.calls import Call, UsagePage
    from admin_api.storage.usage.calls import UsageTotals
    from admin_api.storage.usage.names import KeyNames
    from gateway.domain.limits import Limit
    from gateway.domain.usage_rows import UsageRow


class UsageRowView(View):
    """One forwarded call. `cost` is what was charged; `own_cost` is by the model's price. Null: it had none.
    Names are those of today."""

    request_id: UUID
    started_at: datetime
    account_id: int
    account_name: str | None = None
    user_id: int | None
    user_email: str | None = None
    api_key_id: int
    key_name: str | None = None
    key_last_four: str | None = None
    subscription_id: int
    model_asked: str
    model_served: str | None
    endpoint: str
    streamed: bool
    status: int
    ending: Ending
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost_usd: str | None = None
    cost_nano_usd: int | None
    own_cost_usd: str | None = None
    own_cost_nano_usd: int | None
    litellm_cost_usd: str | None = None
    litellm_cost_nano_usd: int | None
    first_byte_ms: int | None
    total_ms: int
    estimated: bool
    estimated_why: EstimatedWhy | None
    error_code: str | None
    client_request_id: str | None

    @classmethod
    def of(cls, row: "UsageRow", key: "KeyNames | None") -> Self:
        """One row of the ledger, and the names of its key."""
        costs = {
            "cost_usd": row.cost_nano_usd,
            "own_cost_usd": row.own_cost_nano_usd,
            "litellm_cost_usd": row.litellm_cost_nano_usd,
        }
        reported = {name: None if nano is None else usd_text(nano) for name, nano in costs.items()}
        names = asdict(key) if key else {}
        return cls.model_validate(row).model_copy(update=reported | names)


class CallLimitView(View):
    """A limit of today that counts such calls, and what this call counted in it; money by `_usd` and `_nano_usd`, with
    null as the plain name."""

    id: int
    level: Level
    kind: Kind
    window: WindowKind | None
    shadow: bool
    limit: int | None
    limit_usd: str | None = None
    limit_nano_usd: int | None = None
    counted: int | None = Field(description="By this call; a concurrency limit counts it while it runs")
    counted_usd: str | None = Field(None, description="The same of a limit on cost")
    counted_nano_usd: int | None = Field(None, description="The same in nano-USD")

    @classmethod
    def of(cls, limit: "Limit", row: "UsageRow") -> Self:
        """One limit, and its part in a call."""
        names = ("id", "level", "kind", "window", "shadow")
        amounts = amount_fields("limit", limit.kind, limit.amount)
        counted = amount_fields("counted", limit.kind, counted_of(limit, row))
        return cls.model_validate({name: getattr(limit, name) for name in names} | amounts | counted)


class CallView(UsageRowView):
    """One forwarded call, what corrections of its price added, and the limits that count such calls today."""

    corrected_usd: str = Field(description="What corrections of the price add to cost")
    corrected_nano_usd: int = Field(description="What corrections of the price add to cost; 0: none")
    limits: list[CallLimitView]

    @classmethod
    def of_call(cls, call: "Call") -> Self:
        """One answer."""
        return cls(
            **UsageRowView.of(call.row, call.key).model_dump(),
            corrected_usd=usd_text(call.corrected_nano_usd),
            corrected_nano_usd=call.corrected_nano_usd,
            limits=[CallLimitView.of(limit, call.row) for limit in call.limits],
        )


class UsageTotalsView(View):
    """Sums over all pages."""

    calls: int
    estimated_calls: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int
    cost_usd: str
    cost_nano_usd: int

    @classmethod
    def of(cls, totals: "UsageTotals") -> Self:
        """The view of totals."""
        return cls(
            **{name: getattr(totals, name) for name in cls.model_fields if hasattr(totals, name)},
            total_tokens=totals.prompt_tokens + totals.completion_tokens,
            cost_usd=usd_text(totals.cost_nano_usd),
        )


class UsageView(View):
    """Rows, newest first, and the totals of all pages."""

    rows: list[UsageRowView]
    totals: UsageTotalsView
    next_cursor: str | None

    @classmethod
    def of(cls, usage: "UsagePage") -> Self:
        """One page."""
        rows = [UsageRowView.of(row, usage.keys.get(row.api_key_id)) for row in usage.rows]
        return cls(rows=rows, totals=UsageTotalsView.of(usage.totals), next_cursor=usage.next_cursor)
