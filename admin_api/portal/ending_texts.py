"""How a call ended, in the person's language."""

from collections.abc import Mapping
from typing import Final

from admin_api.portal.texts import marked
from admin_api.portal.visits import Visit
from gateway.domain.calls import Ending
from gateway.domain.error_classes import ErrorClass

ENDINGS: Final[Mapping[Ending, str]] = {
    "completed": marked("completed"),
    "client_disconnected": marked("the caller disconnected"),
    "upstream_error": marked("failed at the provider"),
    "timeout": marked("timed out"),
    "refused_upstream": marked("refused by the provider"),
    "unreachable": marked("provider unreachable"),
}
ERROR_CLASSES: Final[Mapping[ErrorClass, str]] = {
    "none": marked("no error"),
    "hung_up": marked("the caller disconnected"),
    "rate_limited": marked("too many requests for the provider"),
    "rejected": marked("refused by the provider"),
    "server_error": marked("error of the provider"),
    "broken_off": marked("answer broken off"),
    "timeout": marked("timed out"),
    "unreachable": marked("provider unreachable"),
    "shutting_down": marked("the gateway stopped"),
    "gateway_lost": marked("the gateway was lost; estimated"),
}
# None is grey.
COLOURS: Final[Mapping[Ending, str | None]] = {
    "completed": "green",
    "client_disconnected": None,
    "upstream_error": "red",
    "timeout": "orange",
    "refused_upstream": "red",
    "unreachable": "red",
}


def text_of_ending(visit: Visit, ending: str) -> str:
    """One of ENDINGS."""
    return visit.messages.gettext(ENDINGS[ending])  # type: ignore[index]  # of the ledger


def text_of_error_class(visit: Visit, error_class: str) -> str:
    """One of ERROR_CLASSES."""
    return visit.messages.gettext(ERROR_CLASSES[error_class])  # type: ignore[index]  # of the ledger
