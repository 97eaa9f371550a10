"""The model server's application: its endpoints, and its record of calls under `/_calls`."""

from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute

from deploy.embedded.model_server.calls import Calls
from deploy.embedded.model_server.chat import Chat, Completions
from deploy.embedded.model_server.compactions import Compactions, InputTokens
from deploy.embedded.model_server.embeddings import Embeddings
from deploy.embedded.model_server.endpoint import Endpoint
from deploy.embedded.model_server.media import ImageEdits, Images, Moderations, Rankings, Speech
from deploy.embedded.model_server.messages import CountTokens, Messages
from deploy.embedded.model_server.names import MODELS
from deploy.embedded.model_server.plan import Pace
from deploy.embedded.model_server.realtime import Realtime
from deploy.embedded.model_server.responses import Responses
from deploy.embedded.model_server.stored_responses import StoredResponses
from deploy.embedded.model_server.transcripts import Transcripts

FILTERS = ("call_id", "user", "mark", "model", "endpoint", "ending")


def create_app(pace: Pace) -> Starlette:
    calls = Calls()
    record = _CallRecord(calls)
    stored = StoredResponses(calls)
    responses = Responses(stored)
    return Starlette(
        routes=[
            Route("/v1/chat/completions", Endpoint(Chat(), calls, pace), methods=["POST"]),
            Route("/v1/completions", Endpoint(Completions(), calls, pace), methods=["POST"]),
            Route("/v1/responses", Endpoint(responses, calls, pace), methods=["POST"]),
            Route("/v1/responses/{response_id}", stored.serve, methods=["GET", "DELETE"]),
            Route("/v1/responses/{response_id}/cancel", stored.serve, methods=["POST"]),
            Route("/v1/responses/{response_id}/input_items", stored.serve, methods=["GET"]),
            Route("/v1/responses/compact", Compactions(responses, calls), methods=["POST"]),
            Route("/v1/responses/input_tokens", InputTokens(responses, calls), methods=["POST"]),
            Route("/v1/messages", Endpoint(Messages(), calls, pace), methods=["POST"]),
            Route("/v1/messages/count_tokens", CountTokens(calls), methods=["POST"]),
            Route("/v1/embeddings", Embeddings(calls), methods=["POST"]),
            Route("/v1/images/generations", Images(calls), methods=["POST"]),
            Route("/v1/images/edits", ImageEdits(calls), methods=["POST"]),
            Route("/v1/audio/speech", Speech(calls), methods=["POST"]),
            Route("/v1/audio/transcriptions", Transcripts("transcriptions", calls), methods=["POST"]),
            Route("/v1/audio/translations", Transcripts("translations", calls), methods=["POST"]),
            Route("/v1/moderations", Moderations(calls), methods=["POST"]),
            Route("/v1/rerank", Rankings(calls), methods=["POST"]),
            WebSocketRoute("/v1/realtime", Realtime(calls, pace).serve),
            Route("/v1/models", _models, methods=["GET"]),
            # LiteLLM's path, so that a gateway can be put in front of this server.
            Route("/health/liveliness", _alive, methods=["GET"]),
            Route("/_calls", record.listed, methods=["GET"]),
            Route("/_calls", record.forget, methods=["DELETE"]),
            Route("/_totals", record.totals, methods=["GET"]),
        ]
    )


class _CallRecord:
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


async def _models(request: Request) -> Response:
    data = [{"id": name, "object": "model", "created": 0, "owned_by": "demo"} for name in MODELS]
    return _json({"object": "list", "data": data})


async def _alive(request: Request) -> Response:
    return _json("I'm alive!")


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
