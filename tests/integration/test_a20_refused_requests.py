"""A20: what is wrong with a request is said in no words of a library, and each field by its own name."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from test_a20_refused_commands import LIBRARY_WORDS

WRONG: tuple[Any, ...] = ([], {}, [{}], [None], "x" * 5000, "", "no such value", -1, 1.5, 10**30, True, {"a": [1]})


def fields_of(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The fields of a body."""
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
    if "anyOf" in schema:
        return next((found for one in schema["anyOf"] if (found := fields_of(document, one))), {})
    return dict(schema.get("properties", {}))


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            # Numbers are ids, everything else a name.
            yield method, path, operation


async def test_a20_every_wrong_value_is_refused_in_plain_words(admin: httpx2.AsyncClient) -> None:
    document = (await admin.get("/openapi.json")).json()
    bodies, parameters = 0, 0
    for method, path, operation in operations(document):
        filled = "/".join("1" if part.startswith("{") else part for part in path.split("/"))
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        for field in fields_of(document, content.get("schema", {})):
            for wrong in WRONG:
                answer = await admin.request(method.upper(), filled, json={field: wrong})
                bodies += check(answer, field)
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "query":
                for wrong in ("x" * 5000, "", "no such value", "-1"):
                    answer = await admin.request(method.upper(), filled, params={parameter["name"]: wrong})
                    parameters += check(answer, parameter["name"])
    assert bodies > 300
    assert parameters > 80


def check(answer: httpx2.Response, field: str) -> bool:
    """Whether the answer is about the fields of the request, in our words."""
    if answer.status_code != 422:
        return False
    error = answer.json()["error"]
    assert not LIBRARY_WORDS.search(answer.text), answer.text
    assert error["message"].endswith("."), answer.text
    for one in error["details"].get("fields", []):
        assert one["field"].split(".")[0].replace("_", "").isalnum(), one
        assert not {"constrained-int", "constrained-str", "int", "str", "function-wrap[]"} & set(
            one["field"].split(".")
        )
    return any(one["field"].split(".")[0] == field for one in error["details"].get("fields", []))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"level": "key", "id": 1, "kind": "rpm", "amount": [5]},
            "amount must be a whole number or must be unlimited",
        ),
        (
            {"level": "floor", "id": 1, "kind": "rpm", "amount": 5},
            "level must be key, key_model, subscription, user or team",
        ),
        ({"level": "key", "kind": "rpm", "amount": 5}, "id is required"),
        ({"level": "key", "id": 1, "kind": "rpm", "amount": 5, "ammount": 6}, "ammount is not known here"),
    ],
)
async def test_a20_a_refused_limit_says_what_it_may_be(
    admin: httpx2.AsyncClient, body: dict[str, Any], message: str
) -> None:
    answer = await admin.put("/api/v1/limits", json=body)

    assert answer.status_code == 422
    assert message in answer.json()["error"]["message"]
