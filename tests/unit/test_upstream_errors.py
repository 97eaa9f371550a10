"""Errors of the upstream as the caller sees them: the shape of OpenAI, and no internal details."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from multidict import CIMultiDict

from gateway.domain.errors import GatewayError
from gateway.forward import cost_in_header, error_of, read_refusal, upstream_headers
from gateway.upstream.failures import UpstreamBroken, UpstreamSilent, UpstreamUnreachable
from gateway.web.errors import error_body


class Answer:
    """A response that arrives in these chunks; an exception among them is raised."""

    def __init__(self, status: int, *chunks: bytes | Exception, **headers: str) -> None:
        self.status = status
        self.headers = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
        self.read_bytes = 0
        self._chunks = iter(chunks)

    async def read(self) -> bytes:
        chunk = next(self._chunks, b"")
        if isinstance(chunk, Exception):
            raise chunk
        self.read_bytes += len(chunk)
        return chunk


async def caller_error(answer: Answer) -> GatewayError:
    return await read_refusal(answer)  # type: ignore[arg-type]  # as much of an answer as is read


def body(**error: Any) -> bytes:
    return json.dumps({"error": error}).encode()


async def test_status_message_type_code_and_param_come_from_the_upstream() -> None:
    answer = body(message="too long", type="bad", code="context_length_exceeded", param="messages")

    error = await caller_error(Answer(400, answer))

    assert (error.status, error.message, error.type) == (400, "too long", "bad")
    assert (error.code, error.param) == ("context_length_exceeded", "messages")


@pytest.mark.parametrize("code", ["400", "", None, 400, ["x"]])
async def test_an_upstream_code_that_is_no_identifier_is_replaced(code: Any) -> None:
    assert (await caller_error(Answer(400, body(message="x", code=code)))).code == "upstream_error"


@pytest.mark.parametrize(("status", "ours"), [(401, 502), (403, 502), (301, 502), (204, 502)])
async def test_an_error_the_caller_did_not_cause_hides_its_details(status: int, ours: int) -> None:
    secret = body(message="Incorrect API key sk-secret", type="auth", code="invalid_api_key")

    error = await caller_error(Answer(status, secret))

    assert (error.status, error.code, error.type) == (ours, "upstream_error", "upstream_error")
    assert "sk-secret" not in error.message


@pytest.mark.parametrize(("status", "said", "kind"), [
    (500, '{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', "overloaded_error"),
    (500, '{"type": "error", "error": {"details": null, "type": "overloaded_error"}}', "overloaded_error"),
    (500, '{"type":"error","error":{"type":"api_error","message":"x"}}', "api_error"),
    (500, '{"type":"error","error":{"type":"nonsense","message":"x"}}', "api_error"),
    (500, 'The model said "overloaded_error".', "api_error"),
    (401, '{"type":"error","error":{"type":"billing_error","message":"x"}}', "api_error"),
])  # fmt: skip
async def test_d10_the_type_that_anthropic_reported_is_found_in_litellms_message(
    status: int, said: str, kind: str
) -> None:
    message = f"litellm.InternalServerError: AnthropicError - {said}\n\nLiteLLM: model group 'm' failed"
    error = await caller_error(Answer(status, body(message=message, type="api_error")))

    assert error_body(error, "id", "anthropic")["error"]["type"] == kind


async def test_a_408_of_litellm_is_a_timeout() -> None:
    error = await caller_error(Answer(408, body(message="x")))

    assert (error.status, error.code) == (504, "upstream_timeout")


@pytest.mark.parametrize(("header", "sent"), [
    ({"retry-after": "7"}, {"retry-after": "7"}),
    ({"retry-after": "0.25"}, {"retry-after": "1", "retry-after-ms": "250"}),
    ({"retry-after": "7.0"}, {"retry-after": "7"}),
    ({"retry-after": "2", "retry-after-ms": "1234.5"}, {"retry-after": "2", "retry-after-ms": "1235"}),
    ({"retry-after-ms": "300"}, {"retry-after-ms": "300"}),
    ({"llm_provider-retry-after": "12", "llm_provider-retry-after-ms": "11500"},
     {"retry-after": "12", "retry-after-ms": "11500"}),
    ({"x-should-retry": "false"}, {"x-should-retry": "false"}),
    ({"llm_provider-x-should-retry": "True"}, {"x-should-retry": "true"}),
    ({"llm-provider-retry-after": "9"}, {}),
    ({"retry-after": "soon"}, {}),
    ({"retry-after": "-5"}, {}),
    ({"retry-after": "1e9"}, {}),
    ({"retry-after": "9" * 5000}, {}),
    ({"retry-after": "\u0663"}, {}),
    ({"retry-after": "nan", "retry-after-ms": "inf", "x-should-retry": "perhaps"}, {}),
    ({"retry-after": "Wed, 21 Oct 2099 07:28:00 +0100"}, {}),
    ({"retry-after": "Someday, 99 Oct 2099 07:28:00 GMT"}, {}),
    ({"retry-after-ms": "Wed, 21 Oct 2099 07:28:00 GMT"}, {}),
    ({}, {}),
])  # fmt: skip
async def test_retry_headers_pass_if_they_are_numbers(header: dict[str, str], sent: dict[str, str]) -> None:
    answer = Answer(429, body(message="x"))
    answer.headers.update(header)

    assert (await caller_error(answer)).headers == sent


@pytest.mark.parametrize("form", ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"])
@pytest.mark.parametrize("name", ["retry-after", "llm_provider-retry-after"])
@pytest.mark.parametrize(("wait_s", "at_least", "at_most"), [(90, 80, 90), (-90, 0, 0)])
async def test_d21_a_retry_after_that_is_a_date_is_sent_in_seconds(
    name: str, form: str, wait_s: int, at_least: int, at_most: int
) -> None:
    """The three forms of RFC 9110, section 5.6.7."""
    answer = Answer(429, body(message="x"))
    answer.headers[name] = (datetime.now(UTC) + timedelta(seconds=wait_s)).strftime(form)

    headers = (await caller_error(answer)).headers

    assert headers.keys() == {"retry-after"}
    assert at_least <= int(headers["retry-after"]) <= at_most


async def test_a_spent_provider_quota_is_not_worth_a_retry() -> None:
    spent = body(message="You exceeded your current quota", type="insufficient_quota", code="insufficient_quota")

    assert (await caller_error(Answer(429, spent))).headers == {"x-should-retry": "false"}
    assert (await caller_error(Answer(429, spent, x_should_retry="true"))).headers == {"x-should-retry": "true"}


@pytest.mark.parametrize("content", [
    b"", b"<html>", b"null", b"[]", b'"x"', b'{"detail":"Not Found"}', b'{"error":"a string"}', b'{"error":null}',
    b"\xff\xfe", b"[" * 5000, b'{"error":{"message":"\xff"}}',
])  # fmt: skip
async def test_the_error_for_a_body_of_another_shape_goes_by_its_status(content: bytes) -> None:
    error = await caller_error(Answer(418, content))

    assert (error.status, error.code, error.message) == (418, "upstream_error", "The model server answered 418.")


@pytest.mark.parametrize("failure", [UpstreamBroken("x"), UpstreamSilent("x")])
async def test_the_error_for_a_truncated_body_goes_by_its_status(failure: Exception) -> None:
    error = await caller_error(Answer(503, b'{"error":', failure))

    assert (error.status, error.code) == (503, "upstream_error")


async def test_an_endless_error_body_is_read_up_to_a_bound() -> None:
    answer = Answer(500, *[b"x" * 10_000] * 1000)

    await caller_error(answer)

    assert answer.read_bytes < 100_000


@pytest.mark.parametrize(("failure", "code", "status"), [
    (UpstreamUnreachable("x"), "upstream_unavailable", 503),
    (UpstreamSilent("x"), "upstream_timeout", 504),
    (UpstreamBroken("x"), "upstream_error", 502),
])  # fmt: skip
def test_each_failure_has_a_code_and_hides_its_cause(failure: Exception, code: str, status: int) -> None:
    error = error_of(failure)

    assert (error.code, error.status) == (code, status)
    assert "x" not in error.message.split()


def test_a_programming_error_is_not_reported_as_an_upstream_error() -> None:
    with pytest.raises(ZeroDivisionError):
        error_of(ZeroDivisionError())


def test_headers_of_the_gateway_replace_those_of_the_caller() -> None:
    passed = {"content-type": "text/plain", "user-agent": "x", "x-litellm-call-id": "theirs"}

    assert upstream_headers(passed, "ours", "account-5") == {
        "content-type": "application/json",
        "user-agent": "x",
        "x-litellm-call-id": "ours",
        "x-litellm-end-user-id": "account-5",
    }


@pytest.mark.parametrize(("value", "cost"), [
    ("0.000023", 23_000), ("4.9999999999999996e-05", 50_000), ("2.3000000000000003e-05", 23_001), ("1e-300", 1),
    ("0.0", 0), ("1000000", 10**15), ("0.1" + "0" * 70, None), ("", None), ("None", None), ("nan", None),
    ("inf", None), ("-1", None), ("1000000.1", None), ("1e300", None), ("1e-99999999999999999999", None),
])  # fmt: skip
def test_a_cost_header_is_an_amount_rounded_up_or_ignored(value: str, cost: int | None) -> None:
    assert cost_in_header(CIMultiDict({"x-litellm-response-cost": value})) == cost
    assert cost_in_header({}) is None
