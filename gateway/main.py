"""Puts the gateway together: `create_app` reads the settings, names the routes, opens and drains the parts."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Final

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.access_log import OTHER
from gateway.domain.access import find_grant
from gateway.domain.errors import GatewayError
from gateway.domain.grants import KeyRecord
from gateway.endpoints.dialects import shape_of
from gateway.endpoints.listing import model_info, model_report, models_page, models_report
from gateway.endpoints.missing_paths import explain
from gateway.endpoints.routes import (
    LIMITS,
    MODEL_LISTS,
    ROUTES,
    SESSION_PATHS,
    find_route,
    model_in_path,
    refuse_model_in_query,
)
from gateway.endpoints.stored_responses import find_stored_route
from gateway.exchange import Exchange
from gateway.proxy import Proxy
from gateway.realtime.serve import Realtime
from gateway.serve_stored import serve_stored
from gateway.settings import Settings, SettingsError
from gateway.web.collector import spare_the_collector
from gateway.web.cors import CorsPolicy
from gateway.web.errors import ErrorShape, identity, send_error
from gateway.web.logs import configure_logs
from gateway.web.responses import RawHeaders, Receive, Scope, Send, send_json
from gateway.web.websockets import refuse_upgrade
from gateway.worker import Worker

log = structlog.get_logger(__name__)

# For a key, a request and a dialect.
Own = Callable[[KeyRecord, Scope, ErrorShape], Awaitable[object]]
Answer = Callable[[Exchange, Scope, Send], Awaitable[None]]
# Answered to anybody, and says nothing: for those who look whether somebody is there.
ROOT: Final = "/"
READS: Final = ("GET", "HEAD")
STARTING_OR_STOPPING: Final = "The gateway is starting or stopping. Try again."


def create_app(settings: Settings | None = None) -> "Gateway":
    """The ASGI app; reads the environment once, when no settings are given."""
    if settings is None:
        try:
            settings = Settings.from_env()
        except SettingsError as error:
            raise SystemExit(str(error)) from None
    configure_logs(settings.log_level)
    return Gateway(settings)


class Gateway:
    """Routes by exact path: an allow-list. Health and the lifespan are Starlette's."""

    def __init__(self, settings: Settings) -> None:
        self.worker = Worker(settings)
        self._proxy: Proxy | None = None
        self._realtime: Realtime | None = None
        # Read by BoundedWebSocket.
        self.max_message = settings.max_message_bytes
        # Read by worker_processes: more than closing the worker takes, even where Postgres or Redis is away.
        self.max_close_s = settings.shutdown_delay_s + 2 * settings.drain_timeout_s + 10
        # Read by BoundedHttp, which adds it to every answer.
        self.cors = CorsPolicy.of(settings.gateway_cors_origins)
        self._own: dict[str, Own] = dict.fromkeys(MODEL_LISTS, self._list_models)
        self._own |= dict.fromkeys((LIMITS, LIMITS.removeprefix("/v1")), self._list_limits)
        self._starlette = Starlette(
            routes=[
                Route("/health/live", self._live),
                Route("/health/ready", self._ready),
            ],
            lifespan=self._lifespan,
        )
        self._cold = {"/health/live", "/health/ready"}

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._proxy = await self.worker.open()
        self._realtime = self.worker.new_realtime(self._proxy)
        spare_the_collector()
        try:
            yield
        finally:
            await self.worker.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await (self._upgrade if scope["type"] == "websocket" else self._starlette)(scope, receive, send)
            return
        route = find_route(scope["path"])
        proxy = self._proxy
        if route is not None and scope["method"] == "POST" and proxy is not None:
            await proxy.forward(route, scope, receive, send)
        elif (
            route is None
            and proxy is not None
            and (stored := find_stored_route(scope["path"], scope["method"])) is not None
        ):
            await serve_stored(proxy, *stored, scope, receive, send)
        elif (preflight := self._preflight(scope)) is not None:
            await self._answer(scope, send, partial(self._answer_preflight, preflight))
        elif scope["path"] in self._cold:
            await self._starlette(scope, receive, send)
        else:
            await self._answer(scope, send, self._answer_own)

    async def _upgrade(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in SESSION_PATHS and self._realtime is not None:
            await self._realtime.serve(scope, receive, send)
            return
        exchanges = self.worker.exchanges
        send_refusal = partial(refuse_upgrade, scope, send, shape=shape_of(scope))
        exchange = exchanges.begin("WEBSOCKET", OTHER, scope, send_refusal)
        await receive()  # websocket.connect
        await exchanges.run(exchange, self._refuse_upgrade(scope["path"]))

    async def _refuse_upgrade(self, path: str) -> None:
        if self._realtime is None:
            raise GatewayError("shutting_down", STARTING_OR_STOPPING)
        if find_route(path) is not None:
            # Codex tries a WebSocket first, and falls back to HTTP at once on this status only.
            message = f"{path} is no WebSocket: send POST."
            raise GatewayError("upgrade_required", message, headers={"upgrade": "HTTP/1.1"})
        why, _ = explain("GET", path)
        raise GatewayError("not_found", f"There is no WebSocket {path[:200]} here. {why}".rstrip())

    async def _answer(self, scope: Scope, send: Send, answer: Answer) -> None:
        exchanges = self.worker.exchanges
        send_refusal = partial(send_error, send, shape=shape_of(scope))
        exchange = exchanges.begin(scope["method"], self._route_of(scope["path"]), scope, send_refusal)
        await exchanges.run(exchange, answer(exchange, scope, send))

    def _preflight(self, scope: Scope) -> RawHeaders | None:
        if self.cors is None or scope["method"] != "OPTIONS":
            return None
        return self.cors.preflight(scope["headers"])

    async def _answer_preflight(self, headers: RawHeaders, exchange: Exchange, _: Scope, send: Send) -> None:
        """Whatever the path is: the page is to read the answer to the request itself."""
        exchange.has_begun = True
        head = [*identity(str(exchange.request_id), "openai"), *headers]
        await send({"type": "http.response.start", "status": 204, "headers": head})
        await send({"type": "http.response.body"})
        exchange.answered(204)

    async def _answer_own(self, exchange: Exchange, scope: Scope, send: Send) -> None:
        """The gateway's own answers, and errors for all that is not on the list."""
        path: str = scope["path"]
        own = self._own.get(path) or (self._show_model if model_in_path(path) else None)
        allowed = self._methods_of(path)
        if path in SESSION_PATHS:
            message = f"{path} is a WebSocket: ask for the upgrade."
            raise GatewayError("upgrade_required", message, headers={"upgrade": "websocket"})
        is_root = path == ROOT and scope["method"] in READS
        if own is None and not allowed and not is_root:
            why, _ = explain(scope["method"], path)
            raise GatewayError("not_found", f"There is no {scope['method']} {path[:200]} here. {why}".rstrip())
        # The server sends no body with HEAD.
        allowed = allowed or READS
        if scope["method"] not in allowed:
            methods = " or ".join(name for name in allowed if name != "HEAD")
            why, _ = explain(scope["method"], path)
            message = f"{path[:200]} takes {methods} only. {why}".rstrip()
            raise GatewayError("method_not_allowed", message, headers={"allow": ", ".join(allowed)})
        shape = shape_of(scope)
        if is_root:
            await self._send_own(exchange, send, {}, shape)
            return
        if own is None or self._proxy is None:
            raise GatewayError("shutting_down", STARTING_OR_STOPPING)
        refuse_model_in_query(scope["query_string"])
        record = await self._proxy.authenticate(exchange)
        await self._send_own(exchange, send, await own(record, scope, shape), shape)

    async def _send_own(self, exchange: Exchange, send: Send, answer: object, shape: ErrorShape) -> None:
        exchange.has_begun = True
        await send_json(send, 200, answer, identity(str(exchange.request_id), shape))
        exchange.answered(200)

    def _methods_of(self, path: str) -> tuple[str, ...]:
        """Of a path that is forwarded."""
        if find_route(path) is not None:
            return ("POST",)
        stored = find_stored_route(path)
        return stored[0].methods if stored is not None else ()

    def _route_of(self, path: str) -> str:
        """The route's own constant for the access log: a path may hold what a caller wrote."""
        if path == ROOT or path in self._own or path in ROUTES or path in SESSION_PATHS:
            return path
        if (route := find_route(path)) is not None:
            return route.endpoint.path
        if (stored := find_stored_route(path)) is not None:
            return stored[0].path
        return "/v1/models/{model}" if model_in_path(path) else OTHER

    async def _list_models(self, record: KeyRecord, scope: Scope, shape: ErrorShape) -> object:
        return models_page(record, scope["query_string"]) if shape == "anthropic" else models_report(record)

    async def _show_model(self, record: KeyRecord, scope: Scope, shape: ErrorShape) -> object:
        grant = find_grant(record, model_in_path(scope["path"]), datetime.now(UTC))
        return model_info(grant) if shape == "anthropic" else model_report(grant)

    async def _list_limits(self, record: KeyRecord, _: Scope, __: ErrorShape) -> object:
        return await self.worker.limits.report(record)

    async def _live(self, _: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def _ready(self, _: Request) -> Response:
        report = await self.worker.readiness.look()
        body = {"status": report.status, "parts": report.parts}
        return JSONResponse(body, 503 if report.status == "not ready" else 200)
