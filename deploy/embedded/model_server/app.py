"""The model server's application: its endpoints, and its own books under `/_calls`."""

import base64
import struct
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute

from deploy.embedded.model_server.calls import Call, Calls
from deploy.embedded.model_server.chat import Chat, Completions
from deploy.embedded.model_server.endpoint import Endpoint, open_call, read_object, refused
from deploy.embedded.model_server.faults import REFUSALS, Refusal, bad_request, fault_of
from deploy.embedded.model_server.media import Images, Moderations, Rankings, Speech
from deploy.embedded.model_server.names import MODELS
from deploy.embedded.model_server.plan import Pace, directives
from deploy.embedded.model_server.realtime import Realtime
from deploy.embedded.model_server.responses import Responses
from deploy.embedded.model_server.transcripts import Transcripts
from deploy.embedded.model_server.words import count_words, vector

DIMENSIONS = 8
FILTERS = ("call_id", "user", "mark", "model", "endpoint", "ending")


def create_app(pace: Pace) -> Starlette:
    calls = Calls()
    books = _Books(calls)
    return Starlette(
        routes=[
            Route("/v1/chat/completions", Endpoint(Chat(), calls, pace), methods=["POST"]),
            Route("/v1/completions", Endpoint(Completions(), calls, pace), methods=["POST"]),
            Route("/v1/responses", Endpoint(Responses(), calls, pace), methods=["POST"]),
            Route("/v1/embeddings", _Embeddings(calls).create, methods=["POST"]),
            Route("/v1/images/generations", Images(calls).create, methods=["POST"]),
            Route("/v1/audio/speech", Speech(calls).create, methods=["POST"]),
            Route("/v1/audio/transcriptions", Transcripts("transcriptions", calls).create, methods=["POST"]),
            Route("/v1/audio/translations", Transcripts("translations", calls).create, methods=["POST"]),
            Route("/v1/moderations", Moderations(calls).create, methods=["POST"]),
            Route("/v1/rerank", Rankings(calls).create, methods=["POST"]),
            WebSocketRoute("/v1/realtime", Realtime(calls, pace).serve),
            Route("/v1/models", _models, methods=["GET"]),
            # LiteLLM's, so that a gateway may be put right in front of this server.
            Route("/health/liveliness", _alive, methods=["GET"]),
            Route("/_calls", books.listed, methods=["GET"]),
            Route("/_calls", books.forget, methods=["DELETE"]),
            Route("/_totals", books.totals, methods=["GET"]),
        ]
    )


class _Books:
    """`GET /_calls?since=N&limit=M&mark=abc`, `GET /_totals`, `DELETE /_calls`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def listed(self, request: Request) -> Response:
        asked = request.query_params
        only = {name: asked[name] for name in FILTERS if name in asked}
        since, limit = int(asked.get("since", 0)), int(asked.get("limit", 1000))
        return _json(self._calls.listed(since=since, limit=limit, only=only))

    async def forget(self, request: Request) -> Response:
        self._calls.forget()
        return Response(status_code=204)

    async def totals(self, request: Request) -> Response:
        return _json(self._calls.totals())


class _Embeddings:
    """Made at once, so without a plan. Its tokens are the words of its texts."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def create(self, request: Request) -> Response:
        body = read_object(await request.body())
        call = open_call(self._calls, "embeddings", request, body)
        given = body.get("input")
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            return self._refuse(bad_request("'input' must be a text or texts."), call)
        asked = directives("\n".join(texts))
        call.mark = asked.get("mark")
        refusal = REFUSALS.get(fault_of(call.model, asked.get("fault")) or "")
        if refusal:
            return self._refuse(refusal, call)
        call.prompt_tokens = sum(count_words(text) for text in texts)
        self._calls.close(call, "complete")
        return _json(_embedded(body, texts, call))

    def _refuse(self, refusal: Refusal, call: Call) -> Response:
        return refused(self._calls, call, refusal)


def _embedded(body: dict[str, Any], texts: list[str], call: Call) -> dict[str, Any]:
    size = body.get("dimensions") or DIMENSIONS
    packed = body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": i, "embedding": _packed(v) if packed else v}
        for i, v in enumerate(vector(text, size) for text in texts)
    ]
    usage = {"prompt_tokens": call.prompt_tokens, "total_tokens": call.prompt_tokens}
    return {"object": "list", "model": call.model, "data": data, "usage": usage}


def _packed(numbers: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


async def _models(request: Request) -> Response:
    data = [{"id": name, "object": "model", "created": 0, "owned_by": "demo"} for name in MODELS]
    return _json({"object": "list", "data": data})


async def _alive(request: Request) -> Response:
    return _json("I'm alive!")


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
