"""JSON of usage rows."""

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Self
from uuid import UUID

from admin_api.schemas.shapes import View
from gateway.domain.calls import Ending, EstimatedWhy
from gateway.domain.money import usd_text

if TYPE_CHECKING:
    from admin_api.operations.usage.calls import UsagePage
    from admin_api.storage.usage.calls import UsageTotals
    from admin_api.storage.usage.names import KeyNames
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
