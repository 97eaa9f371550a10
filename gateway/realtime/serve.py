"""The life of one realtime session, top to bottom: admitted before the upgrade, one row at its end."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

from gateway import metrics
from gateway.domain.access import find_grant
from gateway.domain.calls import Ending, EstimatedWhy, Usage
from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant, KeyRecord
from gateway.endpoints.realtime import MODE, NAME, PATH, Subprotocols, new_call, read_query, upstream_query
from gateway.exchange import Exchange, stopped
from gateway.forward import error_of, upstream_headers
from gateway.forwarded_call import ForwardedCall
from gateway.proxy import ENDINGS_OF_FAILURES, UPSTREAM_FAILURES, Proxy
from gateway.realtime.limits import SessionQuota
from gateway.realtime.session import Bounds, Session
from gateway.record import Outcome
from gateway.storage.counters.scripts import Counters
from gateway.storage.counters.state import LimitState
from gateway.upstream.failures import UpstreamRefused
from gateway.upstream.websocket import UpstreamWebSocket
from gateway.web.bounded_websocket import STOPPING
from gateway.web.responses import Receive, Scope, Send
from gateway.web.websockets import accept, refuse_upgrade

SWITCHING: Final = 101
# A session's model sends sound of a second or less at a time.
MAX_UPSTREAM_MESSAGE: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Realtime:
    """Serves sessions, with what the proxy has for calls."""

    proxy: Proxy
    counters: Counters
    state: LimitState
    bounds: Bounds
    allows_without_redis: bool

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """From the request for an upgrade to the end."""
        exchanges = self.proxy.exchanges
        exchange = exchanges.begin("WEBSOCKET", PATH, scope, partial(refuse_upgrade, scope, send), NAME)
        await receive()  # websocket.connect
        await exchanges.run(exchange, self._serve(exchange, scope, receive, send))

    async def _serve(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        subprotocols = Subprotocols.read(scope["subprotocols"])
        exchange.head.credentials += [
            (b"sec-websocket-protocol", key.encode("latin-1", "replace")) for key in subprotocols.keys
        ]
        model = read_query(scope["query_string"])
        exchange.step("authenticate")
        record, grant = await self._find_access(exchange, model)
        self.proxy.check_ledger()
        call = new_call(model)
        exchange.step("admit")
        reservation = await self.proxy.admission.admit(
            exchange.request_id, record, grant, call, NAME, client_request_id=exchange.head.client_request_id
        )
        exchange.admitted(reservation)
        forwarded = ForwardedSession(
            endpoint=NAME,
            call=call,
            reservation=reservation,
            line=exchange.line,
            started_at=exchange.started_at,
            books=self.proxy.books,
            trace=exchange.trace,
            realtime=self,
            current_access=partial(self._find_access, exchange, model),
        )
        await forwarded.run(exchange.head.passed, subprotocols, scope, receive, send)

    async def _find_access(self, exchange: Exchange, model: str) -> tuple[KeyRecord, Grant]:
        """Whose key it is and its grant for the model, as they are now. Raises GatewayError."""
        record = await self.proxy.authenticate(exchange)
        exchange.model = model
        grant = find_grant(record, model, datetime.now(UTC))
        if grant.mode not in (MODE, None):
            message = f"The model '{model[:100]}' is not for realtime sessions; it is called by its own endpoint."
            raise GatewayError("model_not_found", message, param="model")
        return record, grant


@dataclass(slots=True, kw_only=True)
class ForwardedSession(ForwardedCall):
    """A realtime session: one WebSocket to LiteLLM, one row at its end."""

    realtime: Realtime
    current_access: Callable[[], Awaitable[tuple[KeyRecord, Grant]]]

    async def run(
        self, passed: dict[str, str], subprotocols: Subprotocols, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Connects to the upstream, accepts the upgrade and passes events; raises GatewayError before the upgrade."""
        reservation, request_id = self.reservation, str(self.reservation.request_id)
        if subprotocols.is_beta:
            passed = {**passed, "openai-beta": "realtime=v1"}
        to_upstream = upstream_headers(passed, request_id, f"account-{reservation.record.account_id}")
        if self.trace is not None:
            to_upstream |= self.trace.forwards()
        query = upstream_query(reservation.grant.model_name)
        connecting = self.realtime.proxy.upstream.converse(PATH, query, to_upstream, max_bytes=MAX_UPSTREAM_MESSAGE)
        self.open()
        metrics.SESSIONS.inc()
        try:
            async with connecting as upstream:
                if self.trace is not None:
                    self.trace.step("relay")
                await accept(send, subprotocols.chosen, [*reservation.headers, (b"x-request-id", request_id.encode())])
                await self._talk(self._new_session(scope, receive, send, upstream))
        except UPSTREAM_FAILURES as failure:
            refusal = error_of(failure)
            self._close_early(ENDINGS_OF_FAILURES[type(failure)], refusal)
            raise refusal from None
        except UpstreamRefused as refused:
            # Whatever it says is about the gateway's own request.
            refusal = GatewayError("upstream_error", f"The model server refused the session ({refused.status}).")
            self._close_early("refused_upstream", refusal)
            raise refusal from None
        except asyncio.CancelledError:
            # The server stops, at the end of its grace, and the upgrade is not answered yet.
            refusal = stopped()
            self._close_early("upstream_error", refusal)
            raise refusal from None
        except OSError:
            # The caller left before the upgrade was answered.
            self._close_early("client_disconnected", None)
        finally:
            # Whatever else it was.
            self._close_early("upstream_error", None)
            metrics.SESSIONS.dec()

    async def _talk(self, session: Session) -> None:
        try:
            await session.run()
        except asyncio.CancelledError:
            pass  # the server stops, at the end of its grace: the session says so
        finally:
            self._close_session(session)
        await session.say_goodbye()

    def _new_session(self, scope: Scope, receive: Receive, send: Send, upstream: UpstreamWebSocket) -> Session:
        reservation, realtime = self.reservation, self.realtime
        return Session(
            receive,
            send,
            upstream,
            request_id=reservation.request_id,
            model=reservation.grant.model_name,
            quota=SessionQuota(
                realtime.counters,
                realtime.state,
                self.books.begun,
                reservation,
                allows_without_redis=realtime.allows_without_redis,
            ),
            caller=(reservation.record, reservation.grant),
            current_access=self.current_access,
            # Absent where another server than ours runs the application: then nothing ever sets it.
            stopping=scope.get("extensions", {}).get(STOPPING) or asyncio.Event(),
            bounds=realtime.bounds,
            allowed=realtime.proxy.allowed_fields,
        )

    def _close_session(self, session: Session) -> None:
        """By how the session ended."""
        usage, why = session.usage()
        end = session.end
        status = SWITCHING
        if end.error is not None and end.ending == "refused_upstream":
            status = end.error.status
        self.line.bytes_in, self.line.bytes_out = session.bytes_in, session.bytes_out
        self._end(end.ending, status, usage, why, end.error, session.first_event_at)

    def _close_early(self, ending: Ending, error: GatewayError | None) -> None:
        """There was no session."""
        self._end(ending, error.status if error else 499, Usage(), None, error, None)

    def _end(
        self,
        ending: Ending,
        status: int,
        usage: Usage,
        why: EstimatedWhy | None,
        error: GatewayError | None,
        first: float | None,
    ) -> None:
        outcome = Outcome(
            ending=ending,
            status=status,
            usage=usage,
            litellm_nano_usd=None,
            model_served=None,
            passed_tokens=0,
            has_passed=first is not None,
            first_byte_at=first,
            error_code=error.code if error else None,
            usage_why=why,
        )
        self.close(outcome)
