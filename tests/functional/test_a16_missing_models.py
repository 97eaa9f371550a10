"""Admins look up which model_not_found it was; its callers read one sentence for all (A2, A16)."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from callers import Caller, MakeCaller
from factories import ADMIN, make_model, make_subscription, owner_of
from gateways import Backends, GatewayThread, wait_until

from admin_api.operations import subscriptions
from admin_api.operations.limits import explain
from admin_api.operations.people import users
from admin_api.operations.usage import refusals
from admin_api.schemas.explanations import ExplanationView
from admin_api.schemas.refusals import RefusedCallView
from gateway.domain.missing_models import CAUSES, say
from gateway.storage.postgres import Pool

# Makes a model and whatever there is about it; returns the name that the caller asks for.
Arrange = Callable[[Caller, str], Awaitable[str]]


async def subscribe(caller: Caller, name: str) -> int:
    user = await users.find_user(caller.pool, ADMIN, caller.email)
    return (await make_subscription(caller.pool, user, await make_model(caller.pool, name))).id


async def unknown(_: Caller, name: str) -> str:
    return name


async def not_subscribed(caller: Caller, name: str) -> str:
    return await make_model(caller.pool, name)


async def hidden(caller: Caller, name: str) -> str:
    await make_model(caller.pool, name)
    await caller.pool.execute("UPDATE models SET hidden = true, restricted = true WHERE name = $1", name)
    return name


async def unlisted(caller: Caller, name: str) -> str:
    await make_model(caller.pool, name)
    await caller.pool.execute("UPDATE models SET listed = false, enabled = false WHERE name = $1", name)
    return name


async def disabled(caller: Caller, name: str) -> str:
    await make_model(caller.pool, name)
    await caller.pool.execute("UPDATE models SET enabled = false WHERE name = $1", name)
    return name


async def renamed(caller: Caller, name: str) -> str:
    await make_model(caller.pool, f"{name}-of-today")
    sql = "UPDATE models SET former_names = ARRAY[$1::text] WHERE name = $2"
    await caller.pool.execute(sql, name, f"{name}-of-today")
    return name


async def not_on_key(caller: Caller, name: str) -> str:
    await subscribe(caller, name)
    return name


def with_status(status: str) -> Arrange:
    async def arrange(caller: Caller, name: str) -> str:
        number = await subscribe(caller, name)
        await caller.pool.execute("UPDATE subscriptions SET status = $2 WHERE id = $1", number, status)
        return name

    return arrange


CASES: dict[str, Arrange] = {
    "unknown": unknown, "not_subscribed": not_subscribed, "hidden": hidden, "unlisted": unlisted,
    "disabled": disabled, "renamed": renamed, "not_on_key": not_on_key,
    **{status: with_status(status) for status in ("pending", "denied", "cancelled", "expired", "suspended")},
}  # fmt: skip


async def look_up(caller: Caller, request_id: str) -> refusals.RefusedCall:
    async def is_kept() -> bool:
        kept = "SELECT count(*) FROM refused_calls WHERE request_id = $1::text::uuid"
        return bool(await caller.pool.fetchval(kept, request_id))

    await wait_until(is_kept, "the refused call to be written")
    return await refusals.find_refused_call(caller.pool, ADMIN, request_id)


async def explained(caller: Caller, backends: Backends, model: str, actor: Any = ADMIN) -> explain.Explanation:
    async with explain.open_counters(backends.valkey.url()) as counters:
        call = explain.CallInput(model=model)
        return await explain.explain_limits(caller.pool, counters, actor, key_id=caller.key_id, call=call)


def test_a16_every_cause_has_its_case() -> None:
    assert set(CASES) == set(CAUSES)


@pytest.mark.parametrize("cause", CASES)
async def test_a16_admins_read_which_it_was_and_callers_one_sentence(
    make: MakeCaller, gateway: GatewayThread, backends: Backends, cause: str
) -> None:
    caller = await make()
    name = await CASES[cause](caller, f"a16-{cause}")
    await gateway.wait_for_changes(caller.pool)

    refused = await caller.chat(model=name)
    found = await look_up(caller, refused.request_id)
    now = await explained(caller, backends, name)

    assert (refused.status, refused.code) == (404, "model_not_found")
    sentence = f"The model '{name}' does not exist or this API key may not use it."
    assert refused.error["message"] == found.message == now.message == sentence
    assert (found.details, now.details) == ({}, {})
    assert (found.missing_cause, now.missing_cause) == (cause, cause)
    assert found.missing_cause_text == now.missing_cause_text
    assert (
        RefusedCallView.model_validate(found).missing_cause_text
        == ExplanationView.model_validate(now).missing_cause_text
    )
    is_renamed = f"The model is called '{name}-of-today' now."
    assert (found.missing_cause_text == is_renamed) == (cause == "renamed")


async def test_a16_what_was_is_kept_whatever_becomes_of_it(
    make: MakeCaller, gateway: GatewayThread, backends: Backends
) -> None:
    caller = await make()
    refused = await caller.chat(model="a16-later")
    assert (await look_up(caller, refused.request_id)).missing_cause == "unknown"

    await make_model(caller.pool, "a16-later")

    assert (await look_up(caller, refused.request_id)).missing_cause == "unknown"
    assert (await explained(caller, backends, "a16-later")).missing_cause == "not_subscribed"


async def test_a16_the_owner_of_the_key_does_not_read_it(make: MakeCaller, backends: Backends) -> None:
    caller = await make()
    owner = owner_of(await users.find_user(caller.pool, ADMIN, caller.email))
    name = await hidden(caller, "a16-secret")
    refused = await caller.chat(model=name)
    assert (await look_up(caller, refused.request_id)).missing_cause == "hidden"

    theirs = await refusals.find_refused_call(caller.pool, owner, refused.request_id)
    now = await explained(caller, backends, name, owner)

    assert (theirs.code, now.code) == ("model_not_found", "model_not_found")
    assert (theirs.missing_cause, theirs.missing_cause_text, theirs.renamed_to) == (None, None, None)
    assert (now.missing_cause, now.missing_cause_text) == (None, None)


async def test_a16_a_model_of_the_key_has_the_cause_that_its_caller_read(
    make: MakeCaller, pool: Pool, gateway: GatewayThread, backends: Backends
) -> None:
    caller = await make(await make_model(pool, "a16-mine"))
    (row,) = (await subscriptions.list_subscriptions(pool, ADMIN, account=caller.account_id)).rows
    await subscriptions.change_subscription(pool, ADMIN, row.id, "cancel")
    await gateway.wait_for_changes(pool)

    refused = await caller.chat(model="a16-mine")

    assert refused.error["message"] == "The subscription to 'a16-mine' is cancelled."
    assert (await look_up(caller, refused.request_id)).missing_cause == "cancelled"
    assert (await explained(caller, backends, "a16-mine")).missing_cause == "cancelled"


async def test_a16_other_codes_have_no_cause(make: MakeCaller, backends: Backends) -> None:
    caller = await make()
    await caller.limit("requests", 0, window="day")

    refused = await caller.chat()

    assert (await look_up(caller, refused.request_id)).missing_cause is None
    assert (await explained(caller, backends, "demo-chat")).missing_cause is None
    assert (await explained(caller, backends, "a16-nothing")).missing_cause == "unknown"
    assert say("renamed", renamed_to=None) == "The model has another name now."
