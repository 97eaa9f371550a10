"""Who is suspended reads so, with the reason given (A15); a model that LiteLLM lost is gone by every door (A7)."""

from typing import Any

import pytest
from callers import Caller, MakeCaller, Response
from factories import ADMIN, PEPPERS, make_model, make_subscription, make_team, make_user
from gateways import Backends, GatewayThread

from admin_api.operations import subscriptions
from admin_api.operations.keys import keys
from admin_api.operations.limits import explain
from admin_api.operations.models import models
from admin_api.operations.people import teams, users
from gateway.domain.errors import GatewayError

ANTHROPIC = {"anthropic-version": "2023-06-01"}


async def explained(caller: Caller, backends: Backends, model: str) -> explain.Explanation:
    async with explain.open_counters(backends.valkey.url()) as counters:
        call = explain.CallInput(model=model)
        return await explain.explain_limits(caller.pool, counters, ADMIN, key_id=caller.key_id, call=call)


async def test_a15_a_suspended_subscription_says_so_at_every_door(
    make: MakeCaller, gateway: GatewayThread, backends: Backends
) -> None:
    caller = await make("demo-chat", "demo-chat-large")
    page = await subscriptions.list_subscriptions(caller.pool, ADMIN, account=caller.account_id, model="demo-chat")
    await subscriptions.change_subscription(caller.pool, ADMIN, page.rows[0].id, "suspend", reason="Unpaid since May.")
    await gateway.wait_for_changes(caller.pool)

    refused = await caller.chat()
    shown = await caller.get("/v1/models/demo-chat")
    listed = (await caller.get("/v1/models")).json
    limits = (await caller.get("/v1/limits")).json
    async with caller.http.get(caller.url + "/v1/models", headers=caller.authorization | ANTHROPIC) as answer:
        page_of_anthropic: Any = await answer.json()
    why = await explained(caller, backends, "demo-chat")

    message = "The subscription to 'demo-chat' is suspended (Unpaid since May)."
    assert (refused.status, refused.code, refused.error["message"]) == (403, "subscription_suspended", message)
    assert (shown.status, shown.code, shown.error["message"]) == (403, "subscription_suspended", message)
    assert (why.allowed, why.code, why.message) == (False, "subscription_suspended", message)
    assert [model["id"] for model in listed["data"]] == ["demo-chat-large"]
    (said,) = listed["unavailable"]
    assert said == {
        "id": "demo-chat", "status": "suspended", "reason": "Unpaid since May.", "code": "subscription_suspended",
        "message": message,
    }  # fmt: skip
    assert limits["unavailable"] == page_of_anthropic["unavailable"] == [said]
    assert (await keys.find_key(caller.pool, ADMIN, caller.key_id)).unavailable[0].status == "suspended"


@pytest.mark.parametrize("path", ["/v1/models", "/v1/limits", None])
async def test_a15_a_deactivated_user_reads_the_reason(
    make: MakeCaller, gateway: GatewayThread, path: str | None
) -> None:
    caller = await make()
    await users.update_user(caller.pool, ADMIN, caller.email, status="deactivated", reason="left the company")
    await gateway.wait_for_changes(caller.pool)

    refused = await (caller.get(path) if path else caller.chat())

    assert (refused.status, refused.code) == (403, "account_suspended")
    assert refused.error["message"] == "The user of this API key is deactivated (left the company)."


async def test_a15_a_suspended_team_and_one_that_was_left_say_so(make: MakeCaller, gateway: GatewayThread) -> None:
    caller = await make()
    pool, person = caller.pool, await make_user(caller.pool)
    team = await make_team(pool, person)
    await subscriptions.create_subscription(pool, ADMIN, model="demo-chat", team=team.name)
    made = await keys.create_key(
        pool, ADMIN, PEPPERS, keys.KeyInput(models=["demo-chat"], team=team.name, user=person.email)
    )

    async def call() -> Response:
        await gateway.wait_for_changes(pool)
        return await caller.chat(headers={"authorization": f"Bearer {made.secret}"})

    assert (await call()).status == 200
    change = teams.TeamChange(status="suspended", reason="over budget")
    await teams.update_team(pool, ADMIN, team.name, change)
    assert (await call()).error["message"] == "The account of this API key is suspended (over budget)."
    await teams.update_team(pool, ADMIN, team.name, teams.TeamChange(status="active"))
    assert (await call()).status == 200
    # As where a membership ends while the key is being read: removing a member revokes their keys as well.
    await pool.execute("DELETE FROM team_members WHERE account_id = $1", team.id)
    gone = await call()
    assert (gone.status, gone.error["message"]) == (
        403, "The user of this API key is not a member of its team any more."
    )  # fmt: skip


async def test_a15_a_reason_without_a_status_is_refused(make: MakeCaller) -> None:
    caller = await make()

    with pytest.raises(GatewayError, match="send both"):
        await users.update_user(caller.pool, ADMIN, caller.email, reason="why not")


@pytest.mark.parametrize(("flags", "word"), [((False, True), "unlisted"), ((True, False), "disabled")])
async def test_a7_a_model_that_is_gone_is_gone_by_every_door(
    make: MakeCaller, gateway: GatewayThread, backends: Backends, flags: tuple[bool, bool], word: str
) -> None:
    caller = await make()
    name = await make_model(caller.pool, f"a7-{word}")
    caller = await make("demo-chat", name)
    user = await users.find_user(caller.pool, ADMIN, caller.email)
    assert (await caller.chat(model=name)).status == 200
    await caller.pool.execute("UPDATE models SET listed = $2, enabled = $3 WHERE name = $1", name, *flags)
    await gateway.wait_for_changes(caller.pool)

    refused = await caller.chat(model=name)
    listed = await caller.get("/v1/models")
    why = await explained(caller, backends, name)
    refusals = []
    for attempt in (
        make_subscription(caller.pool, await make_user(caller.pool), name),
        keys.create_key(caller.pool, ADMIN, PEPPERS, keys.KeyInput(models=[name], user=user.email)),
    ):
        with pytest.raises(GatewayError) as refusal:
            await attempt
        refusals.append((refusal.value.code, refusal.value.details["status"], refusal.value.message))

    assert (refused.status, refused.code) == (404, "model_not_found")
    assert name not in listed.body.decode()
    assert (why.code, why.message, why.details["status"]) == ("model_not_found", refused.error["message"], word)
    assert refusals == [("conflict", word, refused.error["message"])] * 2
    assert (await models.find_model(caller.pool, ADMIN, name)).model.status == word
    page = await subscriptions.list_subscriptions(caller.pool, ADMIN, account=caller.account_id, model=name)
    assert [row.model_status for row in page.rows] == [word]
    (one,) = (await keys.find_key(caller.pool, ADMIN, caller.key_id)).unavailable
    assert (one.model, one.status) == (name, word)
