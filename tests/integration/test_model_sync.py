"""Model syncs from a small HTTP server in place of LiteLLM, and their results in the database."""

import asyncio
from decimal import Decimal

import pytest
from factories import ADMIN, READER, apply, seen_model
from loopback_servers import LiteLLMInfoServer
from pydantic import SecretStr

from admin_api.operations.models import models, prices
from admin_api.operations.models.price_input import PriceInput
from admin_api.operations.models.sync import LiteLLM, sync_models
from admin_api.storage import models as model_rows
from admin_api.storage import prices as price_rows
from admin_api.storage.models import Model
from gateway.domain.errors import GatewayError
from gateway.domain.prices import Price
from gateway.storage.postgres import Pool

PRICED = {"input": Decimal("0.000001"), "output": Decimal("0.000002")}


def litellm(*urls: str) -> LiteLLM:
    return LiteLLM(urls=urls, api_key=SecretStr(LiteLLMInfoServer.KEY))


async def find(pool: Pool, name: str) -> Model:
    return (await models.find_model(pool, READER, name)).model


async def price_ids(pool: Pool, name: str) -> list[int]:
    return [row.price.id for row in (await prices.list_prices(pool, READER, name)).rows]


async def listed(pool: Pool) -> set[str]:
    rows = (await models.list_models(pool, READER)).rows
    return {row.model.name for row in rows if row.model.listed}


async def test_models_keep_slashes_in_names_and_every_digit_of_prices(
    pool: Pool, litellm_info_server: LiteLLMInfoServer
) -> None:
    litellm_info_server.answer(
        '{"data":[{"model_name":"team/small","litellm_params":{"api_base":"http://inside"},"model_info":'
        '{"mode":"chat","input_cost_per_token":1.5e-07,"output_cost_per_token":6e-07}}]}'
    )

    report = await sync_models(pool, ADMIN, litellm(litellm_info_server.url))

    offered = await models.find_model(pool, READER, "team/small")
    assert report is not None
    assert (report.added, report.priced, report.problem) == (["team/small"], ["team/small"], None)
    assert offered.price is not None
    assert (offered.price.price.input, offered.price.price.output) == (Decimal("0.00000015"), Decimal("0.0000006"))


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (500, "broken", "upstream_error"),
        (401, '{"error":{}}', "upstream_error"),
        (200, "<html>", "upstream_error"),
        (200, '{"data":null}', "upstream_error"),
    ],
)
async def test_a_failed_response_changes_nothing_and_is_an_error(
    pool: Pool, litellm_info_server: LiteLLMInfoServer, status: int, body: str, code: str
) -> None:
    await apply(pool, seen_model("small"))
    litellm_info_server.answer(body, status=status)

    with pytest.raises(GatewayError, match="nothing was changed") as caught:
        await sync_models(pool, ADMIN, litellm(litellm_info_server.url))

    assert caught.value.code == code
    assert await listed(pool) == {"small"}


async def test_an_unreachable_address_is_an_error_without_the_key(pool: Pool) -> None:
    with pytest.raises(GatewayError) as caught:
        await sync_models(pool, ADMIN, litellm("http://127.0.0.1:1", "http://"))

    assert caught.value.code == "upstream_unavailable"
    assert LiteLLMInfoServer.KEY not in caught.value.message


async def test_the_next_address_is_tried_if_one_does_not_respond(
    pool: Pool, litellm_info_server: LiteLLMInfoServer
) -> None:
    litellm_info_server.answer('{"data":[{"model_name":"small"}]}')

    report = await sync_models(pool, ADMIN, litellm("http://127.0.0.1:1", litellm_info_server.url))

    assert report is not None
    assert report.added == ["small"]


async def test_an_empty_list_changes_nothing_and_is_reported(pool: Pool) -> None:
    await apply(pool, seen_model("small"), seen_model("large"))

    report = await apply(pool)

    assert report.problem is not None
    assert await listed(pool) == {"small", "large"}


async def test_a_list_that_lost_half_of_the_models_unlists_none_and_is_reported(pool: Pool) -> None:
    await apply(pool, *(seen_model(name) for name in "abcd"))

    report = await apply(pool, seen_model("a"), seen_model("b", mode="embedding"), seen_model("e"))

    assert report.problem is not None
    assert report.missing == ["c", "d"]
    assert await listed(pool) == set("abcde")
    # The received models are stored.
    assert (await find(pool, "b")).mode == "embedding"


async def test_half_of_the_models_are_unlisted_if_an_admin_accepts_it(pool: Pool) -> None:
    await apply(pool, *(seen_model(name) for name in "abcd"))

    report = await apply(pool, seen_model("a"), seen_model("b"), accept_missing=True)

    assert (report.problem, report.unlisted) == (None, ["c", "d"])
    assert await listed(pool) == {"a", "b"}


async def test_a_missing_model_is_unlisted_and_returns_unchanged(pool: Pool) -> None:
    await apply(pool, *(seen_model(name) for name in "abc"))
    await models.update_model(pool, ADMIN, "c", restricted=True, description="careful")
    before = await find(pool, "c")

    gone = await apply(pool, seen_model("a"), seen_model("b"))
    back = await apply(pool, *(seen_model(name) for name in "abc"))

    after = await find(pool, "c")
    assert (gone.unlisted, back.returned) == (["c"], ["c"])
    assert (after.id, after.restricted, after.description, after.enabled, after.listed) == (
        before.id,
        True,
        "careful",
        True,
        True,
    )


async def test_a_model_an_admin_disabled_stays_disabled(pool: Pool) -> None:
    await apply(pool, *(seen_model(name) for name in "abc"))
    await models.update_model(pool, ADMIN, "c", enabled=False)

    await apply(pool, seen_model("a"), seen_model("b"))
    await apply(pool, *(seen_model(name) for name in "abc"))

    assert not (await find(pool, "c")).enabled


async def test_a_model_without_a_price_has_no_price_row(pool: Pool) -> None:
    report = await apply(pool, seen_model("free"))

    assert report.without_price == ["free"]
    assert (await models.find_model(pool, READER, "free")).price is None


async def test_a_price_is_a_new_version_only_when_it_changed(pool: Pool) -> None:
    await apply(pool, seen_model(units=PRICED))

    same = await apply(pool, seen_model(units={"input": Decimal("1E-6"), "output": Decimal("0.0000020")}))
    dearer = await apply(pool, seen_model(units=PRICED | {"output": Decimal("0.000003")}))

    assert (same.priced, dearer.priced) == ([], ["small"])
    assert len(await price_ids(pool, "small")) == 2


async def test_a_price_litellm_no_longer_reports_stays(pool: Pool) -> None:
    await apply(pool, seen_model(units=PRICED))

    await apply(pool, seen_model())

    offered = await models.find_model(pool, READER, "small")
    assert offered.price is not None
    assert offered.price.price.input == PRICED["input"]


async def test_a_price_an_admin_set_is_not_replaced_by_a_sync(pool: Pool) -> None:
    await apply(pool, seen_model(units=PRICED))
    version = (await prices.set_price(pool, ADMIN, "small", PriceInput(units={"input": Decimal(0)}))).version

    report = await apply(pool, seen_model(units=PRICED | {"output": Decimal(1)}))

    assert report.kept_admin_prices == ["small"]
    assert (await price_ids(pool, "small"))[0] == version.price.id


async def test_setting_the_same_price_again_creates_no_version(pool: Pool) -> None:
    await apply(pool, seen_model())

    wanted = ({"input": Decimal(usd), "output": Decimal(0)} for usd in ("0.10", "0.1"))
    first, again = [
        await prices.set_price(pool, ADMIN, "small", PriceInput(units=units, confirmed=True)) for units in wanted
    ]

    assert again.version.price.id == first.version.price.id
    assert (first.is_new, again.is_new) == (True, False)


@pytest.mark.parametrize("usd", [Decimal(-1), Decimal("NaN"), Decimal(10) ** 9, None])
async def test_an_invalid_price_cannot_be_set(pool: Pool, usd: Decimal | None) -> None:
    await apply(pool, seen_model())

    with pytest.raises(GatewayError) as caught:
        await prices.set_price(
            pool, ADMIN, "small", PriceInput(units={"input": usd, "output": Decimal(0)}, confirmed=True)
        )

    assert caught.value.code == "validation_failed"


async def test_five_concurrent_syncs_add_each_model_and_price_once(
    pool: Pool, litellm_info_server: LiteLLMInfoServer
) -> None:
    litellm_info_server.answer(
        '{"data":[{"model_name":"a","model_info":{"input_cost_per_token":1e-6}},{"model_name":"b"}]}'
    )

    reports = await asyncio.gather(*(sync_models(pool, ADMIN, litellm(litellm_info_server.url)) for _ in range(5)))

    assert sorted(len(report.added) for report in reports if report) == [0, 0, 0, 0, 2]
    assert await price_ids(pool, "a") == [1]


async def test_the_scheduled_sync_is_skipped_while_another_runs(
    pool: Pool, litellm_info_server: LiteLLMInfoServer
) -> None:
    litellm_info_server.answer('{"data":[{"model_name":"a"}]}')
    async with pool.acquire() as connection, connection.transaction():
        await model_rows.lock_sync(connection)

        report = await sync_models(pool, ADMIN, litellm(litellm_info_server.url), wait=False)

    assert report is None
    assert await listed(pool) == set()


async def test_a_sync_is_audited_when_it_changed_something(pool: Pool) -> None:
    for _ in range(3):
        await apply(pool, seen_model(units=PRICED))

    assert await pool.fetchval("SELECT count(*) FROM audit_logs WHERE action = 'models.sync'") == 1


async def test_a_read_only_admin_cannot_start_a_sync(pool: Pool, litellm_info_server: LiteLLMInfoServer) -> None:
    with pytest.raises(GatewayError) as caught:
        await sync_models(pool, READER, litellm(litellm_info_server.url))

    assert caught.value.code == "forbidden"


async def test_the_last_price_set_counts(pool: Pool) -> None:
    """Even if its transaction began before the other one and waited for it."""
    await apply(pool, seen_model("small"))
    model_id = (await find(pool, "small")).id
    both = [Price(id=0, input=Decimal(1)), Price(id=0, input=Decimal(2))]
    async with pool.acquire() as one, pool.acquire() as two, one.transaction():
        await one.execute("SELECT 1")
        async with two.transaction():
            await model_rows.lock_model(two, model_id)
            await price_rows.insert_price(two, model_id, source="admin", price=both[0])
        await model_rows.lock_model(one, model_id)
        await price_rows.insert_price(one, model_id, source="admin", price=both[1])

    offered = await models.find_model(pool, READER, "small")

    assert offered.price is not None
    assert offered.price.price.input == Decimal(2)


async def test_a_price_an_admin_sets_during_a_sync_stays(pool: Pool) -> None:
    await apply(pool, seen_model("first"), seen_model("small", units=PRICED))
    first, dearer = await find(pool, "first"), {"input": Decimal("0.000009")}
    async with pool.acquire() as connection, connection.transaction():
        # The sync has read all prices, and waits here.
        await model_rows.lock_model(connection, first.id)
        syncing = asyncio.create_task(apply(pool, seen_model("first", mode="x"), seen_model("small", units=dearer)))
        await until_one_waits(pool)
        await prices.set_price(pool, ADMIN, "small", PriceInput(units={"input": Decimal(5)}, confirmed=True))
    report = await syncing

    offered = await models.find_model(pool, READER, "small")
    assert offered.price is not None
    assert (offered.price.source, offered.price.price.input) == ("admin", Decimal(5))
    assert (report.priced, report.kept_admin_prices) == ([], ["small"])


async def until_one_waits(pool: Pool) -> None:
    """Waits until a connection waits for a lock of another one."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(10):
        while not await pool.fetchval(waiting):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("name", ["a\\u0000b", "\\ud800", "a,b\\u0000"])
async def test_a_name_postgres_cannot_store_is_reported_and_stops_no_sync(
    pool: Pool, litellm_info_server: LiteLLMInfoServer, name: str
) -> None:
    litellm_info_server.answer(f'{{"data":[{{"model_name":"{name}"}},{{"model_name":"small"}}]}}')

    report = await sync_models(pool, ADMIN, litellm(litellm_info_server.url))

    assert report is not None
    assert (report.added, len(report.skipped)) == (["small"], 1)
    kept = await pool.fetchval("SELECT report ->> 'skipped' FROM model_syncs")
    assert "\ufffd" in kept


async def test_a_too_deeply_nested_response_changes_nothing_and_is_an_error(
    pool: Pool, litellm_info_server: LiteLLMInfoServer
) -> None:
    await apply(pool, seen_model("small"))
    litellm_info_server.answer('{"data":' + "[" * 200_000)

    with pytest.raises(GatewayError, match="nested too deeply") as caught:
        await sync_models(pool, ADMIN, litellm(litellm_info_server.url))

    assert caught.value.code == "upstream_error"
    assert await listed(pool) == {"small"}
