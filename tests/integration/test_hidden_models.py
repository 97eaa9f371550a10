"""A hidden model is indistinguishable from a missing one for users without a subscription to it."""

from collections.abc import Mapping
from typing import Any

import httpx2
from factories import ADMIN, make_model, make_subscription, make_team, make_user
from test_owner_routes import login

from admin_api.operations import subscriptions
from admin_api.operations.models import models
from gateway.storage.postgres import Pool

Reported = dict[str, tuple[int, str]]


async def ask_all(admin: httpx2.AsyncClient, me: Mapping[str, Any], key_id: int, model: str) -> Reported:
    """The response of each route that takes a model name, without the name and variable ids."""
    key_model = {"level": "key_model", "id": key_id, "model": model, "kind": "rpm", "amount": 1}
    usage = "/api/v1/usage"
    answers = {
        "subscriptions": await admin.get("/api/v1/subscriptions", params={"model": model}, **me),
        "key": await admin.post("/api/v1/api-keys", json={"models": [model]}, **me),
        "models of a key": await admin.patch(f"/api/v1/api-keys/{key_id}", json={"models": [model]}, **me),
        "limit": await admin.put("/api/v1/limits", json=key_model, **me),
        "model": await admin.get(f"/api/v1/models/{model}", **me),
        "price": await admin.get("/api/v1/prices", params={"model": model}, **me),
        "summary": await admin.get(f"{usage}/summary", params={"model": model}, **me),
        "export": await admin.get(f"{usage}/export", params={"model": model}, **me),
        "summary of a team": await admin.get(f"{usage}/summary", params={"model": model, "team": "red"}, **me),
        "subscribe": await admin.post("/api/v1/subscriptions", json={"model": model}, **me),
    }
    return {
        name: (answer.status_code, answer.json()["error"]["message"].replace(model, "…") if answer.is_error else "")
        for name, answer in answers.items()
    }


async def test_a_hidden_model_is_indistinguishable_from_a_missing_one(admin: httpx2.AsyncClient, pool: Pool) -> None:
    ann = await make_user(pool)
    await make_subscription(pool, ann, await make_model(pool))
    await make_team(pool, ann, name="red")
    await models.update_model(pool, ADMIN, await make_model(pool, "secret"), hidden=True)
    me = {"headers": await login(pool, ann)}
    key_id = (await admin.post("/api/v1/api-keys", json={"models": ["small"]}, **me)).json()["id"]

    hidden = await ask_all(admin, me, key_id, "secret")
    absent = await ask_all(admin, me, key_id, "absent")

    assert hidden == absent
    assert {status for status, _ in hidden.values()} == {403, 404}
    assert await pool.fetchval("SELECT count(*) FROM limits WHERE level = 'key_model'") == 0
    of_admin = await admin.get("/api/v1/subscriptions", params={"model": "secret"})
    assert of_admin.json() == {"rows": [], "next_cursor": None}


async def test_a_subscriber_of_a_hidden_model_may_name_it(admin: httpx2.AsyncClient, pool: Pool) -> None:
    """It was subscribed to before it was hidden, or by an admin; in a team by its owners, for all its members."""
    ann, bob = await make_user(pool), await make_user(pool)
    await make_subscription(pool, ann, await make_model(pool, "secret"))
    await make_team(pool, ann, bob, name="red")
    await subscriptions.create_subscription(pool, ADMIN, model="secret", team="red")
    mine, theirs = {"headers": await login(pool, ann)}, {"headers": await login(pool, bob)}
    made = await admin.post("/api/v1/api-keys", json={"models": ["secret"]}, **mine)
    await models.update_model(pool, ADMIN, "secret", hidden=True)

    reported = await ask_all(admin, mine, made.json()["id"], "secret")
    listed = await admin.get("/api/v1/subscriptions", params={"model": "secret"}, **theirs)
    of_team = await admin.post(
        "/api/v1/api-keys", json={"models": ["secret"], "team": "red", "user": bob.email}, **theirs
    )
    summed = await admin.get("/api/v1/usage/summary", params={"model": "secret", "team": "red"}, **theirs)

    not_offered = {"model": 404, "price": 403, "subscribe": 404}
    assert {name: status for name, (status, _) in reported.items() if status >= 300} == not_offered
    assert [row["account_name"] for row in listed.json()["rows"]] == ["red"]
    assert (of_team.status_code, summed.status_code) == (201, 200)
