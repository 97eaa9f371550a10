"""Classes of errors of forwarded calls: few, so that rollups can have one row for each."""

from typing import Final, Literal, get_args

from gateway.domain.usage_rows import UsageRow

ErrorClass = Literal[
    "none",  # it completed
    "hung_up",  # the caller left
    "rate_limited",  # the model's provider: 429
    "rejected",  # the model's provider: any other 4xx; the call was at fault
    "server_error",  # the model's provider: 5xx
    "broken_off",  # the answer broke off, or held an error itself
    "timeout",
    "unreachable",
    "shutting_down",  # the gateway stopped
    "gateway_lost",  # the gateway died; the row is estimated
]
ERROR_CLASSES: Final = get_args(ErrorClass)


def error_class_of(row: UsageRow) -> ErrorClass:
    """As function error_class of migrations/0012."""
    if row.estimated_why == "reaped":
        return "gateway_lost"
    match row.ending:
        case "completed":
            return "none"
        case "client_disconnected":
            return "hung_up"
        case "timeout" | "unreachable":
            return row.ending
        case "refused_upstream":
            if row.status == 429:
                return "rate_limited"
            return "rejected" if row.status < 500 else "server_error"
        case "upstream_error":
            return "shutting_down" if row.error_code == "shutting_down" else "broken_off"
