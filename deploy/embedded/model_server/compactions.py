"""Compactions of a conversation, and the count of its tokens, both of the Responses API."""

import time
from typing import Any

from deploy.embedded.model_server.at_once import AtOnce, Made
from deploy.embedded.model_server.calls import Call, Calls
from deploy.embedded.model_server.plan import directives
from deploy.embedded.model_server.responses import Responses

COMPACTED_TOKENS = 40


class Compactions(AtOnce):
    """`POST /v1/responses/compact`: one opaque item, of as many tokens as [tokens] says."""

    name = "responses_compact"

    def __init__(self, responses: Responses, calls: Calls) -> None:
        super().__init__(calls)
        self._responses = responses

    def text(self, body: dict[str, Any]) -> str:
        return self._responses.read(body).text

    def make(self, body: dict[str, Any], text: str, call: Call, *, tells_usage: bool) -> Made:
        call.prompt_tokens = self._responses.read(body).tokens
        call.completion_tokens = int(directives(text).get("tokens", COMPACTED_TOKENS))
        item = {"id": f"cmp_{call.ordinal}", "type": "compaction", "encrypted_content": "x" * call.completion_tokens}
        answer: dict[str, Any] = {
            "id": f"resp_cmp{call.ordinal}",
            "object": "response.compaction",
            "created_at": int(time.time()),
            "output": [item],
        }
        usage = {
            "input_tokens": call.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": call.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": call.prompt_tokens + call.completion_tokens,
        }
        return Made.of(answer | {"usage": usage} if tells_usage else answer)


class InputTokens(Compactions):
    """`POST /v1/responses/input_tokens`. Bills nothing: counting tokens is free."""

    name = "responses_input_tokens"

    def make(self, body: dict[str, Any], text: str, call: Call, *, tells_usage: bool) -> Made:
        return Made.of({"object": "response.input_tokens", "input_tokens": self._responses.read(body).tokens})
