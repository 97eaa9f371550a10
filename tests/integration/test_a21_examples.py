"""A21: every example of a body in the OpenAPI document is accepted as it stands there, at the examples of its path."""

import re
from collections.abc import Iterator
from typing import Any, Final

import httpx2
import pytest
from admin_client import openapi_document
from factories import ADMIN, PEPPERS, make_model, make_subscription, make_team, make_token, make_user, owner_of
from loopback_servers import LiteLLMInfoServer
from usage_rows import TODAY, make_usage_row, write_rows

from admin_api.operations import subscriptions
from admin_api.operations.keys import keys
from admin_api.operations.limits.limits import LimitInput, set_limit
from admin_api.operations.people.join_requests import ask_to_join
from gateway.storage.postgres import Pool

HOOK: Final = {"url": "https://hooks.example.com", "events": ["subscription.active"]}
# What Ana asks for herself; all other examples are an admin's.
ANAS: Final = (
    ("update_own_user", "Another name and language"),
    ("choose_own_emails", "None before keys end"),
    ("create_own_token", "For a program"),
    ("create_subscription", "For yourself"),
    ("request_limit", "A higher budget"),
    ("request_to_join", "With a reason"),
)
NANO_USD: Final = 10**9


def examples() -> Iterator[Any]:
    for path, methods in openapi_document()["paths"].items():
        for method, operation in methods.items():
            filled = path
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    filled = filled.replace(f"{{{parameter['name']}}}", str(parameter["example"]))
            for content in operation.get("requestBody", {}).get("content", {}).values():
                for name, example in content["examples"].items():
                    named = (operation["operationId"], name)
                    yield pytest.param(method.upper(), filled, named, example["value"], id=": ".join(named))


async def make_world(pool: Pool, admin: httpx2.AsyncClient, *, restricted: bool) -> str:
    """What the examples are about; returns Ana's token. The first subscription waits for approval if `restricted`."""
    ana, _ = await make_user(pool, "ana@example.org"), await make_user(pool, "ben@example.org")
    await make_team(pool, ana, name="red")
    for model in ("small", "large"):
        await make_model(pool, model, restricted=restricted)
    token = (await make_token(pool, ana)).secret
    login = {"authorization": f"Bearer {token}"}
    if restricted:
        asked = await admin.post("/api/v1/subscriptions", json={"model": "small"}, headers=login)
        assert asked.json()["status"] == "pending"
        return token
    await subscriptions.create_subscription(pool, ADMIN, model="small", team="red")
    await make_subscription(pool, ana, "small")
    key = keys.KeyInput(models=["small"], team="red")
    await keys.create_key(pool, ADMIN, PEPPERS, key)
    budget = LimitInput(kind="cost", window="month", amount=100 * NANO_USD)
    await set_limit(pool, ADMIN, budget, level="team", target="red", model=None, team=None)
    await admin.post("/api/v1/webhooks", json=HOOK)
    return token


@pytest.mark.parametrize(("method", "path", "example", "body"), list(examples()))
async def test_a21_an_example_is_accepted(
    method: str,
    path: str,
    example: tuple[str, str],
    body: dict[str, Any],
    admin: httpx2.AsyncClient,
    pool: Pool,
    litellm_info_server: LiteLLMInfoServer,
) -> None:
    litellm_info_server.answer('{"data":[{"model_name":"small"},{"model_name":"large"}]}')
    token = await make_world(pool, admin, restricted=example[0] == "decide_subscriptions")
    headers = {"authorization": f"Bearer {token}"} if example in ANAS else {}
    if example[0] in ("boost_limit", "request_limit", "decide_limit_request"):
        (budget,) = (await admin.get("/api/v1/limits", params={"team": "red", "level": "team"})).json()["rows"]
        path = path.replace("limits/1/", f"limits/{budget['id']}/")
    if example[0] == "decide_limit_request":
        asked = {"amount_usd": "150.00", "reason": "A launch."}
        await admin.post(
            f"/api/v1/limits/{budget['id']}/requests", json=asked, headers={"authorization": f"Bearer {token}"}
        )
    if "join-requests" in path:
        await make_team(pool, name="green")
        await ask_to_join(pool, owner_of(await make_user(pool)), team="red")
    if "ledger" in path:
        call = make_usage_row(TODAY)
        await write_rows(pool, [call])
        path = re.sub("[0-9a-f-]{36}", str(call.request_id), path)
    if example[0] == "undo_price":
        await admin.post("/api/v1/prices", json={"model": "small", "output_per_million_usd": "3"})
    if example[0] == "rename_model":
        litellm_info_server.answer('{"data":[{"model_name":"large"}]}')
        synced = await admin.post("/api/v1/models/sync", json={"accept_missing": True})
        assert synced.json()["unlisted"] == ["small"]
    if "token" in body:
        # Only a preview knows it.
        seen = await admin.post(path.replace("apply", "preview"), json={k: v for k, v in body.items() if k != "token"})
        assert seen.json()["changes"] > 0
        body = body | {"token": seen.json()["token"]}

    answer = await admin.request(method, path, json=body, headers=headers)

    assert answer.is_success, answer.text
    # A decision is made for each subscription.
    assert answer.status_code == 204 or answer.json().get("failed", 0) == 0, answer.text
