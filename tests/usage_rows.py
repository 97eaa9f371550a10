"""Ledger rows for tests of sums: any row the schema accepts, at times the test chooses."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final
from uuid import UUID

import msgspec
from conftest import Database
from hypothesis import strategies as st

from gateway.domain.calls import ENDINGS
from gateway.domain.ids import uuid7
from gateway.domain.usage_rows import UsageRow
from gateway.storage.ledger.rollups import ROLLUPS
from gateway.storage.ledger.rows import Written, write_lines
from gateway.storage.postgres import Pool

# Within the partitions of this month and the one before.
TODAY: Final = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
EARLIEST: Final = (TODAY.replace(day=1) - timedelta(days=1)).replace(day=1)
_numbers = count(1)


async def empty_ledger(database: Database) -> None:
    """For tests that write rows repeatedly. As the owner: the app's role may not delete rows."""
    tables = ("usage_logs", *(rollup.table for rollup in ROLLUPS))
    await database.execute_as_owner("; ".join(f"DELETE FROM {table}" for table in tables))


async def write_rows(pool: Pool, rows: Sequence[UsageRow]) -> Written:
    """Writes the rows as the ledger writer does from the journal."""
    return await write_lines(pool, [msgspec.json.encode(row) for row in rows])


def new_id(moment: datetime) -> UUID:
    """A new request id of a call at that moment, rounded as Postgres does."""
    microseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return uuid7((microseconds + 500) // 1000, next(_numbers).to_bytes(10, "big"))


def make_usage_row(moment: datetime, **changes: Any) -> UsageRow:
    """A completed call of 17 tokens, with these changes."""
    about: dict[str, Any] = {
        "request_id": new_id(moment), "started_at": moment, "account_id": 1, "user_id": 1, "api_key_id": 1,
        "subscription_id": 1, "model_id": 1, "model_asked": "small", "model_served": None,
        "endpoint": "chat_completions", "streamed": True, "status": 200, "ending": "completed", "prompt_tokens": 11,
        "completion_tokens": 6, "cached_tokens": 0, "cache_write_tokens": 0, "reasoning_tokens": 0,
        "cost_nano_usd": 23_000, "price_id": None, "litellm_cost_nano_usd": None, "counted_requests": 1,
        "counted_tokens": 17, "counted_nano_usd": 23_000, "first_byte_ms": 100, "total_ms": 400, "estimated": False,
        "estimated_why": None, "error_code": None,
    }  # fmt: skip
    return UsageRow(**(about | changes))


def moments() -> st.SearchStrategy[datetime]:
    """Times before the end of today; often close to the bounds of quarter hours, days and months."""
    bounds = st.integers(0, 9 * 96 - 1).map(lambda n: TODAY - timedelta(days=8) + timedelta(minutes=15 * n))
    near = st.builds(lambda bound, ms: bound + timedelta(milliseconds=ms), bounds, st.integers(-2, 2))
    latest = TODAY + timedelta(days=1)
    anywhere = st.integers(0, int((latest - EARLIEST).total_seconds() * 1000) - 1).map(
        lambda ms: EARLIEST + timedelta(milliseconds=ms)
    )
    return near | anywhere


@st.composite
def usage_rows(draw: st.DrawFn, *, reaped: bool = False) -> UsageRow:
    """A row of one of few accounts, users, keys and models, so that sums have several calls."""
    tokens = st.integers(0, 5000)
    latencies = st.integers(0, 50) | st.integers(0, 600_000)
    key = draw(st.integers(1, 6))
    account = 1 + key % 2
    why = "reaped" if reaped else draw(st.sampled_from([None, None, "no_usage", "hung_up", "cut_off"]))
    ending = "upstream_error" if reaped else draw(st.sampled_from([*ENDINGS, "completed", "completed"]))
    first = draw(st.none() | latencies)
    prompt, completion = draw(tokens), draw(tokens)
    cost = draw(st.none() | st.integers(0, 10**10))
    return make_usage_row(
        draw(moments()),
        account_id=account,
        user_id=None if key == 6 else 1 + key % 3,
        api_key_id=key,
        model_id=draw(st.integers(1, 3)),
        status=draw(st.sampled_from([200, 400, 429, 502])),
        ending=ending,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=draw(st.integers(0, prompt)),
        cache_write_tokens=draw(st.integers(0, 9)),
        reasoning_tokens=draw(st.integers(0, completion)),
        cost_nano_usd=cost,
        own_cost_nano_usd=draw(st.none() | st.integers(0, 10**10)),
        litellm_cost_nano_usd=draw(st.none() | st.integers(0, 10**10)),
        counted_requests=draw(st.integers(0, 1)),
        counted_tokens=prompt + completion,
        counted_nano_usd=cost or 0,
        first_byte_ms=first,
        total_ms=0 if reaped else (first or 0) + draw(latencies),
        estimated=why is not None,
        estimated_why=why,
        error_code=draw(st.sampled_from([None, "shutting_down", "upstream_error"])),
    )
