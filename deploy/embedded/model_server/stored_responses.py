"""Responses that are kept at the model server, as OpenAI keeps them: read, deleted, cancelled, continued by their id.
Everybody who knows an id may use it: all calls come with the operator's one key."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from deploy.embedded.model_server.calls import Calls
from deploy.embedded.model_server.endpoint import open_call
from deploy.embedded.model_server.faults import bad_request
from deploy.embedded.model_server.plan import Refused

KEPT: Final = 10_000


@dataclass(frozen=True, slots=True)
class Kept:
    """`tokens` are those of the whole conversation up to this response."""

    response: dict[str, Any]
    input_items: list[Any]
    tokens: int


class StoredResponses:
    """By id; the oldest go first."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    def keep(self, kept: Kept) -> None:
        self._kept[kept.response["id"]] = kept
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def find(self, response_id: object) -> Kept:
        """Raises Refused."""
        kept = self._kept.get(str(response_id))
        if kept is None:
            raise Refused(bad_request(f"Previous response with id '{response_id}' not found."))
        return kept

    async def serve(self, request: Request) -> Response:
        """GET and DELETE of a response, POST of `/cancel`, GET of `/input_items`."""
        call = open_call(self._calls, "stored_responses", request, {})
        response_id = request.path_params["response_id"]
        kept = self._kept.get(response_id)
        if kept is None:
            call.status = 404
            self._calls.close(call, "refused")
            return _json(_error(f"Response with id '{response_id}' not found."), 404)
        self._calls.close(call, "complete")
        if request.method == "DELETE":
            del self._kept[response_id]
            return _json({"id": response_id, "object": "response", "deleted": True})
        if request.url.path.endswith("/input_items"):
            return _json(_page(kept.input_items, request))
        return _json(kept.response)


def _page(items: list[Any], request: Request) -> dict[str, Any]:
    asked = request.query_params
    found = items if asked.get("order") == "asc" else items[::-1]
    if "after" in asked:
        names = [item["id"] for item in found]
        found = found[names.index(asked["after"]) + 1 :] if asked["after"] in names else []
    page = found[: int(asked.get("limit", 20))]
    names = [item["id"] for item in page] or [None]
    return {
        "object": "list",
        "data": page,
        "first_id": names[0],
        "last_id": names[-1],
        "has_more": len(page) < len(found),
    }


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
