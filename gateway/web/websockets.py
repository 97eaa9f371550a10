"""What the gateway says over ASGI before and in a WebSocket: a refusal in place of the upgrade, events, the end."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from gateway.domain.errors import GatewayError
from gateway.web.errors import ErrorShape, error_body, identity
from gateway.web.responses import JSON_TYPE, RawHeaders, Scope, Send

# The close code of a connection whose application may not answer by HTTP, and the longest reason a close frame holds.
POLICY: Final = 1008
MAX_REASON: Final = 123
DENIAL: Final = "websocket.http.response"


async def refuse_upgrade(
    scope: Scope,
    send: Send,
    error: GatewayError,
    request_id: str,
    headers: RawHeaders | None = None,
    *,
    shape: ErrorShape = "openai",
) -> None:
    """Answers the request for an upgrade with the error, as any other request."""
    if DENIAL not in scope.get("extensions", {}):
        await close(send, POLICY, error.message)
        return
    body = msgspec.json.encode(error_body(error, request_id, shape))
    own = [(name.encode(), value.encode()) for name, value in error.headers.items()]
    head = [JSON_TYPE, (b"content-length", b"%d" % len(body)), *identity(request_id, shape), *own]
    start = {"type": f"{DENIAL}.start", "status": error.status, "headers": [*head, *(headers or [])]}
    await send(start)
    await send({"type": f"{DENIAL}.body", "body": body})


async def accept(send: Send, subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Upgrades."""
    await send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": list(headers)})


async def close(send: Send, code: int, reason: str) -> None:
    """Says goodbye; `reason` is cut to what a frame holds."""
    fits = reason.encode()[:MAX_REASON].decode(errors="ignore")
    await send({"type": "websocket.close", "code": code, "reason": fits})


def error_event(error: GatewayError, request_id: str, *, answers: str | None = None) -> dict[str, Any]:
    """OpenAI's `error` event of a realtime session; `answers` is the id of the caller's event that is at fault."""
    detail = {
        "type": error.type,
        "code": error.code,
        "message": error.message,
        "param": error.param,
        "event_id": answers,
        **error.details,
    }
    return {"type": "error", "event_id": f"event_{request_id}", "error": detail}
