"""Middleware of the admin API: request id, maximum body, security headers, and errors in one shape."""

from collections.abc import Sequence
from time import perf_counter
from typing import Any, Final

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from admin_api import metrics
from admin_api.web.idempotency import Claim, Replay
from gateway.domain.encodings import NOT_UTF8, is_utf16
from gateway.domain.errors import GatewayError
from gateway.domain.ids import RequestIds
from gateway.storage import failures
from gateway.web.bodies import BodyBudget, HeldBody
from gateway.web.content_codings import Bounds, UnpackedBody
from gateway.web.errors import error_body, send_error
from gateway.web.responses import Message, Receive, Scope, Send

log = structlog.get_logger(__name__)

MAX_BODY_BYTES: Final = 1024 * 1024
# What decoders of compressed bodies may hold together, of callers who need not have a login: more are 503.
MAX_DECODER_BYTES: Final = 64 * 1024 * 1024
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# Answers load nothing from other origins, are in no frame, and in no cache (some show keys).
SAFETY: Final = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # With `no-referrer` browsers send `Origin: null` with a form's POST, which is refused (`csrf`).
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}
STRICT: Final = {"strict-transport-security": "max-age=31536000"}
EXPOSED: Final = ("x-request-id", "etag", "retry-after", *(f"x-ratelimit-{n}" for n in ("limit", "remaining", "reset")))


class Envelope:
    """Gives each request a new id, never the caller's, answers exceptions that no handler caught, and adds the
    security headers."""

    def __init__(self, app: Any, *, is_secure: bool) -> None:
        self._app = app
        self._ids = RequestIds()
        self._safety = SAFETY | (STRICT if is_secure else {})
        self._decoders = BodyBudget(MAX_DECODER_BYTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = self._ids.new()
        scope.setdefault("state", {})["request_id"] = request_id
        has_begun, started, status = False, perf_counter(), 500

        async def send_with_id(message: Message) -> None:
            nonlocal has_begun, status
            if message["type"] == "http.response.start" and not has_begun:
                has_begun, status = True, message["status"]
                message["headers"] = self._add_headers(message.get("headers", []), scope, str(request_id))
            claim: Claim | None = scope["state"].get("claim")
            await (send(message) if claim is None else claim.pass_on(message, send))

        try:
            if _declared_bytes(scope) > MAX_BODY_BYTES:
                raise _too_large()
            with self._decoders.hold() as held:
                await self._app(scope, _bounded(_unpacked(scope, receive, held)), send_with_id)
        except Exception as exc:
            if has_begun:
                raise
            claim: Claim | None = scope["state"].get("claim")
            if claim is not None and not isinstance(exc, GatewayError):
                claim.is_outcome_known = failures.was_refused(exc)
            await send_error(send_with_id, error_of(exc, scope), str(request_id), shape="plain")
        finally:
            _count(scope, status, perf_counter() - started)

    def _add_headers(
        self, given: list[tuple[bytes, bytes]], scope: Scope, request_id: str
    ) -> list[tuple[bytes, bytes]]:
        """Headers that a route set itself stay, such as those of Swagger UI's page."""
        own = {"x-request-id": request_id} | scope["state"].get("rate_headers", {}) | self._safety
        there = {name.lower() for name, _ in given}
        added = [(name.encode(), value.encode()) for name, value in own.items()]
        return [*given, *((name, value) for name, value in added if name not in there)]


def install(app: Starlette, *, is_secure: bool = True, cors_origins: Sequence[str] = ()) -> None:
    """Adds the envelope, CORS if it is set up, and the exception handlers."""
    app.add_middleware(Envelope, is_secure=is_secure)
    if cors_origins:
        # Outermost, so that a page can read errors too.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=cors_origins,
            allow_credentials=True,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["authorization", "content-type", "if-match", "idempotency-key", "x-litemaas-csrf"],
            expose_headers=EXPOSED,
        )
    app.add_exception_handler(GatewayError, answer_error)
    app.add_exception_handler(Replay, _answer_replay)
    app.add_exception_handler(HTTPException, _answer_http_exception)


def _count(scope: Scope, status: int, seconds: float) -> None:
    route = getattr(scope.get("route"), "path", "none")
    # A caller can send any word as the method; a metric has few label values.
    method = scope["method"] if scope["method"] in METHODS else "other"
    metrics.REQUESTS.labels(method, route, str(status)).inc()
    metrics.DURATION.labels(method, route).observe(seconds)


def _too_large() -> GatewayError:
    return GatewayError("request_too_large", f"The request body is larger than {MAX_BODY_BYTES} bytes.")


def _unpacked(scope: Scope, receive: Receive, held: HeldBody) -> Receive:
    codings = b",".join(value for name, value in scope["headers"] if name == b"content-encoding")
    return UnpackedBody(receive, codings, Bounds(MAX_BODY_BYTES, held)).receive if codings else receive


def _bounded(receive: Receive) -> Receive:
    size, looks_like_utf16 = 0, False

    async def receive_some() -> Message:
        nonlocal size, looks_like_utf16
        message = await receive()
        body = message.get("body", b"")
        if size == 0:
            looks_like_utf16 = is_utf16(body[:2])
        size += len(body)
        if size > MAX_BODY_BYTES:
            raise _too_large()
        # Python's JSON reader would take it, and the gateway's does not.
        if looks_like_utf16 and not message.get("more_body", False):
            raise GatewayError("invalid_json", NOT_UTF8)
        return message

    return receive_some


def _declared_bytes(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


def error_of(exc: Exception, scope: Scope) -> GatewayError:
    """The error that the caller sees; the cause is logged only."""
    if isinstance(exc, GatewayError):
        return exc
    if failures.explain(exc) is not None:
        log.warning("postgres_unavailable", path=scope["path"], cause=failures.cause_of(exc))
        message = "The database does not answer at this moment. Try again in a few seconds."
        return GatewayError("database_unavailable", message, headers={"retry-after": "5"})
    log.error("unexpected_error", path=scope["path"], request_id=str(scope["state"]["request_id"]), exc_info=exc)
    return GatewayError("internal_error", "Something went wrong here; the log knows it by this request_id.")


async def answer_error(request: Request, exc: Exception) -> Response:
    """The answer to a GatewayError; any other exception is raised again."""
    if not isinstance(exc, GatewayError):
        raise exc
    body = error_body(exc, str(request.state.request_id), "plain")
    return JSONResponse(body, exc.status, headers=exc.headers)


async def _answer_replay(_: Request, exc: Exception) -> Response:
    if not isinstance(exc, Replay):
        raise exc
    return exc.response()


async def _answer_http_exception(request: Request, exc: Exception) -> Response:
    if not isinstance(exc, HTTPException):
        raise exc
    path = request.url.path[:200]
    if exc.status_code == 404:
        error = GatewayError("not_found", f"There is no {request.method} {path} here.")
    elif exc.status_code == 405:
        error = GatewayError("method_not_allowed", f"{path} does not take {request.method}.", headers=_allow(request))
    elif isinstance(exc.__cause__, GatewayError):
        # FastAPI wraps what reading the body raised.
        error = exc.__cause__
    elif isinstance(exc.__cause__, RecursionError | ValueError):
        message = "The request body cannot be read: not UTF-8, nested too deeply, or a number of too many digits."
        error = GatewayError("invalid_json", message)
    elif exc.status_code < 500:
        error = GatewayError("invalid_request", str(exc.detail), headers=exc.headers)
    else:
        raise exc
    return await answer_error(request, error)


def _allow(request: Request) -> dict[str, str]:
    """All methods of the path, which are separate routes. Not those of a wider path that matches too, as
    `/models/{name}` matches `/models/sync`."""
    routes: list[Any] = request.app.state.routes
    path = next((route.path for route in routes if route.matches(request.scope)[0] is not Match.NONE), None)
    # The route of the OpenAPI document is FastAPI's and is in no router of this app.
    methods: set[str] = set().union(*(route.methods for route in routes if route.path == path)) or {"GET"}
    return {"allow": ", ".join(sorted(methods))}
