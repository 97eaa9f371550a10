"""Images, speech, moderations and rankings."""

import base64
from typing import Any, ClassVar

from starlette.requests import Request

from deploy.embedded.model_server.at_once import AtOnce, Made
from deploy.embedded.model_server.calls import Call
from deploy.embedded.model_server.faults import bad_request
from deploy.embedded.model_server.plan import Refused
from deploy.embedded.model_server.words import count_words, seed_of

# The smallest PNG there is: one grey pixel.
PIXEL = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c6360000000020001e221bc33"
        "0000000049454e44ae426082"
    )
).decode()
BYTES_A_CHARACTER = 100
TOKENS_A_SHOWN_IMAGE = 50


class Images(AtOnce):
    """`POST /v1/images/generations`: one pixel each, with usage like gpt-image models."""

    name = "images"
    said_in: ClassVar = "prompt"

    def make(self, body: dict[str, Any], text: str, call: Call, *, tells_usage: bool) -> Made:
        call.images = int(body.get("n") or 1)
        answer: dict[str, Any] = {"created": 0, "data": [{"b64_json": PIXEL}] * call.images}
        if "gpt" in call.model:
            shown = TOKENS_A_SHOWN_IMAGE * int(body.get("shown") or 0)
            call.prompt_tokens, call.completion_tokens = count_words(text) + shown, 100 * call.images
            total = call.prompt_tokens + call.completion_tokens
            details = {"text_tokens": call.prompt_tokens - shown, "image_tokens": shown}
            answer["usage"] = {
                "input_tokens": call.prompt_tokens,
                "output_tokens": call.completion_tokens,
                "total_tokens": total,
                "input_tokens_details": details,
            }
        if not tells_usage:
            answer.pop("usage", None)
        return Made.of(answer)


class ImageEdits(Images):
    """`POST /v1/images/edits`: a form with images, each of which is charged."""

    name = "image_edits"

    async def read(self, request: Request) -> dict[str, Any]:
        """The form's fields, and how many files there are beside them."""
        async with request.form() as form:
            fields: dict[str, Any] = {name: value for name, value in form.multi_items() if isinstance(value, str)}
            return fields | {"shown": len(form.multi_items()) - len(fields)}

    def make(self, body: dict[str, Any], text: str, call: Call, *, tells_usage: bool) -> Made:
        if not body["shown"]:
            raise Refused(bad_request("'image' is missing.", param="image"))
        return super().make(body, text, call, tells_usage=tells_usage)


class Speech(AtOnce):
    """`POST /v1/audio/speech`: bytes, without usage."""

    name = "speech"

    def make(self, body: dict[str, Any], text: str, call: Call, *, tells_usage: bool) -> Made:
        call.characters = len(text)
        return Made(b"\xff\xf3" * (BYTES_A_CHARACTER * len(text) // 2), "audio/mpeg")


class Moderations(AtOnce):
    """`POST /v1/moderations`."""

    name = "moderations"

    def make(self, body: dict[str, Any], text: str, call: Call, *, tells_usage: bool) -> Made:
        given = body.get("input")
        texts = given if isinstance(given, list) else [given]
        result = {
            "flagged": False,
            "categories": {"violence": False},
            "category_scores": {"violence": 0.0},
            "category_applied_input_types": {"violence": ["text"]},
        }
        return Made.of({"id": f"modr-{call.ordinal}", "model": call.model, "results": [result] * len(texts)})


class Rankings(AtOnce):
    """`POST /v1/rerank`, in the form of Cohere's and vLLM's."""

    name = "rerank"
    said_in: ClassVar = "query"

    def make(self, body: dict[str, Any], text: str, call: Call, *, tells_usage: bool) -> Made:
        documents = [str(d.get("text") if isinstance(d, dict) else d) for d in body.get("documents") or ()]
        call.prompt_tokens = count_words(text) + sum(map(count_words, documents))
        scores = sorted(((seed_of(text + d) % 1000 / 1000, n) for n, d in enumerate(documents)), reverse=True)
        results = [{"index": n, "relevance_score": score} for score, n in scores[: body.get("top_n") or None]]
        answer: dict[str, Any] = {"id": f"rerank-{call.ordinal}", "model": call.model, "results": results}
        return Made.of(answer | {"usage": {"total_tokens": call.prompt_tokens}} if tells_usage else answer)
