"""What people change, the gateway obeys: it asks nobody but Postgres."""

from collections.abc import Callable

import pytest
from callers import Caller, MakeCaller, Said
from factories import ADMIN
from gateways import until

from admin_api.operations import subscriptions
from admin_api.operations.actors import Actor
from gateway.domain.errors import GatewayError


async def answers_soon(caller: Caller, is_it: Callable[[Said], bool]) -> None:
    """The answer comes to be so, and stays so. How soon a gateway hears of a change is tested where it hears."""

    async def now_it_is() -> bool:
        return is_it(await caller.chat("Hello [tokens=1]"))

    await until(now_it_is, "another answer")
    assert is_it(await caller.chat("Hello [tokens=1]"))


async def test_a_suspension_holds_at_once_and_its_owner_finds_no_way_around_it(make: MakeCaller) -> None:
    caller = await make()
    owner = Actor(name=caller.email, role="user", user_id=caller.user_id)
    (row,) = (await subscriptions.list_subscriptions(caller.pool, owner)).rows
    assert (await caller.chat()).status == 200

    await subscriptions.change_subscription(caller.pool, ADMIN, row.id, "suspend", reason="misuse")
    await answers_soon(caller, lambda said: (said.status, said.status == 404 and said.code) == (404, "model_not_found"))

    for attempt in (
        subscriptions.change_subscription(caller.pool, owner, row.id, "cancel"),
        subscriptions.create_subscription(caller.pool, owner, model="demo-chat"),
        subscriptions.change_subscription(caller.pool, owner, row.id, "request_review"),
    ):
        with pytest.raises(GatewayError) as caught:
            await attempt
        assert (caught.value.code, caught.value.details["status"]) == ("conflict", "suspended")
    assert (await caller.chat()).status == 404

    await subscriptions.change_subscription(caller.pool, ADMIN, row.id, "reactivate")
    await answers_soon(caller, lambda said: said.status == 200)
