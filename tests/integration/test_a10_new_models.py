"""A10: models that LiteLLM has newly are open to nobody until an admin says so; a setting decides what they become."""

import json

import httpx2
import pytest
from admin_client import check_error
from command_line import CommandLine
from conftest import Database
from factories import make_user
from loopback_servers import LiteLLMInfoServer
from test_owner_routes import login

from admin_api.storage.models import ModelInfo, insert_model
from gateway.storage.postgres import Pool

SETTINGS = "/api/v1/admin/settings"


async def sync(admin: httpx2.AsyncClient, litellm: LiteLLMInfoServer, *names: str) -> dict[str, object]:
    litellm.answer(json.dumps({"data": [{"model_name": name} for name in names]}))
    answer = await admin.post("/api/v1/models/sync")
    assert answer.status_code == 200, answer.text
    report: dict[str, object] = answer.json()
    return report


async def subscribe(admin: httpx2.AsyncClient, who: dict[str, str], model: str) -> tuple[int, str | None]:
    answer = await admin.post("/api/v1/subscriptions", json={"model": model}, headers=who)
    return answer.status_code, answer.json().get("status")


async def test_a10_new_models_are_restricted_unless_the_setting_says_otherwise(
    admin: httpx2.AsyncClient, pool: Pool, litellm_info_server: LiteLLMInfoServer
) -> None:
    ann = await login(pool, await make_user(pool))
    assert (await admin.get(SETTINGS)).json()["new_models"] == "restricted"

    first = await sync(admin, litellm_info_server, "a", "b")
    await admin.put(SETTINGS, json={"new_models": "open"})
    second = await sync(admin, litellm_info_server, "a", "b", "c")
    await admin.put(SETTINGS, json={"new_models": "hidden"})
    third = await sync(admin, litellm_info_server, "a", "b", "c", "d")
    fourth = await sync(admin, litellm_info_server, "a", "b", "c", "d")

    assert [(got["added"], got["added_as"]) for got in (first, second, third, fourth)] == [
        (["a", "b"], "restricted"),
        (["c"], "open"),
        (["d"], "hidden"),
        ([], None),
    ]
    shown = (await admin.get("/api/v1/models", headers=ann)).json()["rows"]
    assert [row["name"] for row in shown] == ["a", "b", "c"]
    tries = [await subscribe(admin, ann, model) for model in ("a", "b", "c", "d")]
    assert tries == [(201, "pending"), (201, "pending"), (201, "active"), (404, None)]
    key = await admin.post("/api/v1/api-keys", json={"models": ["a"]}, headers=ann)
    check_error(key, 409, "conflict")
    # Showing it opens it to nobody.
    await admin.patch("/api/v1/models/d", json={"hidden": False})
    assert await subscribe(admin, ann, "d") == (201, "pending")


async def test_a10_models_that_were_there_keep_their_access(
    admin: httpx2.AsyncClient, pool: Pool, litellm_info_server: LiteLLMInfoServer
) -> None:
    """Models of before the setting, and those that return, are as an admin left them."""
    about = ModelInfo(
        provider=None, mode=None, max_input_tokens=None, max_output_tokens=None, capabilities=(), deployments=1
    )
    async with pool.acquire() as connection:
        await insert_model(connection, "old", about, restricted=False, hidden=False)
    await sync(admin, litellm_info_server, "old", "new", "more")
    await admin.patch("/api/v1/models/new", json={"restricted": False})
    await sync(admin, litellm_info_server, "old", "more")
    await admin.put(SETTINGS, json={"new_models": "hidden"})

    returned = await sync(admin, litellm_info_server, "old", "new", "more")

    assert returned["returned"] == ["new"]
    rows = (await admin.get("/api/v1/models")).json()["rows"]
    assert {row["name"]: (row["restricted"], row["hidden"]) for row in rows} == {
        "old": (False, False),
        "new": (False, False),
        "more": (True, False),
    }


async def test_a10_the_audit_log_says_what_new_models_became(
    admin: httpx2.AsyncClient, litellm_info_server: LiteLLMInfoServer
) -> None:
    await admin.put(SETTINGS, json={"new_models": "open"})
    await sync(admin, litellm_info_server, "a")

    rows = (await admin.get("/api/v1/admin/audit", params={"action": "models.sync"})).json()["rows"]
    changed = (await admin.get("/api/v1/admin/audit", params={"action": "settings.update"})).json()["rows"]

    assert [row["new"] for row in rows] == [{"added": ["a"], "added_as": "open"}]
    assert [(row["old"], row["new"]) for row in changed] == [({"new_models": "restricted"}, {"new_models": "open"})]


@pytest.mark.parametrize("value", ["closed", None, "Open", True, 1, ["open"], ""])
async def test_a10_another_word_is_refused(admin: httpx2.AsyncClient, value: object) -> None:
    check_error(await admin.put(SETTINGS, json={"new_models": value}), 422, "validation_failed")
    assert (await admin.get(SETTINGS)).json()["new_models"] == "restricted"


async def test_a10_the_command_sets_it_and_says_what_new_models_are(
    database: Database, litellm_info_server: LiteLLMInfoServer
) -> None:
    command = CommandLine(
        {
            "LITEMAAS_DATABASE_URL": database.app_url,
            "LITEMAAS_LITELLM_URLS": litellm_info_server.url,
            "LITEMAAS_LITELLM_API_KEY": LiteLLMInfoServer.KEY,
        }
    )
    litellm_info_server.answer('{"data":[{"model_name":"a"}]}')

    first = await command.run("models", "sync")
    refused = await command.run("settings", "set", "new_models", "none")
    await command.run("settings", "set", "new_models", "hidden")
    litellm_info_server.answer('{"data":[{"model_name":"a"},{"model_name":"b"}]}')
    second = await command.run("models", "sync")

    assert "1 added" in first.out
    assert "Those added are restricted: open them with `litemaas models update NAME --no-restricted`." in first.out
    assert refused.code == 2
    assert all(word in refused.err for word in ("new_models", "open", "restricted", "hidden"))
    assert "Those added are hidden" in second.out
