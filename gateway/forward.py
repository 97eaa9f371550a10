"""Step 3: open the upstream's answer. The only place that turns the upstream's failures into the caller's errors."""

import math
import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from time import time
from typing import Any, Final

import msgspec

from gateway.domain.errors import GatewayError
from gateway.domain.money import nano_usd_rounded_up
from gateway.upstream.client import Answer
from gateway.upstream.failures import UpstreamBroken, UpstreamSilent, UpstreamUnreachable

# Passed on as they are; every other header of the caller stays here, for LiteLLM takes credentials from many.
PASSED_HEADERS: Final = {
    b"content-type": "content-type",
    b"accept": "accept",
    b"user-agent": "user-agent",
    b"anthropic-version": "anthropic-version",
    b"anthropic-beta": "anthropic-beta",
    b"openai-beta": "openai-beta",
    b"traceparent": "traceparent",
}
# Of these, several lines are one list (RFC 9110, section 5.3).
LIST_HEADERS: Final = frozenset({b"accept", b"anthropic-beta", b"openai-beta"})
MAX_ERROR: Final = 64 * 1024
MAX_DIGITS: Final = 12
_NUMBER: Final = re.compile(r"[0-9]+(\.[0-9]+)?")
# LiteLLM leaves the type in the message only, and makes 500 of Anthropic's 529.
_ANTHROPIC_ERROR: Final = re.compile(r'"type":\s?"error",\s?"error":\s?\{[^{}]{0,200}?"type":\s?"([a-z_]{1,40})"')
# HTTP's dates: a weekday, and GMT unless it is C's asctime.
_DATE: Final = re.compile(r"[A-Z][a-z]{2,8}(, [0-9A-Za-z :-]{16,24} GMT| [0-9A-Za-z :]{16,24})")
# LiteLLM's own key was refused, or its upstream's: neither is the caller's doing.
STATUSES_OF_OURS: Final = {401: 502, 403: 502, 408: 504}


def upstream_headers(passed: Mapping[str, str], request_id: str, user: str) -> dict[str, str]:
    """What goes to LiteLLM beside the credential: the allow-list, our id for its log, and whose call it is."""
    own = {"content-type": "application/json", "x-litellm-call-id": request_id, "x-litellm-end-user-id": user}
    return {**passed, **own}


def cost_in_header(headers: Mapping[str, str]) -> int | None:
    """The cost that LiteLLM reports, in nano-USD; streams report it in their usage instead."""
    return nano_usd_rounded_up(headers.get("x-litellm-response-cost"))


def error_of(failure: Exception) -> GatewayError:
    """An upstream that could not be asked, broke off, or kept silent."""
    if isinstance(failure, UpstreamUnreachable):
        message = "The model server cannot be reached at this moment. Try again."
        return GatewayError("upstream_unavailable", message, headers={"retry-after": "2"})
    if isinstance(failure, UpstreamSilent):
        return GatewayError("upstream_timeout", "The model did not answer in time.")
    if isinstance(failure, UpstreamBroken):
        return GatewayError("upstream_error", "The model server broke off before it answered.")
    raise failure


async def read_refusal(answer: Answer) -> GatewayError:
    """The upstream's own error, in words that are the caller's to read: its status, its message, and whether and when
    to try again."""
    body = b""
    try:
        while len(body) < MAX_ERROR and (chunk := await answer.read()):
            body += chunk
    except (UpstreamBroken, UpstreamSilent):
        pass  # what came says enough: the status is known
    reported = _reported(body)
    error = GatewayError(
        "upstream_error", str(reported.get("message") or f"The model server answered {answer.status}.")
    )
    # A redirect is followed by nobody: it means that the address is wrong. HTTP has no status above 599.
    is_error = 400 <= answer.status < 600
    error.status = STATUSES_OF_OURS.get(answer.status, answer.status) if is_error else 502
    if error.status == answer.status:
        error.type = str(reported.get("type") or error.type)
        if (provider := _ANTHROPIC_ERROR.search(error.message)) is not None:
            error.provider_type = provider[1]
    else:
        # Its words may speak of a key that is not the caller's.
        error.message = f"The model server refused the gateway's request ({answer.status})."
        if answer.status == 408:
            error = GatewayError("upstream_timeout", "The model did not answer in time.")
    code = reported.get("code")
    if isinstance(code, str) and code and not code.isdigit() and error.status < 500:
        error.code = code
    if isinstance(param := reported.get("param"), str):
        error.param = param
    error.headers.update(_retry_headers(answer.headers, error))
    return error


def _retry_headers(headers: Mapping[str, str], error: GatewayError) -> dict[str, str]:
    """Headers that control the retries of SDKs, from LiteLLM or, under another name, from its provider. `retry-after`
    is in whole seconds, rounded up; fractions, which some providers send, are in `retry-after-ms`."""
    reported = {}

    def find(name: str) -> str:
        return headers.get(name) or headers.get(f"llm_provider-{name}") or ""

    if (wait_s := _wait_s(find("retry-after"))) is not None:
        reported["retry-after"] = str(math.ceil(wait_s))
        if wait_s % 1:
            reported["retry-after-ms"] = str(math.ceil(wait_s * 1000))
    if (wait_ms := _count(find("retry-after-ms"))) is not None:
        reported["retry-after-ms"] = str(math.ceil(wait_ms))
    should_retry = find("x-should-retry").lower()
    if should_retry in ("true", "false"):
        reported["x-should-retry"] = should_retry
    elif error.code == "insufficient_quota":
        # Providers leave it to the code, which SDKs do not look at.
        reported["x-should-retry"] = "false"
    return reported


def _wait_s(text: str) -> float | None:
    """Seconds, as a number or until a date (RFC 9110, section 10.2.3); a date that is over means at once."""
    if (wait_s := _count(text)) is not None or not _DATE.fullmatch(text):
        return wait_s
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    # Two of the three forms that HTTP allows have no zone that Python reads: all are UTC.
    return max(0, math.ceil(date.replace(tzinfo=UTC).timestamp() - time()))


def _count(text: str) -> float | None:
    """A number that is not negative and at most as long as a person would write it."""
    return float(text) if len(text) <= MAX_DIGITS and _NUMBER.fullmatch(text) else None


def _reported(body: bytes) -> dict[str, Any]:
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {}
    error = answer.get("error") if isinstance(answer, dict) else None
    return error if isinstance(error, dict) else {}
