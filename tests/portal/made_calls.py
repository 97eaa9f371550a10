"""Calls that were forwarded, and calls that were refused, written as the gateway does."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from usage_rows import make_usage_row, new_id, write_rows

from gateway.storage.postgres import Pool
from portal.conftest import OPEN

NOW = datetime.now(UTC)
REFUSED = (
    "INSERT INTO refused_calls (request_id, at, account_id, user_id, api_key_id, model_asked, endpoint, status, code, "
    "message, details) VALUES ($1, $2, $3, $4, $5, $6, 'chat_completions', 429, $7, $8, $9)"
)
COUNTED = "INSERT INTO refusals (hour, account_id, user_id, api_key_id, model_id, limit_id, code, count)"
SPENT = (
    '{"limit": {"level": "user", "kind": "cost", "window": "month", "limit": null, "limit_usd": "25", '
    '"limit_nano_usd": 25000000000, "used": null, "used_nano_usd": 24999999999, "resets_at": "2026-12-01T00:00:00Z"}}'
)
MESSAGE = "The limit of 25 USD is used up. It resets at 2026-12-01T00:00:00Z."


async def refuse(pool: Pool, about: dict[str, Any], code: str = "insufficient_quota", message: str = MESSAGE) -> UUID:
    request_id = new_id(NOW)
    values = (about["account_id"], about["user_id"], about["api_key_id"])
    await pool.execute(REFUSED, request_id, NOW, *values, OPEN, code, message, SPENT)
    hour = NOW.replace(minute=0, second=0, microsecond=0)
    await pool.execute(
        f"{COUNTED} VALUES ($1, $2, $3, $4, $5, 0, $6, 1) ON CONFLICT ON CONSTRAINT refusals_pkey "
        "DO UPDATE SET count = refusals.count + 1", hour, *values, about["model_id"], code,
    )  # fmt: skip
    return request_id


async def make_calls(pool: Pool) -> tuple[UUID, UUID]:
    """The ids of a call that was forwarded and of one that was refused, of a key there is."""
    row = await pool.fetchrow("SELECT id, account_id, user_id FROM api_keys LIMIT 1")
    model_id = await pool.fetchval("SELECT id FROM models WHERE name = $1", OPEN)
    about = {"account_id": row["account_id"], "user_id": row["user_id"], "api_key_id": row["id"], "model_id": model_id}
    call = make_usage_row(NOW, **about)
    await write_rows(pool, [call])
    return call.request_id, await refuse(pool, about)
