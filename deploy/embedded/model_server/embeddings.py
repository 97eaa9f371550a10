"""`/v1/embeddings`: its tokens are the words of its texts."""

import base64
import struct
from typing import Any

from deploy.embedded.model_server.at_once import AtOnce, Made
from deploy.embedded.model_server.calls import Call
from deploy.embedded.model_server.faults import bad_request
from deploy.embedded.model_server.plan import Refused
from deploy.embedded.model_server.words import count_words, vector

DIMENSIONS = 8


class Embeddings(AtOnce):
    """Vectors that depend on the text."""

    name = "embeddings"

    def make(self, body: dict[str, Any], text: str, call: Call, *, tells_usage: bool) -> Made:
        given = body.get("input")
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise Refused(bad_request("'input' must be a text or texts."))
        call.prompt_tokens = sum(count_words(text) for text in texts)
        size = body.get("dimensions") or DIMENSIONS
        packed = body.get("encoding_format") == "base64"
        data = [
            {"object": "embedding", "index": i, "embedding": _packed(v) if packed else v}
            for i, v in enumerate(vector(text, size) for text in texts)
        ]
        answer: dict[str, Any] = {"object": "list", "model": call.model, "data": data}
        if tells_usage:
            answer["usage"] = {"prompt_tokens": call.prompt_tokens, "total_tokens": call.prompt_tokens}
        return Made.of(answer)


def _packed(numbers: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
