"""The gateway refuses the keys of an archived team, and says so (case A14)."""

from dataclasses import replace

from callers import Caller, MakeCaller, Response
from factories import ADMIN, PEPPERS, make_team
from gateways import Backends, wait_until

from admin_api.operations import subscriptions
from admin_api.operations.keys import keys
from admin_api.operations.limits import explain
from admin_api.operations.people import teams, users


async def answers_soon(caller: Caller, status: int, code: str | None) -> Response:
    """The answer that a call gets once the gateway has heard of the change."""
    last: list[Response] = []

    async def is_it() -> bool:
        last.append(await caller.chat())
        return last[-1].status == status and (code is None or last[-1].code == code)

    await wait_until(is_it, f"{status} {code}")
    return last[-1]


async def test_a14_keys_of_an_archived_team_are_refused_until_it_is_unarchived(
    make: MakeCaller, backends: Backends
) -> None:
    caller = await make()
    user = await users.find_user(caller.pool, ADMIN, caller.email)
    team = await make_team(caller.pool, user)
    await subscriptions.create_subscription(caller.pool, ADMIN, model="demo-chat", team=team.name)
    for_member = keys.KeyInput(models=["demo-chat"], team=team.name, user=user.email)
    for_team = keys.KeyInput(models=["demo-chat"], team=team.name)
    made = [await keys.create_key(caller.pool, ADMIN, PEPPERS, fields) for fields in (for_member, for_team)]
    in_team = [replace(caller, key=key.secret) for key in made]
    assert [(await one.chat()).status for one in (caller, *in_team)] == [200, 200, 200]

    await teams.archive_team(caller.pool, ADMIN, team.name)

    refused = [await answers_soon(one, 403, "team_archived") for one in in_team]
    async with explain.open_counters(backends.valkey.url()) as counters:
        said = await explain.explain_limits(
            caller.pool, counters, ADMIN, key_id=made[0].row.id, call=explain.CallInput(model="demo-chat")
        )
    # Their own keys are nothing of the team's.
    assert (await caller.chat()).status == 200
    assert ["is archived" in response.body.decode() for response in refused] == [True, True]
    assert (said.allowed, said.code) == (False, "team_archived")

    await teams.archive_team(caller.pool, ADMIN, team.name, archived=False)

    for one in in_team:
        await answers_soon(one, 200, None)
