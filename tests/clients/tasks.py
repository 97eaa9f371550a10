"""What clients are asked to do, and what they return."""

from dataclasses import dataclass
from typing import Any, Final

RETRIES: Final = 2
# By the column of the matrix.
TASKS: Final = {
    "plain": "plain",
    "stream": "stream",
    "tools": "tools",
    "structured": "structured output",
    "embeddings": "embeddings",
    "rerank": "rerank",
    "models": "list of models",
    "count": "count of tokens",
    "refused_by_limit": "refused: 429",
    "unknown_model": "refused: 404",
    "hang_up": "hang-up",
}
# Most clients have no function for them.
RARE_TASKS: Final = frozenset({"rerank", "models", "count"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task, as the programs read it. `texts` are those to embed or to rank."""

    name: str
    url: str
    key: str
    model: str
    api: str = "chat"
    prompt: str = "Hello"
    max_tokens: int = 256
    retries: int = RETRIES
    texts: tuple[str, ...] = ()
    watched: str = ""  # the model server's record of the call, for those that show nothing of a stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An answer, as far as the client shows it, or the client's exception by the name of its class."""

    text: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    pieces: int | None = None  # of a stream
    tool: str | None = None
    arguments: Any = None  # of the tool: an object, or its JSON
    parsed: dict[str, Any] | None = None  # a structured answer
    vectors: list[list[float]] | None = None
    ranks: list[tuple[int, float]] | None = None  # (index, score)
    models: list[str] | None = None
    error: str | None = None
    status: int = 200
    code: str | None = None
    message: str = ""
