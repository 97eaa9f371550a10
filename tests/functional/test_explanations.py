"""`GET /limits/explain` agrees with the gateway: the same call is explained and made."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from callers import Caller, MakeCaller
from factories import ADMIN
from gateways import Backends, wait_until

from admin_api.operations import subscriptions
from admin_api.operations.keys import keys
from admin_api.operations.limits import explain
from admin_api.operations.models.price_input import PriceInput
from admin_api.operations.models.prices import set_price
from admin_api.operations.people import users
from admin_api.storage import prices
from gateway.domain.limits import MAX_AMOUNT
from gateway.domain.prices import Price

Arrange = Callable[[Caller], Awaitable[object]]
SOON = timedelta(seconds=1)


async def nothing(caller: Caller) -> None:
    """An ordinary call."""


async def revoke(caller: Caller) -> None:
    await keys.revoke_key(caller.pool, ADMIN, caller.key_id)


async def expire_key(caller: Caller) -> None:
    await caller.pool.execute("UPDATE api_keys SET expires_at = now() WHERE id = $1", caller.key_id)


async def deactivate(caller: Caller) -> None:
    await users.update_user(caller.pool, ADMIN, caller.email, status="deactivated")


async def suspend_account(caller: Caller) -> None:
    await caller.pool.execute("UPDATE accounts SET status = 'suspended' WHERE id = $1", caller.account_id)


async def suspend(caller: Caller) -> None:
    (row,) = (await subscriptions.list_subscriptions(caller.pool, ADMIN, account=caller.account_id)).rows
    await subscriptions.change_subscription(caller.pool, ADMIN, row.id, "suspend", reason="misuse")


async def end_subscription(caller: Caller) -> None:
    """Sets an end in the past; the scheduler has not changed the state yet."""
    await caller.pool.execute("UPDATE subscriptions SET expires_at = now() WHERE account_id = $1", caller.account_id)


async def spend(caller: Caller) -> None:
    await caller.limit("cost", 0, window="month")


async def spend_shadow(caller: Caller) -> None:
    await caller.limit("cost", 0, window="month", shadow=True)


async def stop_requests(caller: Caller) -> None:
    await caller.limit("rpm", 0)


async def stop_the_model(caller: Caller) -> None:
    await caller.limit("requests", 0, window="lifetime", level="key_model", model="demo-chat")


async def stop_large_calls(caller: Caller) -> None:
    await caller.limit("tpm", 1)


async def stop_all_at_once(caller: Caller) -> None:
    await caller.limit("concurrency", 0)


async def lift_for_a_while(caller: Caller) -> None:
    await caller.limit("requests", 0, window="day")
    await caller.limit("requests", 5, window="day", expires_at=datetime.now(UTC) + timedelta(hours=1))


async def lower_for_a_while(caller: Caller) -> None:
    await caller.limit("requests", 5, window="day")
    await caller.limit("requests", 0, window="day", expires_at=datetime.now(UTC) + timedelta(hours=1))


CASES: dict[str, tuple[Arrange, str | None]] = {
    "nothing": (nothing, None),
    "revoke": (revoke, "invalid_api_key"),
    "expire_key": (expire_key, "api_key_expired"),
    "deactivate": (deactivate, "account_suspended"),
    "suspend_account": (suspend_account, "account_suspended"),
    "suspend": (suspend, "subscription_suspended"),
    "end_subscription": (end_subscription, "model_not_found"),
    "spend": (spend, "insufficient_quota"),
    "spend_shadow": (spend_shadow, None),
    "stop_requests": (stop_requests, "insufficient_quota"),
    "stop_the_model": (stop_the_model, "insufficient_quota"),
    "stop_large_calls": (stop_large_calls, "request_exceeds_limit"),
    "stop_all_at_once": (stop_all_at_once, "insufficient_quota"),
    "lift_for_a_while": (lift_for_a_while, None),
    "lower_for_a_while": (lower_for_a_while, "insufficient_quota"),
}


async def codes(caller: Caller, backends: Backends, model: str) -> tuple[str | None, str | None]:
    """(code of the explanation, code of the call); None: admitted."""
    async with explain.open_counters(backends.valkey.url()) as counters:
        call = explain.CallInput(model=model, tokens=100)
        reported = await explain.explain_limits(caller.pool, counters, ADMIN, key_id=caller.key_id, call=call)
    response = await caller.chat("Hello [tokens=100]", model=model)
    return (None if reported.allowed else reported.code), (None if response.status == 200 else response.code)


@pytest.mark.parametrize("name", CASES)
async def test_the_explanation_matches_the_actual_call(make: MakeCaller, backends: Backends, name: str) -> None:
    arrange, code = CASES[name]
    caller = await make()

    await arrange(caller)

    async def gateway_has_heard() -> bool:
        return (await codes(caller, backends, "demo-chat"))[1] == code

    await wait_until(gateway_has_heard, f"{code} from the gateway")
    assert await codes(caller, backends, "demo-chat") == (code, code)


@pytest.mark.parametrize("shadow", [False, True])
@pytest.mark.parametrize("priced", [False, True])
async def test_a_cost_limit_needs_a_price_that_can_be_charged(
    make: MakeCaller, backends: Backends, shadow: bool, priced: bool
) -> None:
    """A price may have only a unit that is part of another one: then no call can be charged."""
    model = "demo-unpriced"
    caller = await make(model)
    await caller.limit("cost", 10**9, window="month", shadow=shadow)
    if priced:
        async with caller.pool.acquire() as connection:
            model_id = await connection.fetchval("SELECT id FROM models WHERE name = $1", model)
            price = Price(id=0, cached_input=Decimal("0.000001"))
            await prices.insert_price(connection, model_id, source="litellm", price=price)
    expected = None if shadow else "model_has_no_price"

    try:
        assert await codes(caller, backends, model) == (expected, expected)
    finally:
        await backends.database.execute_as_owner(
            "DELETE FROM model_prices p USING models m WHERE m.id = p.model_id AND m.name = $1", model
        )


async def test_an_expired_boost_is_expired_for_explanation_and_call(make: MakeCaller, backends: Backends) -> None:
    caller = await make()
    await caller.limit("requests", 0, window="day")
    await caller.limit("requests", 5, window="day", expires_at=datetime.now(UTC) + SOON)

    async def both_refuse() -> bool:
        return await codes(caller, backends, "demo-chat") == ("insufficient_quota", "insufficient_quota")

    assert await codes(caller, backends, "demo-chat") == (None, None)
    await wait_until(both_refuse, "the permanent limit again")


@pytest.mark.parametrize("amount", [10**9, MAX_AMOUNT])
async def test_a_call_whose_cost_exceeds_the_counter_range_is_refused(
    make: MakeCaller, backends: Backends, amount: int
) -> None:
    """A mistyped price: the cost exceeds the range of counters and limits."""
    model, prompt = "demo-unpriced", "word " * 40_000
    caller = await make(model)
    await caller.remove_subscription_limits()
    await caller.limit("cost", amount, window="month")
    dear = {"input": Decimal(1_000_000), "output": Decimal(0)}
    await set_price(caller.pool, ADMIN, model, PriceInput(units=dear, confirmed=True))
    try:
        async with explain.open_counters(backends.valkey.url()) as counters:
            explanations = [
                await explain.explain_limits(
                    caller.pool,
                    counters,
                    ADMIN,
                    key_id=caller.key_id,
                    call=explain.CallInput(model=model, tokens=tokens),
                )
                for tokens in (10_000, 10**9, explain.MAX_TOKENS)
            ]
        response = await caller.chat(prompt, model=model)
    finally:
        await backends.database.execute_as_owner(
            "DELETE FROM model_prices p USING models m WHERE m.id = p.model_id AND m.name = $1", model
        )

    assert [one.code for one in explanations] == ["request_exceeds_limit"] * 3
    assert (response.status, response.code) == (400, "request_exceeds_limit")
