"""The life of one call, top to bottom. START READING HERE."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Final
from uuid import UUID

from gateway import metrics
from gateway.admit import Admission
from gateway.authenticate import Authenticator
from gateway.domain.access import check_address, check_key, find_grant
from gateway.domain.calls import NO_USAGE, Ending
from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant, KeyRecord
from gateway.endpoints.allowed_fields import AllowedFields
from gateway.endpoints.registry import Declaration, FormParser
from gateway.endpoints.requests import Call
from gateway.endpoints.routes import Route, refuse_model_in_query
from gateway.exchange import Exchange, Exchanges, stopped
from gateway.forward import cost_in_header, error_of, read_refusal, upstream_headers
from gateway.forwarded_call import Bookkeeping, ForwardedCall
from gateway.record import Outcome
from gateway.relay import STREAM_HEADERS, Relay
from gateway.storage.ledger.writer import LedgerWriter
from gateway.storage.response_owners import hash_of
from gateway.stored_responses import continue_conversation, name_own_items
from gateway.upstream.failures import UpstreamBroken, UpstreamSilent, UpstreamUnreachable
from gateway.upstream.pool import UpstreamPool
from gateway.web.bodies import BodyBudget, HeldBody, read_body
from gateway.web.content_codings import Bounds, UnpackedBody
from gateway.web.disconnects import InterruptOnDisconnect
from gateway.web.errors import identity, send_error
from gateway.web.pings import PingedSend
from gateway.web.responses import Receive, Scope, Send
from gateway.web.uploads import read_upload

UPSTREAM_FAILURES: Final = (UpstreamUnreachable, UpstreamBroken, UpstreamSilent)
ENDINGS_OF_FAILURES: Final[dict[type[Exception], Ending]] = {
    UpstreamUnreachable: "unreachable",
    UpstreamSilent: "timeout",
    UpstreamBroken: "upstream_error",
}
# At shutdown: a caller who does not read is waited for no longer.
LAST_EVENT_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """Forwards calls of every endpoint. It owns the answer to its very end."""

    exchanges: Exchanges
    authenticator: Authenticator
    admission: Admission
    upstream: UpstreamPool
    books: Bookkeeping
    ledger: LedgerWriter
    bodies: BodyBudget
    allowed_fields: AllowedFields
    max_body_bytes: int
    max_upload_bytes: int
    upload_folder: Path
    read_on_s: float
    # Of silence within a stream, until a comment is sent; 0: none is.
    ping_after_s: float
    pings_before_answer: bool

    async def forward(self, route: Route, scope: Scope, receive: Receive, send: Send) -> None:
        """One call; whatever ends it early is answered in the form of the endpoint."""
        endpoint = route.endpoint
        send_refusal = partial(send_error, send, shape=endpoint.error_shape)
        exchange = self.exchanges.begin("POST", endpoint.path, scope, send_refusal, endpoint.name)
        await self.exchanges.run(exchange, self._forward(exchange, route, scope, receive, send))

    async def _forward(self, exchange: Exchange, route: Route, scope: Scope, receive: Receive, send: Send) -> None:
        """Authenticate, read, admit, forward, relay; then settle and record, after the answer."""
        endpoint = route.endpoint
        exchange.step("authenticate")
        refuse_model_in_query(scope["query_string"])
        record = await self.authenticate(exchange)
        exchange.step("read")
        with self.bodies.hold() as held:
            if isinstance(endpoint.parse, FormParser):
                await self._forward_upload(exchange, route, endpoint.parse, held, record, receive, send)
                return
            head, began_at = exchange.head, monotonic()
            if head.content_encoding:
                receive = UnpackedBody(receive, head.content_encoding, Bounds(self.max_body_bytes, held)).receive
            body = await read_body(receive, head.content_length, self.max_body_bytes, held)
            exchange.waited_s = monotonic() - began_at
            call = endpoint.parse(body, self.allowed_fields, route.model)
            await self._run(exchange, endpoint, record, call, receive, send)

    async def _forward_upload(
        self,
        exchange: Exchange,
        route: Route,
        parser: FormParser,
        held: HeldBody,
        record: KeyRecord,
        receive: Receive,
        send: Send,
    ) -> None:
        """As `_forward`, of a form whose files are on disk until the call has ended."""
        head, maximum, began_at = exchange.head, self.max_upload_bytes, monotonic()
        if head.content_encoding:
            receive = UnpackedBody(receive, head.content_encoding, Bounds(maximum, held)).receive
        size, folder = head.content_length, self.upload_folder
        upload = await read_upload(receive, head.content_type, size, maximum, held, folder)
        exchange.waited_s = monotonic() - began_at
        try:
            if route.model is not None:
                upload.name_model(route.model)
            call = parser.parse(upload, self.allowed_fields)
            await self._run(exchange, route.endpoint, record, call, receive, send)
        finally:
            upload.close()

    async def _run(
        self, exchange: Exchange, endpoint: Declaration, record: KeyRecord, call: Call, receive: Receive, send: Send
    ) -> None:
        exchange.model = call.model
        grant = find_grant(record, call.model, datetime.now(UTC))
        tier = call.tier_to_price
        if tier is not None and (grant.price is None or not grant.price.knows_tier(tier)):
            raise self.allowed_fields.refuse_tier(endpoint.name, call.model, tier)
        self.check_ledger()
        if call.continues is not None:
            call = await continue_conversation(call, record, self.books.owners)
        if call.items is not None:
            call = await name_own_items(call, call.items, record, self.books.owners)
        await self.admit_and_run(exchange, endpoint, record, grant, call, receive, send)

    async def admit_and_run(
        self,
        exchange: Exchange,
        declaration: Declaration,
        record: KeyRecord,
        grant: Grant,
        call: Call,
        receive: Receive,
        send: Send,
    ) -> None:
        """Reserves, forwards and relays; raises GatewayError, LimitExceeded."""
        exchange.step("admit")
        reservation = await self.admission.admit(
            exchange.request_id,
            record,
            grant,
            call,
            declaration.name,
            client_request_id=exchange.head.client_request_id,
        )
        exchange.admitted(reservation)
        forwarded = ForwardedRequest(
            endpoint=declaration.name,
            call=call,
            reservation=reservation,
            line=exchange.line,
            started_at=exchange.started_at,
            waited_s=exchange.waited_s,
            books=self.books,
            trace=exchange.trace,
            proxy=self,
            declaration=declaration,
        )
        await forwarded.run(exchange.head.passed, receive, send)

    async def authenticate(self, exchange: Exchange) -> KeyRecord:
        """The caller's key record; raises GatewayError."""
        head, line = exchange.head, exchange.line
        record = exchange.record = await self.authenticator.find_record(head.credentials)
        line.knows(record)
        line.bytes_in = head.content_length
        check_key(record, datetime.now(UTC))
        if record.allowed_ips:
            check_address(record, head.client)
        return record

    def check_ledger(self) -> None:
        """Raises `ledger_unavailable`."""
        if not self.ledger.is_accepting:
            message = "Usage cannot be recorded at this moment, so the call is refused. Try again."
            raise GatewayError("ledger_unavailable", message, headers={"retry-after": "5"})


@dataclass(slots=True, kw_only=True)
class ForwardedRequest(ForwardedCall):
    """A call of an endpoint: one request to LiteLLM, one answer."""

    proxy: Proxy
    declaration: Declaration
    # For the caller to send.
    waited_s: float
    # Of the monotonic clock: a body that arrived slowly is no time in which the model worked.
    forwarded_at: float = field(default_factory=monotonic)

    async def run(self, passed: dict[str, str], receive: Receive, send: Send) -> None:
        """Forwards and relays; raises GatewayError where the answer is an error of ours or of the upstream."""
        reservation, request_id = self.reservation, str(self.reservation.request_id)
        answers = [*reservation.headers, *identity(request_id, self.declaration.error_shape)]
        to_upstream = upstream_headers(passed, request_id, f"account-{reservation.record.account_id}")
        self.line.request_id, self.line.endpoint = request_id, self.endpoint
        if self.trace is not None:
            to_upstream |= self.trace.forwards()
        on_id = self._begin_response if self.call.is_stored else None
        relay = Relay(self._pinged(send), self.declaration, request_id, on_id)
        status, answer_headers, refusal = 499, None, None
        is_stopped = False
        self.open()
        if self.proxy.pings_before_answer:
            relay.start_pings([(b"content-type", b"text/event-stream"), *answers, *STREAM_HEADERS])
        try:
            with InterruptOnDisconnect(receive, self._reads_on_for_s) as relay.watch:
                path, method = self.declaration.path, self.declaration.method
                relay.waits()
                async with self.proxy.upstream.open(path, to_upstream, self.call.body, method=method) as answer:
                    relay.goes_on()
                    if self.trace is not None:
                        self.trace.step("relay")
                    status = status if relay.watch.happened else answer.status
                    if answer.status >= 300:
                        relay.ending = "refused_upstream"
                        refusal = await read_refusal(answer)
                    else:
                        answer_headers = answer.headers
                        await relay.carry(answer, answers, strips_usage=not self.call.wants_usage)
        except UPSTREAM_FAILURES as failure:
            if not relay.watch.happened or isinstance(failure, UpstreamUnreachable):
                refusal = error_of(failure)
                relay.ending = ENDINGS_OF_FAILURES[type(failure)]
        except GatewayError as error:
            refusal = error
        except asyncio.CancelledError:
            # The server stops, at the end of its grace.
            is_stopped = True
            if relay.ending != "completed" and not relay.watch.happened:
                relay.ending, relay.error_code = "upstream_error", "shutting_down"
            if not relay.has_started:
                refusal = stopped()
        finally:
            relay.stop_pings()
            relay.goes_on()
            if refusal is not None:
                status, relay.error_code = 200 if relay.has_started else refusal.status, refusal.code
            self._close(relay, status, answer_headers)
        if relay.watch.happened:
            return
        if refusal is not None:
            # After a ping it is an event of the stream.
            await relay.break_off(refusal)
            return
        if is_stopped:
            # Only now that the row is on its way: the caller may not read.
            async with asyncio.timeout(LAST_EVENT_S):
                await (relay.end() if relay.ending == "completed" else relay.break_off(stopped()))

    def _pinged(self, send: Send) -> Send:
        after_s = self.proxy.ping_after_s
        return PingedSend(send, after_s) if after_s and self.call.is_streamed else send

    @property
    def _reads_on_for_s(self) -> float:
        """For so long after the caller left the answer is read on to its usage: 0 unless it may have parts that they
        are not shown."""
        may_hide = self.proxy.admission.estimator.may_hide_output(self.reservation, self.call)
        return self.proxy.read_on_s if may_hide else 0.0

    def _least_completion(self, relay: Relay) -> int:
        """Of a caller who left before any usage was reported."""
        if relay.ending != "client_disconnected" or relay.meter.usage is not None:
            return 0
        estimator = self.proxy.admission.estimator
        may_hide = estimator.may_hide_output(self.reservation, self.call)
        if relay.meter.passed_tokens and not may_hide:
            return 0
        hidden_for_s = monotonic() - self.forwarded_at if may_hide else 0.0
        return estimator.least_completion(self.reservation, self.call, hidden_for_s=hidden_for_s)

    def _begin_response(self, response_id: str) -> None:
        self.books.owners.begun(self._hash(response_id), self.reservation.grant.model_id)

    def _close(self, relay: Relay, status: int, answer_headers: Mapping[str, str] | None) -> None:
        meter, call = relay.meter, self.call
        cost = meter.litellm_nano_usd
        if cost is None and answer_headers is not None:
            cost = cost_in_header(answer_headers)
        counts_no_output = meter.usage is not None or call.media is not None or call.maximum == 0
        outcome = Outcome(
            ending=relay.ending,
            status=status,
            usage=meter.usage,
            so_far=meter.so_far,
            ran=meter.ran or NO_USAGE,
            litellm_nano_usd=cost,
            model_served=meter.model,
            passed_tokens=0 if counts_no_output else meter.passed_tokens,
            has_passed=relay.has_passed,
            least_completion=self._least_completion(relay),
            first_byte_at=relay.first_byte_at,
            error_code=relay.error_code,
            waited_s=self.waited_s + relay.waited_s,
            stored_as=self._hash(meter.response_id) if call.is_stored and meter.response_id else None,
            stored_items=tuple(map(self._hash, meter.item_ids)) if call.is_stored and meter.item_ids else None,
        )
        self.close(outcome)
        if relay.watch.happened and self._reads_on_for_s:
            metrics.READ_ON.labels("estimate" if meter.usage is None else "usage").inc()
        if outcome.usage is not None and outcome.ending == "completed":
            self.proxy.admission.estimator.learn(self.reservation, outcome.usage)
        self.line.bytes_out = relay.bytes_sent

    def _hash(self, stored_id: str) -> UUID:
        return hash_of(self.reservation.record.account_id, stored_id)
