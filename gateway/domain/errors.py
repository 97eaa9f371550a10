"""Every error a caller can get: its stable code, its status, and OpenAI's type for it.

`code` is part of the API and is never reworded. The message says what to do; the log gets the cause.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

# code -> (HTTP status, OpenAI's error type). docs/errors.md is generated from this table.
CODES: Final[Mapping[str, tuple[int, str]]] = MappingProxyType(
    {
        # who is calling
        "missing_api_key": (401, "authentication_error"),
        "invalid_api_key": (401, "authentication_error"),
        "conflicting_api_keys": (401, "authentication_error"),
        "api_key_expired": (401, "authentication_error"),
        "account_suspended": (403, "permission_error"),
        "subscription_suspended": (403, "permission_error"),
        "team_archived": (403, "permission_error"),
        "ip_not_allowed": (403, "permission_error"),
        "not_authenticated": (401, "authentication_error"),
        "forbidden": (403, "permission_error"),
        "cross_site_request": (403, "permission_error"),
        "login_failed": (400, "authentication_error"),
        # what is asked
        "not_found": (404, "invalid_request_error"),
        "method_not_allowed": (405, "invalid_request_error"),
        "model_not_found": (404, "invalid_request_error"),
        "response_not_found": (404, "invalid_request_error"),
        "model_in_query": (400, "invalid_request_error"),
        "invalid_json": (400, "invalid_request_error"),
        "invalid_request": (400, "invalid_request_error"),
        "parameter_not_allowed": (400, "invalid_request_error"),
        "upgrade_required": (426, "invalid_request_error"),
        "session_expired": (400, "invalid_request_error"),
        "unsupported_media_type": (415, "invalid_request_error"),
        "request_too_large": (413, "invalid_request_error"),
        "validation_failed": (422, "invalid_request_error"),
        "conflict": (409, "invalid_request_error"),
        "precondition_failed": (412, "invalid_request_error"),
        "idempotency_key_reused": (422, "invalid_request_error"),
        # limits
        "rate_limit_exceeded": (429, "rate_limit_error"),
        "insufficient_quota": (429, "insufficient_quota"),
        "request_exceeds_limit": (400, "invalid_request_error"),
        "model_has_no_price": (403, "permission_error"),
        "cost_not_bounded": (403, "permission_error"),
        # parts of the gateway that do not answer
        "limits_unavailable": (503, "server_error"),
        "ledger_unavailable": (503, "server_error"),
        "keys_unavailable": (503, "server_error"),
        "database_unavailable": (503, "server_error"),
        "overloaded": (503, "server_error"),
        "clock_skew": (503, "server_error"),
        "shutting_down": (503, "server_error"),
        # the upstream
        "upstream_error": (502, "upstream_error"),
        "upstream_unavailable": (503, "upstream_error"),
        "upstream_timeout": (504, "upstream_error"),
        "internal_error": (500, "server_error"),
    }
)


class GatewayError(Exception):
    """An answer that is not the one asked for; made into a body by `gateway.web.errors` only.

    `param` names the field at fault, `headers` go out with the answer, `details` is what a program may
    read beside the sentence (numbers of a limit, fields of a form). `provider_type` is Anthropic's word for it, where a
    model of its API refused.
    """

    provider_type: str | None = None

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.type = CODES[code]
        self.code = code
        self.message = message
        self.param = param
        self.headers = dict(headers or {})
        if self.status == 401:
            # RFC 9110, section 15.5.2
            self.headers.setdefault("www-authenticate", "Bearer")
        self.details = dict(details or {})
