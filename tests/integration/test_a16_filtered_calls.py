"""Rows of `GET /usage` by every filter of the reports (A16): rows and totals are of the same calls."""

from datetime import timedelta
from typing import Any

import httpx2
import pytest
from admin_client import check_error
from conftest import Database
from factories import ADMIN, PEPPERS, make_key, make_model, make_subscription, make_team, make_user
from usage_rows import TODAY, make_usage_row, write_rows

from admin_api.operations import subscriptions
from admin_api.operations.keys import keys
from gateway.storage.postgres import Pool

AT = TODAY - timedelta(hours=5)


@pytest.fixture
async def made(pool: Pool) -> dict[str, Any]:
    """Calls of two users and a team, of two models, with two endings, hours apart."""
    ann, ben = await make_user(pool, "ann@example.org"), await make_user(pool, "ben@example.org")
    team = await make_team(pool, ann, name="red")
    models = {}
    for name in ("small", "large"):
        await make_model(pool, name)
        models[name] = await pool.fetchval("SELECT id FROM models WHERE name = $1", name)
    for person in (ann, ben):
        await make_subscription(pool, person, "small")
    own = {person.email: (await make_key(pool, person)).row for person in (ann, ben)}
    await subscriptions.create_subscription(pool, ADMIN, model="small", team="red")
    in_team = keys.KeyInput(models=["small"], team="red", user=ann.email)
    team_key = (await keys.create_key(pool, ADMIN, PEPPERS, in_team)).row.id
    rows = []
    for n, (account, person, key, model, ending) in enumerate((
        (ann.account_id, ann, own[ann.email].id, "small", "completed"),
        (ann.account_id, ann, own[ann.email].id, "large", "completed"),
        (ben.account_id, ben, own[ben.email].id, "small", "timeout"),
        (team.id, ann, team_key, "large", "completed"),
    )):  # fmt: skip
        rows.append(
            make_usage_row(
                AT + timedelta(hours=n), account_id=account, user_id=person.id, api_key_id=key,
                model_id=models[model], model_asked=model, ending=ending, status=504 if ending == "timeout" else 200,
            )
        )  # fmt: skip
    await write_rows(pool, rows)
    return {"key": own[ben.email].id, "ids": [str(row.request_id) for row in rows]}


@pytest.mark.parametrize(("query", "expected"), [
    ({"user": "ann@example.org"}, [3, 1, 0]),
    ({"team": "red"}, [3]),
    ({"model": "small"}, [2, 0]),
    ({"model": ["small", "large"], "user": "ben@example.org"}, [2]),
    ({"ending": "timeout"}, [2]),
    ({"error_class": "none", "model": "large"}, [3, 1]),
    ({"since": (AT + timedelta(hours=1)).isoformat(), "until": (AT + timedelta(hours=3)).isoformat()}, [2, 1]),
    ({"team": "red", "model": "small"}, []),
    ({}, [3, 2, 1, 0]),
])  # fmt: skip
async def test_a16_rows_and_totals_are_of_the_same_calls(
    admin: httpx2.AsyncClient, made: dict[str, Any], query: dict[str, Any], expected: list[int]
) -> None:
    body = (await admin.get("/api/v1/usage", params=query)).json()

    assert [row["request_id"] for row in body["rows"]] == [made["ids"][n] for n in expected]
    assert body["totals"]["calls"] == len(expected)
    assert body["totals"]["cost_nano_usd"] == 23_000 * len(expected)


async def test_a16_filtered_pages_have_every_call_once(admin: httpx2.AsyncClient, made: dict[str, Any]) -> None:
    seen, cursor = [], None
    while True:
        query = {"user": "ann@example.org", "limit": 2} | ({} if cursor is None else {"cursor": cursor})
        body = (await admin.get("/api/v1/usage", params=query)).json()
        seen += [row["request_id"] for row in body["rows"]]
        assert body["totals"]["calls"] == 3
        cursor = body["next_cursor"]
        if cursor is None:
            break

    assert seen == [made["ids"][n] for n in (3, 1, 0)]


async def test_a16_an_id_of_the_callers_own_goes_with_a_key_only(
    admin: httpx2.AsyncClient, database: Database, made: dict[str, Any]
) -> None:
    both = await admin.get("/api/v1/usage", params={"client_request_id": "x", "key": made["key"]})
    refused = await admin.get("/api/v1/usage", params={"client_request_id": "x", "team": "red"})

    assert both.status_code == 200
    check_error(refused, 422, "validation_failed")
