"""A8: a query parameter that a route does not have, or a single one given twice, is refused and never ignored."""

import re
from typing import Any

import httpx2
import pytest
from admin_client import check_error, openapi_document

from admin_api.routes.query_parameters import MAX_NAME, MAX_NAMED

# Another party chooses its parameters.
CALLBACK = "/api/auth/callback"


def routes_of() -> list[tuple[str, str, dict[str, bool]]]:
    """Method, path that can be sent, and query parameters of the OpenAPI document: true for lists."""
    found = []
    for path, methods in openapi_document()["paths"].items():
        for method, entry in methods.items():
            given = [p for p in entry.get("parameters", []) if p["in"] == "query"]
            found.append((method.upper(), path, {p["name"]: is_array(p["schema"]) for p in given}))
    return found


def is_array(schema: dict[str, Any]) -> bool:
    return schema.get("type") == "array" or any(is_array(part) for part in schema.get("anyOf", ()))


def sendable(path: str) -> str:
    """Parts that are numbers in the router are one; it need not exist, for the query is checked first."""
    return re.sub(r"{\w+}", "1", path)


async def test_a8_every_route_refuses_an_unknown_parameter_and_names_those_it_has(admin: httpx2.AsyncClient) -> None:
    routes = [route for route in routes_of() if route[1] != CALLBACK]
    refused = 0
    for method, path, names in routes:
        answer = await admin.request(method, sendable(path), params={"statu": "pending"})

        details = check_error(answer, 422, "validation_failed")
        assert details == {
            "fields": [{"field": "statu", "message": "unknown parameter"}],
            "allowed": sorted(names),
        }, (method, path)
        assert all(name in answer.json()["error"]["message"] for name in names)
        refused += 1
    assert refused == len(routes) > 80


async def test_a8_a_single_parameter_is_given_once_and_a_list_may_be_repeated(admin: httpx2.AsyncClient) -> None:
    single, lists = 0, 0
    for method, path, names in routes_of():
        for name, may_repeat in names.items():
            if path == CALLBACK:
                continue
            answer = await admin.request(method, sendable(path), params=[(name, "1"), (name, "2")])

            if may_repeat:
                lists += 1
                assert "once" not in answer.text, (path, name)
            else:
                single += 1
                fields = check_error(answer, 422, "validation_failed")["fields"]
                assert fields == [{"field": name, "message": "may be given once only"}], (path, name)
    assert single > 50
    assert lists > 5


@pytest.mark.parametrize("path", ["/api/v1/subscriptions", "/docs", "/docs/start.js", "/health/live"])
@pytest.mark.parametrize(
    "query", ["statu=pending", "statu", "limit[]=1", "Limit=5", "%00=1", "%ff=1", "=", "limi%74s=1"]
)
async def test_a8_no_spelling_of_an_unknown_parameter_passes(admin: httpx2.AsyncClient, path: str, query: str) -> None:
    check_error(await admin.get(f"{path}?{query}"), 422, "validation_failed")


async def test_a8_the_allowed_parameters_still_filter(admin: httpx2.AsyncClient) -> None:
    for query in ("", "?", "?status=pending", "?status=pending&limit=5"):
        assert (await admin.get(f"/api/v1/subscriptions{query}")).status_code == 200


async def test_a8_an_answer_is_bounded_whatever_the_caller_sends(admin: httpx2.AsyncClient) -> None:
    query = "&".join(f"{'x' * 300}{n}=1" for n in range(150))

    fields = check_error(await admin.get(f"/api/v1/users?{query}"), 422, "validation_failed")["fields"]

    assert len(fields) == MAX_NAMED
    assert {len(field["field"]) for field in fields} == {MAX_NAME}


async def test_a8_a_provider_may_add_parameters_to_the_callback(admin: httpx2.AsyncClient) -> None:
    answer = await admin.get(CALLBACK, params={"code": "c", "state": "s", "iss": "https://id", "session_state": "x"})

    check_error(answer, 400, "login_failed")


async def test_a8_nothing_is_changed_by_a_refused_request(admin: httpx2.AsyncClient) -> None:
    body = {"email": "ann@example.org"}

    check_error(await admin.post("/api/v1/users?dry_run=1", json=body), 422, "validation_failed")

    assert (await admin.get("/api/v1/users/ann@example.org")).status_code == 404
    assert (await admin.post("/api/v1/users", json=body)).status_code == 201
