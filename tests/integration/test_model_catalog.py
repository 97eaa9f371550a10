"""Models for users, reports of syncs, and the health of LiteLLM."""

from decimal import Decimal

import httpx2
import pytest
from admin_client import check_error
from factories import ADMIN, READER, apply, make_model, make_token, make_user, owner_of, seen_model
from loopback_servers import LiteLLMInfoServer
from pydantic import SecretStr

from admin_api.operations.models import models
from admin_api.operations.models.litellm_health import check_litellm
from admin_api.operations.models.sync import LiteLLM, list_syncs, sync_models
from admin_api.storage.offered_models import MODEL_SORTS, CatalogueFilter
from gateway.domain.breaker import FAILURES_TO_OPEN
from gateway.domain.errors import GatewayError
from gateway.storage.postgres import Pool

INSIDE = "http://inside.example:9000"


def litellm(*urls: str) -> LiteLLM:
    return LiteLLM(urls=urls, api_key=SecretStr(LiteLLMInfoServer.KEY))


async def names(pool: Pool, actor: object, **only: str) -> list[str]:
    found = await models.list_models(pool, actor, CatalogueFilter(**only))  # type: ignore[arg-type]  # an Actor
    return [row.model.name for row in found.rows]


async def test_users_see_available_models_and_admins_all(pool: Pool) -> None:
    user = owner_of(await make_user(pool))
    for name in ("open", "hidden", "off", "asked"):
        await make_model(pool, name)
    await models.update_model(pool, ADMIN, "hidden", hidden=True)
    await models.update_model(pool, ADMIN, "off", enabled=False)
    await models.update_model(pool, ADMIN, "asked", restricted=True)

    assert await names(pool, user) == ["open", "asked"]
    assert await names(pool, READER) == ["open", "hidden", "off", "asked"]
    for name in ("hidden", "off"):
        with pytest.raises(GatewayError) as caught:
            await models.find_model(pool, user, name)
        assert caught.value.code == "not_found"


async def test_models_are_sorted_across_pages(pool: Pool) -> None:
    """One model a page; equal prices by id, those without one last. A price of before does not count."""
    for costs in ({"m": 1, "z": None, "a": 3, "c": 1, "b": None}, {"m": 2, "z": None, "a": 1, "c": 2, "b": None}):
        units = {name: {} if cost is None else {"input": Decimal(cost) / 10**6} for name, cost in costs.items()}
        await apply(pool, *(seen_model(name, units=units[name]) for name in costs))
    expected = {"id": "mzacb", "name": "abcmz", "newest": "bcazm", "price": "amczb"}

    for sort in MODEL_SORTS:
        found, cursor = "", None
        while cursor is not None or not found:
            page = await models.list_models(pool, READER, sort=sort, limit=1, cursor=cursor)
            found += page.rows[0].model.name
            cursor = page.next_cursor
        assert found == expected[sort], sort


async def test_model_filters_combine_and_search_has_no_wildcards(pool: Pool) -> None:
    await apply(
        pool,
        seen_model("acme/small", provider="acme", capabilities=("vision",)),
        seen_model("acme/embed", provider="acme", mode="embedding"),
        seen_model("other_small", provider="other", capabilities=("vision", "function_calling")),
    )
    user = owner_of(await make_user(pool))
    await models.update_model(pool, ADMIN, "acme/embed", description="Finds SMALL things")

    assert await names(pool, user, search="SMALL") == ["acme/small", "acme/embed", "other_small"]
    assert await names(pool, user, search="small", provider="acme", mode="chat") == ["acme/small"]
    assert await names(pool, user, capability="function_calling") == ["other_small"]
    assert await names(pool, user, search="_") == ["other_small"]
    assert await names(pool, user, search="%") == []


async def test_the_deployment_of_a_model_is_neither_stored_nor_shown(
    admin: httpx2.AsyncClient, pool: Pool, litellm_info_server: LiteLLMInfoServer
) -> None:
    litellm_info_server.answer(
        f'{{"data":[{{"model_name":"team/small","litellm_params":{{"model":"openai/backend-name","api_base":"{INSIDE}"}},'
        f'"model_info":{{"id":"backend-id","api_base":"{INSIDE}","mode":"chat"}}}}]}}'
    )
    await admin.post("/api/v1/models/sync")

    shown = [
        await admin.get(path) for path in ("/api/v1/models", "/api/v1/models/team/small", "/api/v1/admin/models/syncs")
    ]

    for answer in shown:
        assert answer.status_code == 200
        assert not [word for word in ("inside", "backend", "api_base") if word in answer.text]
    listed = (await admin.get("/api/v1/models")).json()["rows"][0]
    assert (listed["max_input_tokens"], listed["price"], listed["provider"]) == (None, None, None)


async def test_the_current_price_is_shown_with_the_model_and_its_history_to_admins(
    admin: httpx2.AsyncClient, pool: Pool
) -> None:
    name = await make_model(pool, "team/small")
    logins = {}
    for role in ("user", "admin-readonly"):
        token = await make_token(pool, await make_user(pool, role=role))
        logins[role] = {"authorization": f"Bearer {token.secret}"}
    await admin.post("/api/v1/prices", json={"model": name, "input_per_million_usd": "5"})

    for login in logins.values():
        listed = (await admin.get("/api/v1/models", headers=login)).json()["rows"]
        one = (await admin.get(f"/api/v1/models/{name}", headers=login)).json()
        assert [row["price"] for row in listed] == [one["price"]]
        shown = [one["price"][name] for name in ("input_per_million_usd", "output_per_million_usd", "source")]
        assert shown == ["5", "2", "admin"]
    past = {role: await admin.get("/api/v1/prices", params={"model": name}, headers=logins[role]) for role in logins}
    check_error(past["user"], 403, "forbidden")
    assert [row["input_per_million_usd"] for row in past["admin-readonly"].json()["rows"]] == ["5", "1"]


async def test_every_sync_has_a_report_even_without_a_response(
    admin: httpx2.AsyncClient, litellm_info_server: LiteLLMInfoServer
) -> None:
    litellm_info_server.answer('{"data":[{"model_name":"a"},{"model_name":"b"}]}')
    await admin.post("/api/v1/models/sync")
    litellm_info_server.answer('{"data":[]}')
    await admin.post("/api/v1/models/sync")
    litellm_info_server.answer("broken", status=500)
    check_error(await admin.post("/api/v1/models/sync"), 502, "upstream_error")

    rows = (await admin.get("/api/v1/admin/models/syncs")).json()["rows"]

    assert [row["actor"] for row in rows] == ["admin-token"] * 3
    assert "status 500" in rows[0]["problem"]
    assert rows[0]["report"] is None
    assert "empty" in rows[1]["problem"]
    assert (rows[2]["problem"], rows[2]["report"]["added"]) == (None, ["a", "b"])


async def test_a_failing_address_is_skipped_and_tried_again_later(
    pool: Pool, litellm_info_server: LiteLLMInfoServer
) -> None:
    litellm_info_server.answer("broken", status=500)
    asked = litellm(litellm_info_server.url)
    for _ in range(FAILURES_TO_OPEN + 3):
        with pytest.raises(GatewayError):
            await sync_models(pool, ADMIN, asked)
    reports = (await list_syncs(pool, READER)).rows
    health = await check_litellm(pool, READER, asked)

    assert "circuit breaker is open" in str(reports[0].problem)
    assert sum("status 500" in str(row.problem) for row in reports) == FAILURES_TO_OPEN
    assert (health.addresses[0].breaker, health.addresses[0].reachable) == ("open", False)


async def test_a_refusal_is_no_failure_of_the_address(pool: Pool, litellm_info_server: LiteLLMInfoServer) -> None:
    litellm_info_server.answer('{"error":{}}', status=401)
    asked = litellm(litellm_info_server.url)
    for _ in range(2 * FAILURES_TO_OPEN):
        with pytest.raises(GatewayError):
            await sync_models(pool, ADMIN, asked)

    assert (await check_litellm(pool, READER, asked)).addresses[0].breaker == "closed"


async def test_health_has_each_address(admin: httpx2.AsyncClient, litellm_info_server: LiteLLMInfoServer) -> None:
    litellm_info_server.answer('{"data":[{"model_name":"a"}]}')
    await admin.post("/api/v1/models/sync")

    health = (await admin.get("/api/v1/admin/health/litellm")).json()

    assert (health["reachable"], health["models"]) == (True, 1)
    assert health["synced_at"] == health["sync_tried_at"] is not None
    assert health["addresses"] == [
        {"address": litellm_info_server.url, "reachable": True, "version": None, "breaker": "closed"}
    ]


async def test_health_without_litellm_is_a_valid_response(pool: Pool) -> None:
    health = await check_litellm(pool, READER, litellm("http://user:secret@127.0.0.1:1"))

    assert not health.reachable
    assert health.addresses[0].address == "http://127.0.0.1:1"
    assert health.synced_at is None
