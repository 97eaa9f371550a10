"""Endpoints that answer at once: images, speech, moderations, rankings. They take the directives [mark] and [fault]."""

import base64
from typing import Any, ClassVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from deploy.embedded.model_server.calls import Call, Calls
from deploy.embedded.model_server.endpoint import open_call, read_object, refused
from deploy.embedded.model_server.faults import REFUSALS, fault_of
from deploy.embedded.model_server.plan import directives
from deploy.embedded.model_server.words import count_words, seed_of

# The smallest PNG there is: one grey pixel.
PIXEL = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c6360000000020001e221bc33"
        "0000000049454e44ae426082"
    )
).decode()
BYTES_A_CHARACTER = 100


class AtOnce:
    """One such endpoint: its words are in the field `said_in`; `answer` bills them and gives the body."""

    name: ClassVar[str]
    said_in: ClassVar[str]

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def create(self, request: Request) -> Response:
        body = read_object(await request.body())
        call = open_call(self._calls, self.name, request, body)
        text = _text(body, self.said_in)
        asked = directives(text)
        call.mark = asked.get("mark")
        if refusal := REFUSALS.get(fault_of(call.model, asked.get("fault")) or ""):
            return refused(self._calls, call, refusal)
        response = self.answer(body, text, call)
        self._calls.close(call, "complete")
        return response

    def answer(self, body: dict[str, Any], text: str, call: Call) -> Response:
        raise NotImplementedError


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    return "\n".join(str(item) for item in value) if isinstance(value, list) else str(value or "")


class Images(AtOnce):
    """`POST /v1/images/generations`: one pixel each, and tokens as gpt-image models tell them."""

    name = "images"
    said_in = "prompt"

    def answer(self, body: dict[str, Any], text: str, call: Call) -> Response:
        call.images = int(body.get("n") or 1)
        answer: dict[str, Any] = {"created": 0, "data": [{"b64_json": PIXEL}] * call.images}
        if "gpt" in call.model:
            call.prompt_tokens, call.completion_tokens = count_words(text), 100 * call.images
            total = call.prompt_tokens + call.completion_tokens
            details = {"text_tokens": call.prompt_tokens, "image_tokens": 0}
            answer["usage"] = {
                "input_tokens": call.prompt_tokens,
                "output_tokens": call.completion_tokens,
                "total_tokens": total,
                "input_tokens_details": details,
            }
        return _json(answer)


class Speech(AtOnce):
    """`POST /v1/audio/speech`: bytes, and no word about what they cost."""

    name = "speech"
    said_in = "input"

    def answer(self, body: dict[str, Any], text: str, call: Call) -> Response:
        call.characters = len(text)
        return Response(b"\xff\xf3" * (BYTES_A_CHARACTER * len(text) // 2), media_type="audio/mpeg")


class Moderations(AtOnce):
    """`POST /v1/moderations`."""

    name = "moderations"
    said_in = "input"

    def answer(self, body: dict[str, Any], text: str, call: Call) -> Response:
        given = body.get("input")
        texts = given if isinstance(given, list) else [given]
        result = {
            "flagged": False,
            "categories": {"violence": False},
            "category_scores": {"violence": 0.0},
            "category_applied_input_types": {"violence": ["text"]},
        }
        return _json({"id": f"modr-{call.ordinal}", "model": call.model, "results": [result] * len(texts)})


class Rankings(AtOnce):
    """`POST /v1/rerank`, in the form of Cohere's and vLLM's."""

    name = "rerank"
    said_in = "query"

    def answer(self, body: dict[str, Any], text: str, call: Call) -> Response:
        documents = [str(d.get("text") if isinstance(d, dict) else d) for d in body.get("documents") or ()]
        call.prompt_tokens = count_words(text) + sum(map(count_words, documents))
        scores = sorted(((seed_of(text + d) % 1000 / 1000, n) for n, d in enumerate(documents)), reverse=True)
        results = [{"index": n, "relevance_score": score} for score, n in scores[: body.get("top_n") or None]]
        usage = {"total_tokens": call.prompt_tokens}
        return _json({"id": f"rerank-{call.ordinal}", "model": call.model, "results": results, "usage": usage})


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
