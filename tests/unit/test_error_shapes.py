"""Errors in Anthropic's dialect: the word that its clients distinguish them by."""

import pytest

from gateway.domain.errors import CODES, GatewayError
from gateway.web.errors import error_body

# https://docs.anthropic.com/en/api/errors
DOCUMENTED = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
    404: "not_found_error", 409: "conflict_error", 413: "request_too_large", 429: "rate_limit_error",
    500: "api_error", 504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip


def kind_of(status: int, reported: str = "upstream_error") -> str:
    error = GatewayError("upstream_error", "It failed.")
    error.status, error.type = status, reported
    body = error_body(error, "id", "anthropic")
    assert body["type"] == "error"
    return str(body["error"]["type"])


@pytest.mark.parametrize(("status", "kind"), DOCUMENTED.items())
def test_d10_a_status_has_the_type_that_anthropic_documents(status: int, kind: str) -> None:
    assert kind_of(status) == kind


def test_d10_no_4xx_is_an_error_of_the_server_and_every_5xx_is() -> None:
    of_server = {"api_error", "timeout_error", "overloaded_error"}
    assert not {kind_of(status) for status in range(400, 500)} & of_server
    assert {kind_of(status) for status in range(500, 600)} <= of_server


@pytest.mark.parametrize(("status", "reported", "kind"), [
    (500, "overloaded_error", "overloaded_error"),
    (500, "timeout_error", "timeout_error"),
    (400, "billing_error", "billing_error"),
    (529, "server_error", "overloaded_error"),
    (500, "None", "api_error"),
    # LiteLLM's word for every failure.
    (402, "api_error", "billing_error"),
    (504, "api_error", "timeout_error"),
    (503, "api_error", "overloaded_error"),
    (404, "invalid_request_error", "not_found_error"),
    (429, "permission_error", "rate_limit_error"),
])  # fmt: skip
def test_d10_a_type_of_anthropics_that_the_upstream_reports_stays(status: int, reported: str, kind: str) -> None:
    assert kind_of(status, reported) == kind


@pytest.mark.parametrize("code", CODES)
def test_d10_errors_of_the_gateway_have_the_type_of_their_status(code: str) -> None:
    error = GatewayError(code, "It failed.")

    assert error_body(error, "id", "anthropic")["error"]["type"] == kind_of(error.status)
