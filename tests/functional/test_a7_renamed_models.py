"""A model that LiteLLM has under another name goes on with its subscriptions, keys, limits, prices and usage (A7)."""

import json
from decimal import Decimal

import pytest
from callers import MakeCaller
from factories import ADMIN, make_model
from gateways import GatewayThread, Ledger, RedisState

from admin_api.operations import subscriptions
from admin_api.operations.models import rename
from admin_api.operations.models.price_input import PriceInput
from admin_api.operations.models.prices import set_price
from admin_api.operations.usage import reports
from admin_api.operations.usage.scope import UsageFilter
from gateway.domain.errors import GatewayError
from gateway.storage.postgres import Pool


async def lose(pool: Pool, name: str) -> None:
    """As a sync that no longer finds it."""
    await pool.execute("UPDATE models SET listed = false WHERE name = $1", name)


async def test_a7_a_renamed_model_keeps_everything_in_one_audited_act(
    make: MakeCaller, pool: Pool, gateway: GatewayThread, ledger: Ledger, redis_state: RedisState
) -> None:
    old, new = "a7-old", "a7-new"
    ann = await make(await make_model(pool, old))
    usd = Decimal("0.001")
    await set_price(pool, ADMIN, old, PriceInput(units={"input": usd, "output": usd}, confirmed=True))
    await ann.limit("requests", 2, window="lifetime", level="key_model", model=old)
    await gateway.wait_for_changes(pool)
    before = await ann.chat(model=old)
    await ledger.row(ann.account_id)
    assert before.status == 200
    await lose(pool, old)
    await make_model(pool, new)
    # Others were let in under the new name already.
    bob, both = await make(new), await make(new)
    await pool.execute(
        "INSERT INTO subscriptions (account_id, model_id, status) "
        "SELECT $1, id, 'pending' FROM models WHERE name = $2", both.account_id, old,
    )  # fmt: skip

    renamed = await rename.rename_model(pool, ADMIN, old, new, confirmed=True)

    await gateway.wait_for_changes(pool)
    answers = [await caller.chat(model=new) for caller in (bob, both, ann)]
    await redis_state.wait_until_settled(ann.account_id)
    answers.append(await ann.chat(model=new))
    assert [(answer.status, answer.json.get("error", {}).get("code")) for answer in answers] == [
        (200, None), (200, None), (200, None), (429, "insufficient_quota"),
    ]  # fmt: skip
    # The one call under the old name counts against the limit of two.
    refused = await ann.chat(model=old)
    assert (refused.status, refused.code) == (404, "model_not_found")
    assert refused.error["message"] == f"The model '{old}' is called '{new}' now."
    rows = await ledger.rows(ann.account_id, 2)
    assert len({row["price_id"] for row in rows}) == len({row["model_id"] for row in rows}) == 1
    assert rows[0]["cost_nano_usd"] > 0
    (group,) = (
        await reports.break_down(pool, ADMIN, UsageFilter(key=ann.key_id), by="model", order="calls", limit=9)
    ).groups
    assert (group.name, group.sums.calls) == (new, 2)
    held = renamed.holdings
    assert (held.subscriptions, held.keys, renamed.offered.model.status) == (3, 3, "available")
    (entry,) = await pool.fetch("SELECT old, new FROM audit_logs WHERE action = 'model.rename'")
    said = json.loads(entry["new"])
    assert json.loads(entry["old"]) == {"name": old}
    assert (said["name"], said["subscriptions"], said["moved"]["subscriptions"]) == (new, 3, 2)


async def test_a7_a_model_that_litellm_still_has_is_not_renamed(pool: Pool) -> None:
    name, other = await make_model(pool, "a7-served"), await make_model(pool, "a7-served-too")

    for to in ("a7-typo", other):
        with pytest.raises(GatewayError, match="sync models first") as refused:
            await rename.rename_model(pool, ADMIN, name, to, confirmed=True)
        assert refused.value.code == "conflict"

    await lose(pool, name)
    renamed = await rename.rename_model(pool, ADMIN, name, "a7-later")
    assert renamed.offered.model.status == "unlisted"


async def test_a7_a_suspension_is_not_left_by_a_rename(make: MakeCaller, pool: Pool, gateway: GatewayThread) -> None:
    caller = await make(await make_model(pool, "a7-barred"))
    page = await subscriptions.list_subscriptions(caller.pool, ADMIN, account=caller.account_id)
    await subscriptions.change_subscription(caller.pool, ADMIN, page.rows[0].id, "suspend", reason="misuse")
    other = await make_model(caller.pool, "a7-barred-new")
    await subscriptions.create_subscription(caller.pool, ADMIN, model=other, user=caller.email)

    await lose(pool, "a7-barred")
    await rename.rename_model(caller.pool, ADMIN, "a7-barred", other, confirmed=True)

    await gateway.wait_for_changes(caller.pool)
    assert (await caller.chat(model=other)).code == "subscription_suspended"


async def test_a7_a_model_of_another_mode_is_another_model(pool: Pool) -> None:
    old, new = await make_model(pool, "a7-chat"), await make_model(pool, "a7-image")
    await pool.execute("UPDATE models SET mode = CASE name WHEN $1 THEN 'chat' ELSE 'image_generation' END "
                       "WHERE name = ANY($2)", old, [old, new])  # fmt: skip
    await lose(pool, old)

    with pytest.raises(GatewayError, match="another model") as refused:
        await rename.rename_model(pool, ADMIN, old, new, confirmed=True)

    assert refused.value.code == "conflict"
    assert await pool.fetchval("SELECT count(*) FROM models WHERE name = ANY($1)", [old, new]) == 2


async def test_a7_what_the_new_name_has_moves_if_that_is_confirmed_and_its_price_stays(
    make: MakeCaller, pool: Pool
) -> None:
    old, new = await make_model(pool, "a7-cheap"), await make_model(pool, "a7-dear")
    await make(new)
    for name, usd in ((old, "0.001"), (new, "0.002")):
        units = {"input": Decimal(usd), "output": Decimal(usd)}
        await set_price(pool, ADMIN, name, PriceInput(units=units, confirmed=True))
    await lose(pool, old)

    with pytest.raises(GatewayError, match=r"1 subscriptions, 1 keys, .* and a price that an admin has set") as refused:
        await rename.rename_model(pool, ADMIN, old, new)
    assert (refused.value.code, refused.value.param) == ("validation_failed", "confirm")
    renamed = await rename.rename_model(pool, ADMIN, old, new, confirmed=True)

    price = renamed.offered.price
    assert price is not None
    assert (price.source, price.price.input) == ("admin", Decimal("0.002"))
