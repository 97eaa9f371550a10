"""The SDKs by name, a call to make with one of them, and what its user sees of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from sdk.node_program import version_of_openai

RETRIES: Final = 2
# The SDKs' own classes for these statuses.
_ERRORS: Final = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    429: "RateLimitError",
    503: "InternalServerError",
}
_ERRORS_OF_LANGCHAIN: Final = {
    400: "OpenAIInvalidRequestError",
    401: "OpenAIAuthenticationError",
    403: "OpenAIPermissionDeniedError",
    404: "OpenAIModelNotFoundError",
    429: "OpenAIRateLimitError",
    503: "OpenAIAPIError",
}


@dataclass(frozen=True, slots=True)
class Sdk:
    """One kind of client. `title` says which version was tested."""

    name: str
    title: str
    errors: Mapping[int, str]


SDKS: Final = (
    Sdk("openai-python", f"openai {version('openai')} (Python)", _ERRORS),
    Sdk("openai-node", f"openai {version_of_openai()} (Node)", _ERRORS),
    Sdk("langchain-openai", f"langchain-openai {version('langchain-openai')}", _ERRORS_OF_LANGCHAIN),
    Sdk(
        "anthropic-python",
        f"anthropic {version('anthropic')} (Python)",
        _ERRORS | {503: "ServiceUnavailableError"},
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A call to make."""

    url: str
    key: str
    model: str = "demo-chat"
    prompt: str = "Hello"
    max_tokens: int = 16
    stream: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What came of it: an answer, or the SDK's exception by the name of its class."""

    error: str | None = None
    status: int = 200
    code: str | None = None
    message: str = ""
    text: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
