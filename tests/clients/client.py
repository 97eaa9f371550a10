"""What a client is: version, program, what it cannot do, what it shows, and how it is configured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from clients import node, venvs
from clients.tasks import RARE_TASKS

CHAT_MODEL: Final = "demo-chat"
CLAUDE_MODEL: Final = "demo-claude"
RERANK_MODEL: Final = "demo-rerank"
EMBEDDING_MODEL: Final = "demo-embedding"
# The vendors' own classes for these statuses.
ERRORS: Final = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    429: "RateLimitError",
    503: "InternalServerError",
}
ERRORS_OF_ANTHROPIC: Final = ERRORS | {503: "ServiceUnavailableError"}
ERRORS_OF_LANGCHAIN: Final = {
    400: "OpenAIInvalidRequestError",
    401: "OpenAIAuthenticationError",
    403: "OpenAIPermissionDeniedError",
    404: "OpenAIModelNotFoundError",
    429: "OpenAIRateLimitError",
    503: "OpenAIAPIError",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One client by one API. It does every task but those in `lacks`, which say why, and of the rare ones
    those in `also`; of those in `silent` it shows no tokens."""

    name: str
    title: str
    version: str
    api: str
    command: Sequence[str]
    folder: Path
    environment: str | Path  # a virtual environment by name, or a folder of `node_modules`
    configured: str
    model: str = CHAT_MODEL
    lacks: Mapping[str, str] = field(default_factory=dict)
    also: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()
    shows_code: bool = True
    shows_status: bool = True
    own_messages: Mapping[int, str] = field(default_factory=dict)  # where it shows its own by the status
    always_streams: bool = False
    asks_to_reason: bool = False
    tool: tuple[str, str] = ("get_weather", '{"city":"Oslo"}')  # one that it offers, and arguments
    requests_of_a_call: int = 1
    tries_when_spent: int = 1  # of a call that is refused until the day ends, and that says so
    errors: Mapping[int, str] = field(default_factory=lambda: ERRORS)
    is_short: bool = False  # its matrix is run by `make test` too
    is_tried: bool = False  # its tries are counted

    def does(self, task: str) -> bool:
        """Whether it has a cell."""
        return task in self.also if task in RARE_TASKS else task not in self.lacks

    @property
    def column(self) -> str:
        """Its name in a table."""
        return f"{self.title} {self.version}"

    def refusal_cell(self, status: int) -> str:
        """What the page says of a refusal: the exception, and the requests that arrived, if there was more than one."""
        tries = self.tries_when_spent if status == 429 else 1
        return f"`{self.errors[status]}`" + (f", {tries} requests" if tries > 1 else "")

    def install(self) -> None:
        """Puts what it needs in place, if it is not there."""
        if isinstance(self.environment, Path):
            node.install(self.environment)
        else:
            venvs.install(self.environment)
