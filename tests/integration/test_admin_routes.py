"""The JSON routes of the admin API."""

import httpx2
import pytest
from admin_client import check_error
from factories import make_model, make_subscription, make_user
from loopback_servers import LiteLLMInfoServer

from gateway.storage.postgres import Pool


async def make_login(admin: httpx2.AsyncClient, pool: Pool) -> dict[str, object]:
    """A key through the API; its body."""
    user, model = await make_user(pool), await make_model(pool)
    await make_subscription(pool, user, model)
    answer = await admin.post("/api/v1/api-keys", json={"user": user.email, "models": [model], "rpm": 5})
    assert answer.status_code == 201
    body: dict[str, object] = answer.json()
    return body


async def test_a_new_key_is_shown_once(admin: httpx2.AsyncClient, pool: Pool) -> None:
    made = await make_login(admin, pool)

    again = await admin.get(f"/api/v1/api-keys/{made['id']}")

    assert str(made["key"]).startswith("sk-lm-")
    assert again.status_code == 200
    assert "key" not in again.json()
    assert str(made["key"]) not in again.text


async def test_a_key_is_revoked_by_deleting_it(admin: httpx2.AsyncClient, pool: Pool) -> None:
    made = await make_login(admin, pool)

    answer = await admin.delete(f"/api/v1/api-keys/{made['id']}")

    assert answer.status_code == 200
    assert answer.json()["revoked_at"].endswith("Z")


async def test_a_budget_is_set_in_usd_and_returned_in_usd_and_nano_usd(admin: httpx2.AsyncClient, pool: Pool) -> None:
    made = await make_login(admin, pool)
    budget = {"level": "key", "id": made["id"], "kind": "cost", "window": "month"}

    by_usd = await admin.put("/api/v1/limits", json=budget | {"amount_usd": "0.45"})
    by_nano = await admin.put("/api/v1/limits", json=budget | {"amount_nano_usd": 450_000_000})
    gone = await admin.put("/api/v1/limits", json=budget | {"amount": "unlimited"})

    assert by_usd.json()["amount_nano_usd"] == 450_000_000
    assert by_usd.json()["amount_usd"] == "0.45"
    assert by_nano.json() == by_usd.json() | {"replaced_amount_usd": "0.45", "replaced_amount_nano_usd": 450_000_000}
    assert gone.status_code == 204


@pytest.mark.parametrize(
    "amount",
    [
        {},
        {"amount": 1, "amount_usd": "1"},
        {"amount_nano_usd": 2**53},
        {"amount_nano_usd": -1},
        {"amount": "much"},
        {"amount_usd": "x"},
    ],
)
async def test_an_invalid_amount_is_refused(admin: httpx2.AsyncClient, amount: dict[str, object]) -> None:
    budget = {"level": "key", "id": 1, "kind": "cost", "window": "month"}

    check_error(await admin.put("/api/v1/limits", json=budget | amount), 422, "validation_failed")


async def test_a_subscription_goes_through_its_states(admin: httpx2.AsyncClient, pool: Pool) -> None:
    user, model = await make_user(pool), await make_model(pool, restricted=True)
    made = (await admin.post("/api/v1/subscriptions", json={"user": user.email, "model": model})).json()
    path = f"/api/v1/subscriptions/{made['id']}"

    denied = await admin.post(f"{path}/deny", json={"reason": "not now"})
    asked = await admin.post(f"{path}/request-review")
    approved = await admin.post(f"{path}/approve")
    again = await admin.post(f"{path}/approve")

    states = [made["status"], *(answer.json()["status"] for answer in (denied, asked, approved))]
    assert states == ["pending", "denied", "pending", "active"]
    assert check_error(again, 409, "conflict")["allowed"] == ["suspend", "cancel"]
    history = (await admin.get(path)).json()["history"]
    assert [entry["to_status"] for entry in history] == states


async def test_an_audit_row_has_request_id_and_client_address(admin: httpx2.AsyncClient, pool: Pool) -> None:
    answer = await admin.post("/api/v1/teams", json={"name": "red"})

    row = await pool.fetchrow("SELECT actor, request_id::text, host(ip) AS ip FROM audit_logs")
    assert row is not None
    assert tuple(row) == ("admin-token", answer.headers["x-request-id"], "127.0.0.1")


async def test_models_are_synced_and_shown_without_their_deployment(
    admin: httpx2.AsyncClient, litellm_info_server: LiteLLMInfoServer
) -> None:
    litellm_info_server.answer(
        '{"data":[{"model_name":"team/small","litellm_params":{"model":"openai/hidden","api_base":"http://hidden"},'
        '"model_info":{"id":"hidden","key":"openai/hidden","input_cost_per_token":1e-6}}]}'
    )

    report = await admin.post("/api/v1/models/sync")
    shown = await admin.get("/api/v1/models/team/small")
    listed = await admin.get("/api/v1/models")

    assert report.json()["added"] == ["team/small"]
    assert shown.json()["price"]["input_per_million_usd"] == "1"
    assert "hidden" not in listed.text.replace('"hidden":false', "")


async def test_a_sync_without_litellm_is_a_clear_error(
    admin: httpx2.AsyncClient, litellm_info_server: LiteLLMInfoServer
) -> None:
    litellm_info_server.answer("down", status=500)

    check_error(await admin.post("/api/v1/models/sync"), 502, "upstream_error")


async def test_a_price_is_set_and_listed(admin: httpx2.AsyncClient, pool: Pool) -> None:
    model = await make_model(pool, "team/small")

    made = await admin.post(
        "/api/v1/prices", json={"model": model, "input_per_million_usd": "2.5", "output_per_million_usd": "0"}
    )
    listed = await admin.get("/api/v1/prices", params={"model": model})

    assert made.status_code == 201
    assert [row["input_per_million_usd"] for row in listed.json()["rows"]] == ["2.5", "1"]
    assert [row["source"] for row in listed.json()["rows"]] == ["admin", "litellm"]


async def test_a_page_has_a_cursor_to_the_next(admin: httpx2.AsyncClient, pool: Pool) -> None:
    made = [(await make_user(pool)).email for _ in range(5)]

    first = (await admin.get("/api/v1/users", params={"limit": 3})).json()
    second = (await admin.get("/api/v1/users", params={"limit": 3, "cursor": first["next_cursor"]})).json()

    assert [row["email"] for row in first["rows"] + second["rows"]] == made
    assert second["next_cursor"] is None
    # 20 digits that are a number, and more behind them.
    wrong = await admin.get("/api/v1/users", params={"cursor": "0" * 20 + "9" * 20})
    check_error(wrong, 422, "validation_failed")


async def test_a_member_is_added_shown_and_removed(admin: httpx2.AsyncClient, pool: Pool) -> None:
    user = await make_user(pool)
    await admin.post("/api/v1/teams", json={"name": "red", "time_zone": "Europe/Madrid"})

    added = await admin.post("/api/v1/teams/red/members", json={"user": user.email, "role": "owner"})
    shown = await admin.get("/api/v1/teams/red")
    removed = await admin.delete(f"/api/v1/teams/red/members/{user.email}")

    assert (added.status_code, removed.status_code) == (201, 204)
    assert [(member["email"], member["role"]) for member in shown.json()["members"]] == [(user.email, "owner")]


async def test_the_usage_of_a_key_without_calls_is_empty(admin: httpx2.AsyncClient, pool: Pool) -> None:
    made = await make_login(admin, pool)

    body = (await admin.get("/api/v1/usage", params={"key": made["id"]})).json()

    assert (body["rows"], body["totals"]["calls"], body["next_cursor"]) == ([], 0, None)
