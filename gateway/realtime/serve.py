"""The life of one realtime session, top to bottom: admitted before the upgrade, one row at its end."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final

import structlog

from gateway import metrics
from gateway.access_log import Line
from gateway.admit import LimitExceeded, Reservation
from gateway.authenticate import find_grant
from gateway.domain.calls import Ending, EstimatedWhy, Usage
from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant, KeyRecord
from gateway.endpoints.realtime import MODE, NAME, PATH, Subprotocols, new_call, read_query, upstream_query
from gateway.forward import error_of, upstream_headers
from gateway.proxy import UPSTREAM_FAILURES, Head, Proxy
from gateway.realtime.limits import SessionQuota
from gateway.realtime.session import Bounds, Session
from gateway.record import Outcome, make_row
from gateway.storage.counters.scripts import Counters
from gateway.storage.counters.state import LimitState
from gateway.upstream.client import Conversation, UpstreamBroken, UpstreamRefused, UpstreamSilent, UpstreamUnreachable
from gateway.web.bounded_websocket import STOPPING
from gateway.web.responses import RawHeaders, Receive, Scope, Send
from gateway.web.websockets import accept, refuse_upgrade

log = structlog.get_logger(__name__)

SWITCHING: Final = 101
# A session's model sends sound of a second or less at a time.
MAX_UPSTREAM_MESSAGE: Final = 16 * 1024 * 1024
ENDINGS_OF_FAILURES: Final[dict[type[Exception], Ending]] = {
    UpstreamUnreachable: "unreachable",
    UpstreamSilent: "timeout",
    UpstreamBroken: "upstream_error",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Realtime:
    """Serves sessions, with the parts of the proxy that serves calls."""

    proxy: Proxy
    counters: Counters
    state: LimitState
    bounds: Bounds
    allows_without_redis: bool

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """From the request for an upgrade to the end."""
        proxy, request_id, started_at = self.proxy, self.proxy.ids.new(), monotonic()
        headers: RawHeaders = []
        is_forwarded = False
        line = proxy.access_log.begin("WEBSOCKET", PATH, scope)
        await receive()  # websocket.connect
        try:
            head = Head.read(scope["headers"])
            subprotocols = Subprotocols.read(scope["subprotocols"])
            head.other_keys += [key.encode("latin-1", "replace") for key in subprotocols.keys]
            model = read_query(scope["query_string"])
            record, grant = await self._stand(head, scope, model, line)
            proxy.check_ledger()
            reservation = await proxy.admission.admit(request_id, record, grant, new_call(model), NAME)
            request_id, headers, is_forwarded = reservation.request_id, reservation.headers, True

            async def current_access() -> tuple[KeyRecord, Grant]:
                return await self._stand(head, scope, model)

            await self._converse(
                reservation, head, subprotocols, current_access, started_at, line, scope, receive, send
            )
        except LimitExceeded as refused:
            proxy.count_refusal(refused, line)
            await refuse_upgrade(scope, send, refused.error, str(request_id), refused.headers)
        except GatewayError as error:
            metrics.ERRORS.labels(error.code if error.code in metrics.OWN_CODES else "upstream_error").inc()
            if line is not None:
                line.refused(error.status, error.code)
            await refuse_upgrade(scope, send, error, str(request_id), headers)
        except Exception:
            if is_forwarded:
                raise
            log.exception("session_failed", request_id=str(request_id))
            mistake = GatewayError("internal_error", "The gateway failed; this is not the fault of your request.")
            metrics.ERRORS.labels(mistake.code).inc()
            if line is not None:
                line.refused(mistake.status, mistake.code)
            await refuse_upgrade(scope, send, mistake, str(request_id))
        finally:
            if line is not None:
                line.request_id, line.endpoint = str(request_id), NAME
                proxy.access_log.end(line)

    async def _stand(self, head: Head, scope: Scope, model: str, line: Line | None = None) -> tuple[KeyRecord, Grant]:
        """Who asks, and that he may have this model, now. Raises GatewayError."""
        record = await self.proxy.authenticate(head, scope, line)
        grant = find_grant(record, model)
        if grant.mode not in (MODE, None):
            message = f"The model '{model[:100]}' is not for realtime sessions; it is called by its own endpoint."
            raise GatewayError("model_not_found", message, param="model")
        return record, grant

    async def _converse(
        self,
        reservation: Reservation,
        head: Head,
        subprotocols: Subprotocols,
        current_access: Callable[[], Awaitable[tuple[KeyRecord, Grant]]],
        started_at: float,
        line: Line | None,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """From the reservation on, however it ends, exactly one row is recorded and the lease settled."""
        record, grant, request_id = reservation.record, reservation.grant, str(reservation.request_id)
        passed = dict(head.passed)
        if subprotocols.is_beta:
            passed["openai-beta"] = "realtime=v1"
        to_upstream = upstream_headers(passed, request_id, f"account-{record.account_id}")
        closing = _Closing(self.proxy, reservation, started_at, line)
        metrics.IN_FLIGHT.inc()
        metrics.SESSIONS.inc()
        if reservation.is_leased:
            self.proxy.leases.add(reservation)
        try:
            async with self.proxy.upstream.converse(
                PATH, upstream_query(grant.model_name), to_upstream, max_bytes=MAX_UPSTREAM_MESSAGE
            ) as upstream:
                await accept(send, subprotocols.chosen, [*reservation.headers, (b"x-request-id", request_id.encode())])
                session = self._new_session(reservation, current_access, scope, receive, send, upstream)
                try:
                    await session.run()
                except asyncio.CancelledError:
                    pass  # the server stops, at the end of its grace: the session says so
                finally:
                    closing.end_of(session)
                await session.say_goodbye()
        except UPSTREAM_FAILURES as failure:
            refusal = error_of(failure)
            closing.at_once(ENDINGS_OF_FAILURES[type(failure)], refusal)
            raise refusal from None
        except UpstreamRefused as refused:
            # Whatever it says speaks of the gateway's own request.
            refusal = GatewayError("upstream_error", f"The model server refused the session ({refused.status}).")
            closing.at_once("refused_upstream", refusal)
            raise refusal from None
        except OSError:
            # He left before the upgrade was answered.
            closing.at_once("client_disconnected", None)
        finally:
            # Whatever else it was.
            closing.at_once("upstream_error", None)
            metrics.IN_FLIGHT.dec()
            metrics.SESSIONS.dec()
            self.proxy.leases.remove(reservation.request_id)

    def _new_session(
        self,
        reservation: Reservation,
        current_access: Callable[[], Awaitable[tuple[KeyRecord, Grant]]],
        scope: Scope,
        receive: Receive,
        send: Send,
        upstream: Conversation,
    ) -> Session:
        quota = SessionQuota(self.counters, self.state, reservation, allows_without_redis=self.allows_without_redis)
        return Session(
            receive,
            send,
            upstream,
            request_id=reservation.request_id,
            model=reservation.grant.model_name,
            quota=quota,
            caller=(reservation.record, reservation.grant),
            current_access=current_access,
            # Absent where another server than ours runs the application: then it is never told.
            stopping=scope.get("extensions", {}).get(STOPPING) or asyncio.Event(),
            bounds=self.bounds,
        )


class _Closing:
    """Writes the session's row, once, whoever comes first."""

    def __init__(self, proxy: Proxy, reservation: Reservation, started_at: float, line: Line | None) -> None:
        self._proxy = proxy
        self._reservation = reservation
        self._started_at = started_at
        self._line = line
        self._is_done = False

    def end_of(self, session: Session) -> None:
        """By how the session ended."""
        usage, why = session.usage()
        status = SWITCHING
        if session.end.error is not None and session.end.ending == "refused_upstream":
            status = session.end.error.status
        code = session.end.error.code if session.end.error else None
        if self._line is not None:
            self._line.bytes_in, self._line.bytes_out = session.bytes_in, session.bytes_out
        self._close(session.end.ending, status, usage, why, code, session.first_event_at)

    def at_once(self, ending: Ending, error: GatewayError | None) -> None:
        """No session came to be."""
        self._close(ending, error.status if error else 499, Usage(), None, error.code if error else None, None)

    def _close(
        self, ending: Ending, status: int, usage: Usage, why: EstimatedWhy | None, code: str | None, first: float | None
    ) -> None:
        if self._is_done:
            return
        self._is_done = True
        outcome = Outcome(
            ending=ending,
            status=status,
            usage=usage,
            cost_usd=None,
            model_served=None,
            passed_tokens=0,
            has_passed=first is not None,
            first_byte_ms=None if first is None else round((first - self._started_at) * 1000),
            total_ms=round((monotonic() - self._started_at) * 1000),
            error_code=code,
            usage_why=why,
        )
        call = new_call(self._reservation.grant.model_name)
        row = make_row(
            self._reservation.request_id,
            self._reservation.record,
            self._reservation.grant,
            endpoint=NAME,
            call=call,
            estimate=usage,
            outcome=outcome,
        )
        self._proxy.settlements.close_call(row, is_leased=self._reservation.is_leased)
        metrics.count_call(NAME, row)
        if self._line is not None:
            self._line.ended(row)
