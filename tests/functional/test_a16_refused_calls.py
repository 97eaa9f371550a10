"""A refused call can be looked up by its request id, and refusals are counted by the hour (A16)."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from callers import Caller, MakeCaller
from factories import ADMIN, make_user, owner_of
from gateways import Backends, GatewayThread, wait_until

from admin_api.operations.keys import keys
from admin_api.operations.limits import explain
from admin_api.operations.people import users
from admin_api.operations.usage import refusals
from admin_api.operations.usage.scope import UsageFilter
from gateway.domain.errors import GatewayError
from gateway.domain.grants import KeyRecord
from gateway.storage.key_records import find_key_record_by_id
from gateway.storage.postgres import Pool
from gateway.storage.refused_calls import MAX_A_MINUTE, MAX_OF_ACCOUNT, RefusedCalls


async def look_up(caller: Caller, request_id: str) -> refusals.RefusedCall:
    async def is_kept() -> bool:
        kept = "SELECT count(*) FROM refused_calls WHERE request_id = $1::text::uuid"
        return bool(await caller.pool.fetchval(kept, request_id))

    await wait_until(is_kept, "the refused call to be written")
    return await refusals.find_refused_call(caller.pool, ADMIN, request_id)


async def counts(caller: Caller, number: int, **query: Any) -> list[tuple[str | None, str, int]]:
    async def are_written() -> bool:
        total = "SELECT coalesce(sum(count), 0) FROM refusals WHERE account_id = $1"
        return int(await caller.pool.fetchval(total, caller.account_id)) >= number

    await wait_until(are_written, f"{number} refusals")
    page = await refusals.list_refusals(caller.pool, ADMIN, UsageFilter(key=caller.key_id, **query))
    return [(row.model, row.code, row.count) for row in page.rows]


async def test_a16_a_refusal_by_a_limit_is_looked_up_as_the_caller_read_it(make: MakeCaller) -> None:
    caller = await make()
    await caller.limit("requests", 0, window="day")

    refused = await caller.chat(headers={"x-client-request-id": "mine-1"})
    found = await look_up(caller, refused.request_id)

    assert (found.code, found.status, found.message) == (refused.code, 429, refused.error["message"])
    assert found.details["limit"] == refused.error["limit"]
    assert (found.account_id, found.api_key_id, found.user_email) == (caller.account_id, caller.key_id, caller.email)
    assert (found.model_asked, found.endpoint, found.client_request_id) == ("demo-chat", "chat_completions", "mine-1")
    assert await counts(caller, 1) == [("demo-chat", "insufficient_quota", 1)]


async def test_a16_every_refusal_of_a_known_key_is_counted_and_kept(make: MakeCaller, gateway: GatewayThread) -> None:
    caller = await make()
    ids = [
        (await caller.chat(model="none")).request_id,
        (await caller.chat(max_tokens="many")).request_id,
        (await caller.chat(api_base="http://elsewhere")).request_id,
    ]
    await users.update_user(caller.pool, ADMIN, caller.email, status="deactivated", reason="left")
    await gateway.wait_for_changes(caller.pool)
    ids.append((await caller.chat()).request_id)
    ids.append((await caller.get("/v1/models")).request_id)
    found = [await look_up(caller, request_id) for request_id in ids]

    assert [one.code for one in found] == [
        "model_not_found", "invalid_request", "parameter_not_allowed", "account_suspended", "account_suspended",
    ]  # fmt: skip
    assert sorted(await counts(caller, 5), key=str) == [
        (None, "account_suspended", 2), (None, "invalid_request", 1), (None, "model_not_found", 1),
        (None, "parameter_not_allowed", 1),
    ]  # fmt: skip


async def test_a16_only_the_first_of_an_account_and_minute_are_kept_and_all_are_counted(make: MakeCaller) -> None:
    caller = await make()
    await caller.limit("requests", 0, window="day")

    await caller.chats(3 * MAX_OF_ACCOUNT)

    assert await counts(caller, 3 * MAX_OF_ACCOUNT) == [("demo-chat", "insufficient_quota", 3 * MAX_OF_ACCOUNT)]

    async def are_written() -> bool:
        kept = "SELECT count(*) FROM refused_calls WHERE account_id = $1"
        return bool(await caller.pool.fetchval(kept, caller.account_id) == MAX_OF_ACCOUNT)

    await wait_until(are_written, "the kept ones")


async def _record(caller: Caller) -> KeyRecord:
    record = await find_key_record_by_id(caller.pool, caller.key_id)
    assert record is not None
    return record


async def test_a16_a_flood_of_many_accounts_is_bounded_for_the_worker(make: MakeCaller) -> None:
    now = 0.0
    kept = RefusedCalls((await make()).pool, clock=lambda: now)

    assert sum(kept.has_room(account) for account in range(2 * MAX_A_MINUTE)) == MAX_A_MINUTE
    now = 61.0
    assert [kept.has_room(1) for _ in range(MAX_OF_ACCOUNT + 1)] == [True] * MAX_OF_ACCOUNT + [False]


async def test_a16_what_a_caller_writes_breaks_no_batch(make: MakeCaller) -> None:
    caller = await make()
    kept = RefusedCalls(caller.pool)
    record = await _record(caller)
    for number, text in enumerate(("\0", "\ud800", "é" * 5000, "'; DROP TABLE users; --"), 1):
        error = GatewayError("invalid_request", text, param=text, details={"said": text})
        kept.keep(UUID(int=number), record, error, model=text, endpoint=None, client_request_id=None)

    await kept.write()

    sql = "SELECT count(*) FROM refused_calls WHERE account_id = $1"
    assert await caller.pool.fetchval(sql, caller.account_id) == 4


async def test_a16_owners_look_up_their_own_refusals_only(make: MakeCaller) -> None:
    caller = await make()
    pool, owner = caller.pool, owner_of(await users.find_user(caller.pool, ADMIN, caller.email))
    stranger = owner_of(await make_user(pool))
    refused = await caller.chat(model="none")
    await look_up(caller, refused.request_id)

    assert (await refusals.find_refused_call(pool, owner, refused.request_id)).code == "model_not_found"
    with pytest.raises(GatewayError) as hidden:
        await refusals.find_refused_call(pool, stranger, refused.request_id)
    assert hidden.value.code == "not_found"
    await counts(caller, 1)
    assert [row.count for row in (await refusals.list_refusals(pool, owner, UsageFilter())).rows] == [1]
    assert (await refusals.list_refusals(pool, stranger, UsageFilter())).rows == []


async def test_a16_an_admitted_call_is_said_to_be_one(make: MakeCaller) -> None:
    caller = await make()
    answered = await caller.chat()

    async def is_written() -> bool:
        return bool(
            await caller.pool.fetchval("SELECT count(*) FROM usage_logs WHERE account_id = $1", caller.account_id)
        )

    await wait_until(is_written, "the row")
    with pytest.raises(GatewayError, match="was not refused: it was forwarded and is completed, with 200"):
        await refusals.find_refused_call(caller.pool, ADMIN, answered.request_id)


async def test_a16_pages_have_every_row_once_and_old_calls_are_deleted(pool: Pool, make: MakeCaller) -> None:
    caller = await make()
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    for hours in range(3):
        for code in ("insufficient_quota", "model_not_found"):
            await pool.execute(
                "INSERT INTO refusals VALUES ($1, $2, 0, $3, 0, 0, $4, 1)",
                hour - timedelta(hours=hours), caller.account_id, caller.key_id, code,
            )  # fmt: skip
    seen, cursor = [], None
    while True:
        page = await refusals.list_refusals(pool, ADMIN, UsageFilter(key=caller.key_id), limit=2, cursor=cursor)
        seen += [(row.hour, row.code) for row in page.rows]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 6
    assert [hour for hour, _ in seen] == sorted((hour for hour, _ in seen), reverse=True)

    refused = await caller.chat(model="none")
    await look_up(caller, refused.request_id)
    await pool.execute("UPDATE refused_calls SET at = at - interval '8 days'")
    await refusals.delete_old_refused_calls(pool)
    with pytest.raises(GatewayError, match="No refused call"):
        await refusals.find_refused_call(pool, ADMIN, refused.request_id)


async def test_a16_a_key_that_is_over_is_looked_up_as_well(
    make: MakeCaller, gateway: GatewayThread, backends: Backends
) -> None:
    caller = await make()
    await keys.revoke_key(caller.pool, ADMIN, caller.key_id)
    await gateway.wait_for_changes(caller.pool)
    refused = await caller.chat()

    found = await look_up(caller, refused.request_id)
    async with explain.open_counters(backends.valkey.url()) as counters:
        call = explain.CallInput(model="demo-chat")
        now = await explain.explain_limits(caller.pool, counters, ADMIN, key_id=caller.key_id, call=call)

    assert (found.code, found.message) == (now.code, now.message) == ("invalid_api_key", "This API key was revoked.")
