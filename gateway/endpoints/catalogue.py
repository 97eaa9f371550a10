"""The endpoints that are forwarded, each a declaration: what differs between them and nothing else."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.endpoints.chat import parse_chat
from gateway.endpoints.requests import Call
from gateway.web.errors import ErrorShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """`name` goes into the ledger and metrics; `upstream_path` is constant: the caller's path is never sent on."""

    name: str
    path: str
    upstream_path: str
    parse: Callable[[bytes], Call]
    error_shape: ErrorShape = "openai"


ENDPOINTS: Final = (
    Endpoint(
        name="chat_completions",
        path="/v1/chat/completions",
        upstream_path="/v1/chat/completions",
        parse=parse_chat,
    ),
)
