"""The life of one call, top to bottom. START READING HERE."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Final
from urllib.parse import unquote_to_bytes

import structlog

from gateway import metrics
from gateway.access_log import AccessLog, Line
from gateway.admit import Admission, LimitExceeded, Reservation
from gateway.authenticate import authenticate, check_address, find_grant, read_key
from gateway.domain.errors import GatewayError
from gateway.domain.grants import KeyRecord
from gateway.domain.ids import RequestIds
from gateway.domain.keys import Peppers
from gateway.endpoints.registry import Endpoint
from gateway.endpoints.requests import Call
from gateway.forward import PASSED_HEADERS, cost_in_header, error_of, read_refusal, upstream_headers
from gateway.record import Outcome, make_row
from gateway.relay import Relay
from gateway.settle import Settlements
from gateway.storage.key_cache import KeyCache
from gateway.storage.ledger.writer import LedgerWriter
from gateway.storage.refusal_counts import RefusalCounts
from gateway.tasks.renew_leases import LeaseKeeper
from gateway.upstream.client import UpstreamBroken, UpstreamSilent, UpstreamUnreachable
from gateway.upstream.pool import UpstreamPool
from gateway.web.addresses import Network, client_address
from gateway.web.bodies import BodyBudget, ClientLeft, read_body
from gateway.web.disconnects import interrupt_on_disconnect
from gateway.web.errors import identity, send_error
from gateway.web.responses import RawHeaders, Receive, Scope, Send
from gateway.web.uploads import read_upload

log = structlog.get_logger(__name__)

# Nobody escapes a name this often; without a bound a long one would keep the worker busy for minutes.
MAX_UNQUOTES: Final = 5
UPSTREAM_FAILURES: Final = (UpstreamUnreachable, UpstreamBroken, UpstreamSilent)


@dataclass(slots=True)
class Head:
    """What the gateway reads of a request's headers, in one pass."""

    authorization: list[bytes] = field(default_factory=list)
    other_keys: list[bytes] = field(default_factory=list)
    content_length: int | None = None
    content_type: bytes = b""
    passed: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, headers: RawHeaders) -> "Head":
        """Names are lower case already (ASGI)."""
        head = cls()
        for name, value in headers:
            if name == b"authorization":
                head.authorization.append(value)
            elif name in (b"x-api-key", b"api-key"):
                head.other_keys.append(value)
            elif name == b"content-length":
                head.content_length = int(value) if value.isdigit() else None
            elif name == b"content-type":
                head.content_type = value
            elif (passed := PASSED_HEADERS.get(name)) is not None:
                head.passed[passed] = value.decode("latin-1")
        return head


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """Forwards calls of every endpoint; an ASGI app's inside, so that it owns the answer to its very end."""

    ids: RequestIds
    peppers: Peppers
    keys: KeyCache
    admission: Admission
    upstream: UpstreamPool
    settlements: Settlements
    leases: LeaseKeeper
    ledger: LedgerWriter
    refusals: RefusalCounts
    bodies: BodyBudget
    access_log: AccessLog
    trusted_proxies: tuple[Network, ...]
    max_body_bytes: int
    max_upload_bytes: int
    upload_folder: Path

    async def forward(self, endpoint: Endpoint, scope: Scope, receive: Receive, send: Send) -> None:
        """Authenticate, read, admit, forward, relay; then the app settles and records."""
        request_id = self.ids.new()
        started_at = monotonic()
        headers: RawHeaders = []
        is_forwarded = False
        line = self.access_log.begin("POST", endpoint.path, scope)
        try:
            head = Head.read(scope["headers"])
            refuse_model_in_query(scope["query_string"])
            record = await self.authenticate(head, scope, line)
            async with self._read(endpoint, head, receive) as call:
                grant = find_grant(record, call.model)
                self.check_ledger()
                reservation = await self.admission.admit(request_id, record, grant, call, endpoint.name)
                request_id, headers, is_forwarded = reservation.request_id, reservation.headers, True
                await self._forward(endpoint, call, reservation, head, started_at, line, receive, send)
        except LimitExceeded as refused:
            self.count_refusal(refused, line)
            await send_error(send, refused.error, str(request_id), endpoint.error_shape, refused.headers)
        except GatewayError as error:
            metrics.ERRORS.labels(error.code if error.code in metrics.OWN_CODES else "upstream_error").inc()
            if line is not None:
                line.refused(error.status, error.code)
            await send_error(send, error, str(request_id), endpoint.error_shape, headers)
        except ClientLeft:
            pass
        except Exception:
            if is_forwarded:
                raise
            # A mistake of ours, whole in the log; the caller gets the shape his client can read.
            log.exception("call_failed", request_id=str(request_id), endpoint=endpoint.name)
            mistake = GatewayError("internal_error", "The gateway failed; this is not the fault of your request.")
            metrics.ERRORS.labels(mistake.code).inc()
            if line is not None:
                line.refused(mistake.status, mistake.code)
            await send_error(send, mistake, str(request_id), endpoint.error_shape)
        finally:
            if line is not None:
                line.request_id, line.endpoint = str(request_id), endpoint.name
                self.access_log.end(line)

    @asynccontextmanager
    async def _read(self, endpoint: Endpoint, head: Head, receive: Receive) -> AsyncIterator[Call]:
        """The call in the body, which is held until it has ended: on disk, where it is an upload."""
        with self.bodies.hold() as held:
            if endpoint.parse_upload is None:
                yield endpoint.parse(await read_body(receive, head.content_length, self.max_body_bytes, held))
                return
            size, upper_bound = head.content_length, self.max_upload_bytes
            upload = await read_upload(receive, head.content_type, size, upper_bound, held, self.upload_folder)
            try:
                yield endpoint.parse_upload(upload)
            finally:
                upload.close()

    async def authenticate(self, head: Head, scope: Scope, line: Line | None = None) -> KeyRecord:
        """The caller's key record; raises GatewayError."""
        record = await authenticate(read_key(head.authorization, head.other_keys), self.peppers, self.keys)
        if line is not None:
            line.knows(record)
            line.bytes_in = head.content_length
        if record.allowed_ips:
            peer = scope["client"][0] if scope.get("client") else None
            check_address(record, client_address(peer, scope["headers"], self.trusted_proxies))
        return record

    def count_refusal(self, refused: LimitExceeded, line: Line | None) -> None:
        """In metrics, in the ledger's rollup and in the access log."""
        limit, record = refused.by.limit, refused.reservation.record
        if line is not None:
            line.refused(refused.error.status, refused.error.code)
            line.model = refused.reservation.grant.model_name
        metrics.REFUSALS.labels(limit.level, limit.kind, refused.error.code).inc()
        self.refusals.count(
            account_id=record.account_id,
            user_id=record.user_id,
            api_key_id=record.key_id,
            model_id=refused.reservation.grant.model_id,
            limit_id=limit.id,
            code=refused.error.code,
        )

    def check_ledger(self) -> None:
        """Raises `ledger_unavailable`."""
        if not self.ledger.is_accepting:
            message = "Usage can not be recorded at this moment, so the call is refused. Try again."
            raise GatewayError("ledger_unavailable", message, headers={"retry-after": "5"})

    async def _forward(
        self,
        endpoint: Endpoint,
        call: Call,
        reservation: Reservation,
        head: Head,
        started_at: float,
        line: Line | None,
        receive: Receive,
        send: Send,
    ) -> None:
        """From the reservation on, however it ends, exactly one row is recorded and the lease settled."""
        record, request_id = reservation.record, str(reservation.request_id)
        relay = Relay(send)
        status, reported_cost, refusal = 499, None, None
        answers = [*reservation.headers, *identity(request_id, endpoint.error_shape)]
        to_upstream = upstream_headers(head.passed, request_id, f"account-{record.account_id}")
        metrics.IN_FLIGHT.inc()
        if reservation.is_leased:
            self.leases.add(reservation)
        try:
            with interrupt_on_disconnect(receive):
                async with self.upstream.open(endpoint.path, to_upstream, call.body) as answer:
                    status = answer.status
                    if status >= 300:
                        relay.ending = "refused_upstream"
                        refusal = await read_refusal(answer)
                    else:
                        reported_cost = cost_in_header(answer.headers)
                        strips_usage = not call.wants_usage
                        await relay.carry(answer, answers, endpoint, request_id, strips_usage=strips_usage)
        except UPSTREAM_FAILURES as failure:
            refusal = error_of(failure)
            kinds = {UpstreamUnreachable: "unreachable", UpstreamSilent: "timeout"}
            relay.ending = kinds.get(type(failure), "upstream_error")  # type: ignore[assignment]  # words of Ending
        except GatewayError as error:
            refusal = error
        except asyncio.CancelledError:
            # The server stops, at the end of its grace.
            relay.ending, relay.error_code = "upstream_error", "shutting_down"
            raise
        finally:
            metrics.IN_FLIGHT.dec()
            self.leases.remove(reservation.request_id)
            if refusal is not None:
                status = refusal.status
                relay.error_code = refusal.code
            self._close(endpoint, call, reservation, relay, status, started_at, reported_cost, line)
        if refusal is not None:
            raise refusal

    def _close(
        self,
        endpoint: Endpoint,
        call: Call,
        reservation: Reservation,
        relay: Relay,
        status: int,
        started_at: float,
        reported_cost: float | None,
        line: Line | None,
    ) -> None:
        first, meter = relay.first_byte_at, relay.meter
        outcome = Outcome(
            ending=relay.ending,
            status=status,
            usage=meter.usage,
            cost_usd=reported_cost if meter.cost_usd is None else meter.cost_usd,
            model_served=meter.model,
            passed_tokens=0 if meter.usage or call.counts_no_tokens or call.maximum == 0 else meter.passed_tokens,
            has_passed=relay.has_passed,
            first_byte_ms=None if first is None else round((first - started_at) * 1000),
            total_ms=round((monotonic() - started_at) * 1000),
            error_code=relay.error_code,
        )
        estimate, _ = call.expected_units(reservation.grant.price)
        if not call.counts_no_tokens:
            reported = {"prompt_tokens": reservation.prompt_tokens, "completion_tokens": reservation.completion_tokens}
            estimate = replace(estimate, **reported)
        row = make_row(
            reservation.request_id,
            reservation.record,
            reservation.grant,
            endpoint=endpoint.name,
            call=call,
            estimate=estimate,
            outcome=outcome,
        )
        self.settlements.close_call(row, is_leased=reservation.is_leased)
        if outcome.usage is not None and outcome.ending == "completed":
            self.admission.learn(reservation, outcome.usage)
        metrics.count_call(endpoint.name, row)
        if line is not None:
            line.ended(row)
            line.bytes_out = relay.bytes_sent


def refuse_model_in_query(query: bytes) -> None:
    """LiteLLM runs the model of the query whatever the body says. Every other query is dropped."""
    if not query:
        return
    for part in query.replace(b";", b"&").split(b"&"):
        name = _unquote(part.partition(b"=")[0])
        if name is None or name.strip().lower() == b"model":
            message = "The query names a model; name it in the body only."
            raise GatewayError("model_in_query", message, param="model")


def _unquote(name: bytes) -> bytes | None:
    """Until nothing changes, for a proxy on the way may unquote once more; None: it is escaped too often."""
    for _ in range(MAX_UNQUOTES):
        plain = unquote_to_bytes(name.replace(b"+", b" "))
        if plain == name:
            return name
        name = plain
    return None
