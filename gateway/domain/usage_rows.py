"""One row of the ledger, as it goes through the journal into Postgres. Never prompts, answers or secrets.

Field names are the columns of usage_logs. UsageRow is a msgspec Struct: each call makes one, and making and encoding it
takes half of the time of a dataclass.
"""

from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from gateway.domain.calls import Ending, EstimatedWhy


class UsageRow(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """One forwarded call; see docs/ledger.md. Times are in ms where the name says so, money is in nano-USD.

    `cost_nano_usd` is what was charged: by the model's price (`own_cost_nano_usd`) or by LiteLLM's figure. A cost of
    None: the model had no price, or LiteLLM reported none. What is left out of the JSON is NULL in Postgres, so a
    default is None.
    """

    request_id: UUID
    started_at: datetime
    account_id: int
    user_id: int | None
    api_key_id: int
    subscription_id: int
    model_id: int
    model_asked: str
    model_served: str | None = None
    endpoint: str
    streamed: bool
    status: int
    ending: Ending
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost_nano_usd: int | None
    price_id: int | None
    own_cost_nano_usd: int | None = None
    litellm_cost_nano_usd: int | None = None
    counted_requests: int
    counted_tokens: int
    counted_nano_usd: int
    first_byte_ms: int | None = None
    total_ms: int
    estimated: bool
    estimated_why: EstimatedWhy | None = None
    error_code: str | None = None
    # The caller's own id of the request, by which they look for it.
    client_request_id: str | None = None
    # Of a response that is stored at the provider, for the table response_owners: the hash of account and id, and the
    # tokens of its turn; None: it was left before its end, and may be deleted only.
    stored_as: UUID | None = None
    stored_tokens: int | None = None
    # Hashes of the ids of its items that only their ids complete.
    stored_items: tuple[UUID, ...] | None = None

    @property
    def counted_rate_requests(self) -> int:
        """What a requests-per-minute limit is charged: nothing only where the call never left."""
        return 0 if self.ending == "unreachable" else 1


class ColumnFacts(NamedTuple):
    """One column of usage_logs. `exported_as` are the columns of a CSV or JSON export of calls that are made of it,
    `focus` its column in a FOCUS file, which has sums of days."""

    sql_type: str
    exported_as: tuple[str, ...] = ()
    focus: str | None = None


# All fields of UsageRow, in the order of exports. These name columns too, and cannot be derived from here:
# - a migration, which adds the column to usage_logs and to ledger_corrections, and grants INSERT of it there;
#   for an exported column also the view usage_entries;
# - gateway/record.py and gateway/storage/ledger/reaped_rows.py, which fill it;
# - UsageRowView in admin_api/schemas/usage.py, the JSON of an exported column;
# - where it is added up: SUMS in gateway/storage/ledger/rollups.py, the rollups' tables, the view usage_as_sums and the
#   function add_up_usage (a migration), UsageSums in admin_api/storage/usage/queries.py, UsageSumsView in
#   admin_api/schemas/usage_reports.py. A column with a FOCUS name is added up. `litemaas usage-store init` adds it to
#   ClickHouse.
# tests/contract/test_ledger_columns.py fails for each place that a column is missing from.
LEDGER_COLUMNS: Final[dict[str, ColumnFacts]] = {
    "request_id": ColumnFacts("uuid", ("request_id",)),
    "started_at": ColumnFacts("timestamptz", ("started_at",)),
    "account_id": ColumnFacts("bigint", ("account_id", "account")),
    "user_id": ColumnFacts("bigint", ("user_id", "user")),
    "api_key_id": ColumnFacts("bigint", ("api_key_id", "api_key")),
    "subscription_id": ColumnFacts("bigint"),
    "model_id": ColumnFacts("bigint", ("model", "provider")),
    "model_asked": ColumnFacts("text"),
    "model_served": ColumnFacts("text", ("model_served",)),
    "endpoint": ColumnFacts("text", ("endpoint",)),
    "streamed": ColumnFacts("boolean", ("streamed",)),
    "status": ColumnFacts("smallint", ("status",)),
    "ending": ColumnFacts("text", ("ending",)),
    "error_code": ColumnFacts("text", ("error_code",)),
    "prompt_tokens": ColumnFacts("bigint", ("prompt_tokens",), "x_PromptTokens"),
    "completion_tokens": ColumnFacts("bigint", ("completion_tokens",), "x_CompletionTokens"),
    "cached_tokens": ColumnFacts("bigint", ("cached_tokens",), "x_CachedTokens"),
    "cache_write_tokens": ColumnFacts("bigint", ("cache_write_tokens",), "x_CacheWriteTokens"),
    "reasoning_tokens": ColumnFacts("bigint", ("reasoning_tokens",), "x_ReasoningTokens"),
    "cost_nano_usd": ColumnFacts("bigint", ("cost_usd", "cost_nano_usd"), "x_CostNanoUsd"),
    "price_id": ColumnFacts("bigint"),
    "own_cost_nano_usd": ColumnFacts("bigint", ("own_cost_usd", "own_cost_nano_usd"), "x_OwnCostNanoUsd"),
    "litellm_cost_nano_usd": ColumnFacts(
        "bigint", ("litellm_cost_usd", "litellm_cost_nano_usd"), "x_LiteLLMCostNanoUsd"
    ),
    "counted_requests": ColumnFacts("smallint"),
    "counted_tokens": ColumnFacts("bigint"),
    "counted_nano_usd": ColumnFacts("bigint"),
    "first_byte_ms": ColumnFacts("integer", ("first_byte_ms",)),
    "total_ms": ColumnFacts("integer", ("total_ms",)),
    "estimated": ColumnFacts("boolean", ("estimated",)),
    "estimated_why": ColumnFacts("text", ("estimated_why",)),
    "client_request_id": ColumnFacts("text", ("client_request_id",)),
}
# Fields of UsageRow that are written into another table: name and SQL type.
STORED_RESPONSE: Final = {"stored_as": "uuid", "stored_tokens": "integer", "stored_items": "uuid[]"}
EXPORTED_COLUMNS: Final = tuple(name for name, facts in LEDGER_COLUMNS.items() if facts.exported_as)
