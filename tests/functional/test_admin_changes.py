"""Changes made in the admin API and CLI take effect in the gateway."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from callers import Caller, MakeCaller, Response
from factories import ADMIN, PEPPERS, make_team
from gateways import RedisState, wait_until

from admin_api.operations import subscriptions
from admin_api.operations.actors import Actor
from admin_api.operations.keys import changes, keys
from admin_api.operations.people import teams, users
from gateway.domain.errors import GatewayError


async def answers_soon(caller: Caller, is_it: Callable[[Response], bool]) -> None:
    """Waits for the expected response, which must then stay. Other tests check how soon a gateway applies a change."""

    async def now_it_is() -> bool:
        return is_it(await caller.chat("Hello [tokens=1]"))

    await wait_until(now_it_is, "another answer")
    assert is_it(await caller.chat("Hello [tokens=1]"))


async def test_a_suspension_holds_at_once_and_its_owner_cannot_bypass_it(make: MakeCaller) -> None:
    caller = await make()
    owner = Actor(name=caller.email, role="user", user_id=caller.user_id)
    (row,) = (await subscriptions.list_subscriptions(caller.pool, owner)).rows
    assert (await caller.chat()).status == 200

    await subscriptions.change_subscription(caller.pool, ADMIN, row.id, "suspend", reason="misuse")
    await answers_soon(caller, lambda response: response.status == 403 and response.code == "subscription_suspended")

    for attempt in (
        subscriptions.change_subscription(caller.pool, owner, row.id, "cancel"),
        subscriptions.create_subscription(caller.pool, owner, model="demo-chat"),
        subscriptions.change_subscription(caller.pool, owner, row.id, "request_review"),
    ):
        with pytest.raises(GatewayError) as caught:
            await attempt
        assert (caught.value.code, caught.value.details["status"]) == ("conflict", "suspended")
    assert (await caller.chat()).status == 403

    await subscriptions.change_subscription(caller.pool, ADMIN, row.id, "reactivate")
    await answers_soon(caller, lambda response: response.status == 200)


async def test_both_keys_of_a_rotation_share_one_count_until_the_old_one_expires(
    make: MakeCaller, redis_state: RedisState
) -> None:
    old = await make()
    await old.limit("requests", 4, window="day")
    await old.remove_subscription_limits()
    owner = Actor(name=old.email, role="user", user_id=old.user_id)
    assert (await old.chat()).status == 200

    made = await changes.rotate_key(old.pool, owner, PEPPERS, old.key_id, grace_s=3600)
    new = replace(old, key=made.secret)
    assert [(await caller.chat()).status for caller in (new, old, new)] == [200, 200, 200]
    # The fifth call on a limit of four, with either key. Until the fourth is settled, the error would be another one.
    await redis_state.wait_until_settled(old.account_id)
    assert [(await caller.chat()).code for caller in (old, new)] == ["insufficient_quota"] * 2

    last = replace(old, key=(await changes.rotate_key(old.pool, owner, PEPPERS, old.key_id, grace_s=0)).secret)
    await old.limit("requests", 100, window="day")
    await answers_soon(last, lambda response: response.status == 200)
    for ended in (old, new):
        await answers_soon(ended, lambda response: response.status == 401)


async def test_the_keys_of_a_removed_member_or_deactivated_user_stop_working(make: MakeCaller) -> None:
    caller = await make()
    user = await users.find_user(caller.pool, ADMIN, caller.email)
    team = await make_team(caller.pool, user)
    await subscriptions.create_subscription(caller.pool, ADMIN, model="demo-chat", team=team.name)
    fields = keys.KeyInput(models=["demo-chat"], team=team.name, user=user.email)
    actor = Actor(name=user.email, role="user", user_id=user.id)
    in_team = replace(caller, key=(await keys.create_key(caller.pool, actor, PEPPERS, fields)).secret)
    assert [(await one.chat()).status for one in (caller, in_team)] == [200, 200]

    await teams.remove_member(caller.pool, actor, team.name, user=user.email)
    await answers_soon(in_team, lambda response: response.status == 401)
    assert (await caller.chat()).status == 200
    await users.update_user(caller.pool, ADMIN, user.email, status="deactivated")
    await answers_soon(caller, lambda response: response.status == 403 and response.code == "account_suspended")
