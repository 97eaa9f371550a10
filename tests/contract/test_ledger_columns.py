"""A column that is added to gateway/domain/usage_rows.py is filled, stored, shown and added up where it has to be."""

from collections.abc import Sequence
from dataclasses import fields

import asyncpg
import pytest
from conftest import Database

from admin_api.schemas.focus import FOCUS_COLUMNS
from admin_api.schemas.usage import UsageRowView
from admin_api.schemas.usage_files import CALL_COLUMNS, DAY_COLUMNS
from admin_api.schemas.usage_reports import UsageSumsView
from admin_api.storage.usage.queries import UsageSums
from gateway.domain.usage_rows import EXPORTED_COLUMNS, LEDGER_COLUMNS, STORED_RESPONSE, UsageRow
from gateway.storage.ledger.rollups import ROLLUPS, SUMS
from tests.contract.places import Places, read_columns

# What files of usage had in their first release. Columns may come in between; none may go, be renamed or change places.
CALLS = [
    "request_id", "started_at", "account_id", "account", "user_id", "user", "api_key_id", "api_key", "model",
    "provider", "model_served", "endpoint", "streamed", "status", "ending", "error_code", "prompt_tokens",
    "completion_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens", "cost_usd", "cost_nano_usd",
    "litellm_cost_usd", "litellm_cost_nano_usd", "first_byte_ms", "total_ms", "estimated", "estimated_why",
]  # fmt: skip
DAYS = [
    "day", "account_id", "account", "user_id", "user", "api_key_id", "api_key", "model", "provider", "ending",
    "error_class", "calls", "completed_calls", "hung_up_calls", "estimated_calls", "unpriced_calls", "prompt_tokens",
    "completion_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens", "timed_calls", "total_ms",
    "first_byte_calls", "first_byte_ms", "cost_usd", "cost_nano_usd",
]  # fmt: skip
FOCUS = [
    "SubAccountName", "Tags", "x_Calls", "x_PromptTokens", "x_CompletionTokens", "x_CachedTokens", "x_CacheWriteTokens",
    "x_ReasoningTokens", "x_CostNanoUsd", "x_EstimatedCalls", "x_UnpricedCalls",
]  # fmt: skip
ADD_UP = "SELECT prosrc FROM pg_proc WHERE proname = 'add_up_usage'"


async def test_every_column_is_named_in_all_its_places(database: Database) -> None:
    places = Places("columns of the ledger")
    places.need_same(
        UsageRow.__struct_fields__, [*LEDGER_COLUMNS, *STORED_RESPONSE], "gateway/domain/usage_rows.py, UsageRow"
    )
    for name in LEDGER_COLUMNS:
        for path in ("gateway/record.py", "gateway/storage/ledger/reaped_rows.py"):
            places.need_words(path, name, rf"\b{name}=")
    for name in EXPORTED_COLUMNS:
        # The JSON of a call has the name that was asked for, not the model's id.
        shown = "model_asked" if name == "model_id" else name
        places.need(shown in UsageRowView.model_fields, f"admin_api/schemas/usage.py, UsageRowView.{shown}", name)
    connection = await asyncpg.connect(database.owner_url)
    await check_schema(places, connection)
    await check_sums(places, connection)
    await connection.close()
    places.report()


async def check_schema(places: Places, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    columns = await read_columns(connection, "usage_logs")
    places.need_same(columns, LEDGER_COLUMNS, "a migration: usage_logs")
    corrections = await read_columns(connection, "ledger_corrections")
    for name, found in columns.items():
        places.need(corrections.get(name) == found, "a migration: ledger_corrections", name)
    entries = await read_columns(connection, "usage_entries")
    for name in EXPORTED_COLUMNS:
        places.need(name in entries, "a migration: view usage_entries", name)
    types = {"timestamp with time zone": "timestamptz"}
    for name, facts in LEDGER_COLUMNS.items():
        found = columns.get(name, facts.sql_type)
        is_same = types.get(found, found) == facts.sql_type
        places.need(is_same, f"gateway/domain/usage_rows.py, sql_type (the column is {found})", name)


async def check_sums(places: Places, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    added = await connection.fetchval(ADD_UP)
    view = await read_columns(connection, "usage_as_sums")
    tables = {rollup.table: await read_columns(connection, rollup.table) for rollup in ROLLUPS}
    of_columns = [name for name, facts in LEDGER_COLUMNS.items() if facts.focus is not None]
    for name in dict.fromkeys((*SUMS, *of_columns)):
        places.need(name in added, "a migration: function add_up_usage", name)
        places.need(name in view, "a migration: view usage_as_sums", name)
        for table, columns in tables.items():
            places.need(name in columns, f"a migration: {table}", name)
    shown = {field.name for field in fields(UsageSums)}
    for name in of_columns:
        places.need(name in SUMS, "gateway/storage/ledger/rollups.py, SUMS", name)
        places.need(name in shown, "admin_api/storage/usage/queries.py, UsageSums", name)
        is_shown = name in UsageSumsView.model_fields
        places.need(is_shown, "admin_api/schemas/usage_reports.py, UsageSumsView", name)


@pytest.mark.parametrize(("columns", "published"), [(CALL_COLUMNS, CALLS), (DAY_COLUMNS, DAYS), (FOCUS_COLUMNS, FOCUS)])
def test_files_keep_their_columns_and_their_order(columns: Sequence[str], published: Sequence[str]) -> None:
    assert [column for column in columns if column in published] == list(published)
