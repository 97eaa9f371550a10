"""A21: the OpenAPI document says what an operation does, takes and answers, for people and for client generators."""

import re
from collections.abc import Iterator
from typing import Any, Final

from admin_client import NOWHERE, openapi_document, settings_for

from admin_api.main import create_app
from admin_api.routes.docs import PAGES
from admin_api.routes.openapi import errors, examples, field_texts, parameter_texts, summaries, tags
from admin_api.routes.openapi.document import api_routes
from gateway.domain.errors import CODES
from tests.contract.raised_codes import RaisedCodes

NOT_THEIRS: Final = "only another operation that shares the code raises it"
ROWS: Final = "each subscription has its own error in the answer"
UNREAD: Final = "raised by a method of an object, which RaisedCodes does not follow"
# Where the document differs from what RaisedCodes reads: operation -> status -> why.
UNFILTERED: Final = "it asks for the usage of all, and names nobody"
DIFFERENCES: Final[dict[str, dict[int, str]]] = {
    "log_in": {404: UNREAD},
    "log_out": {404: NOT_THEIRS},
    "end_own_sessions": {404: NOT_THEIRS},
    "list_own_tokens": {404: NOT_THEIRS},
    "create_own_token": {404: NOT_THEIRS},
    "update_own_user": {409: NOT_THEIRS},
    "decide_subscriptions": {404: ROWS, 409: ROWS},
    "show_usage_store": {404: "a dependency raises it"},
    "verify_usage_store": {404: "a dependency raises it"},
    "show_system": {404: UNFILTERED, 409: UNFILTERED},
}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in openapi_document()["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def ids() -> set[str]:
    return {operation["operationId"] for _, _, operation in operations()}


def test_a21_ids_of_operations_are_readable_names() -> None:
    listed = [operation["operationId"] for _, _, operation in operations()]

    assert len(set(listed)) == len(listed)
    assert [one for one in listed if not re.fullmatch("[a-z]+(_[a-z]+)+", one)] == []


def test_a21_titles_are_sentences_of_their_own() -> None:
    titles = [operation["summary"] for _, _, operation in operations()]

    assert len(set(titles)) == len(titles)
    # "Show Litellm" was a function's name in title case.
    assert [
        title for title in titles if not re.fullmatch(r"[A-Z][\w']*,?( ([a-z][\w']*,?|LiteLLM('s)?))+", title)
    ] == []


def test_a21_every_operation_says_what_it_does() -> None:
    assert [path for path, _, operation in operations() if not operation.get("description")] == []


def test_a21_every_field_is_described() -> None:
    missing = [
        f"{shape}.{field}"
        for shape, described in openapi_document()["components"]["schemas"].items()
        for field, facts in described.get("properties", {}).items()
        if not facts.get("description")
    ]

    assert missing == [], "add texts in admin_api/routes/openapi/field_texts.py, or Field(description=...)"


def test_a21_every_shape_is_described() -> None:
    shapes = openapi_document()["components"]["schemas"].items()

    assert [name for name, shape in shapes if "properties" in shape and not shape.get("description")] == []


def test_a21_every_parameter_is_described() -> None:
    missing = [
        f"{method} {path}: {parameter['name']}"
        for path, method, operation in operations()
        for parameter in operation.get("parameters", ())
        if not parameter.get("description")
    ]

    assert missing == [], "add texts in admin_api/routes/openapi/parameter_texts.py, or a description"


def test_a21_every_body_has_an_example() -> None:
    missing = [
        operation["operationId"]
        for _, _, operation in operations()
        for content in operation.get("requestBody", {}).get("content", {}).values()
        if not content["examples"]
    ]

    assert missing == [], "add one in admin_api/routes/openapi/examples.py"


def test_a21_every_tag_is_described_with_its_page() -> None:
    used = {tag for _, _, operation in operations() for tag in operation["tags"]}

    assert used == set(tags.TAGS)
    assert {f"{page}.md" for _, page in tags.TAGS.values()} <= set(PAGES)


def test_a21_pages_that_the_document_links_exist() -> None:
    linked = re.findall(r"\(/docs/([\w.]+)\)", openapi_document()["info"]["description"])

    assert {"prices.md", "logins.md"} <= set(linked) <= set(PAGES)


def test_a21_texts_name_only_what_is_there() -> None:
    parameters = {parameter["name"] for _, _, one in operations() for parameter in one.get("parameters", ())}
    fields = {
        name for shape in openapi_document()["components"]["schemas"].values() for name in shape.get("properties", {})
    }

    assert set(summaries.SUMMARIES) - ids() == set()
    assert set(examples.EXAMPLES) - ids() == set()
    assert set(errors.OF_OPERATION) - ids() == set()
    assert set(errors.NEVER_MISSING) - ids() == set()
    assert set(parameter_texts.PARAMETERS) - parameters == set()
    assert set(parameter_texts.PATH_EXAMPLES) - parameters == set()
    assert {operation for operation, _ in parameter_texts.OF_OPERATION} - ids() == set()
    assert set(field_texts.FIELDS) - fields == set()


def test_a21_errors_of_the_document_are_those_that_can_happen() -> None:
    codes = RaisedCodes()
    wrong, differing = [], set()
    for route in api_routes(create_app(settings_for(NOWHERE))):
        for method in route.methods or ():
            responses = openapi_document()["paths"][route.path_format][method.lower()]["responses"]
            raised = {CODES[code][0] for code in codes.of(route.endpoint.__module__, route.endpoint.__name__)}
            for status in (404, 409):
                is_said = str(status) in responses and responses[str(status)]["description"] != errors.UNDER_WAY
                if (status in raised) != is_said:
                    differing.add((route.name, status))
                    wrong.append(f"{route.name} {status}: {'cannot happen' if is_said else 'not said'}")

    known = {(operation, status) for operation, statuses in DIFFERENCES.items() for status in statuses}
    assert differing == known, f"see admin_api/routes/openapi/errors.py: {wrong}"


def test_a21_versions_and_bodies_have_their_errors() -> None:
    for path, method, operation in operations():
        named = {parameter["name"] for parameter in operation.get("parameters", ())}
        responses = set(operation["responses"])
        where = f"{method} {path}"

        assert ("412" in responses) == ("if-match" in named), where
        assert ("413" in responses) == ("415" in responses) == ("requestBody" in operation), where
        assert ("401" in responses) == ("security" in operation), where
