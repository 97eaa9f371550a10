"""One request and its answer: its id, its line in the access log, and the one way a failure is answered."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from gateway import metrics
from gateway.access_log import METHODS, OTHER, AccessLog, Line
from gateway.admit import LimitExceeded
from gateway.domain.errors import GatewayError
from gateway.domain.grants import KeyRecord
from gateway.domain.ids import RequestIds, read_client_request_id
from gateway.forward import LIST_HEADERS, PASSED_HEADERS
from gateway.reservation import Reservation
from gateway.storage.refusal_counts import RefusalCounts
from gateway.storage.refused_calls import RefusedCalls
from gateway.web.addresses import Address, Network, address_text, client_address
from gateway.web.bodies import ClientLeft
from gateway.web.responses import RawHeaders, Scope

if TYPE_CHECKING:
    from gateway.tracing import CallTrace, Tracing

log = structlog.get_logger(__name__)

_CREDENTIALS: Final = (b"authorization", b"x-api-key", b"api-key")
_CLIENT_IDS: Final = (b"x-client-request-id", b"x-request-id")
_READ: Final = frozenset({*_CREDENTIALS, *_CLIENT_IDS, b"content-length", b"content-encoding", *PASSED_HEADERS})
# (error, request id, headers beside the error's own): answers in the form of the route.
SendRefusal = Callable[[GatewayError, str, RawHeaders], Awaitable[None]]
# Of a content-length; more is no size, and Python refuses to read some thousand.
MAX_DIGITS: Final = 18
# The client in the access log, where a trusted proxy wrote no address.
UNKNOWN: Final = "unknown"
INTERNAL_ERROR: Final = "The gateway failed; this is not the fault of your request."
STOPPED: Final = "The gateway stopped before the answer was complete. Try again."
DRAIN_CHECK_S: Final = 0.01


@dataclass(slots=True)
class Head:
    """What the gateway reads of a request's headers, in one pass. `client` is the caller's address, if it is known."""

    client: Address | None
    credentials: list[tuple[bytes, bytes]] = field(default_factory=list)
    content_length: int | None = None
    content_type: bytes = b""
    # Of all lines together; empty: the body is as it is.
    content_encoding: bytes = b""
    passed: dict[str, str] = field(default_factory=dict)
    # The caller's own id of the request.
    client_request_id: str | None = None

    @classmethod
    def read(cls, scope: Scope, trusted_proxies: tuple[Network, ...]) -> "Head":
        """Header names are in lower case already (ASGI)."""
        headers: RawHeaders = scope["headers"]
        peer = scope["client"][0] if scope.get("client") else None
        head = cls(client_address(peer, headers, trusted_proxies))
        for name, value in headers:
            if name not in _READ:
                continue
            if name in _CREDENTIALS:
                head.credentials.append((name, value))
            elif name == b"content-length":
                head.content_length = int(value) if value.isdigit() and len(value) <= MAX_DIGITS else None
            elif name == b"content-encoding":
                head.content_encoding += b"," + value
            elif name == b"content-type":
                head.content_type = value
            elif name == b"x-client-request-id":
                head.client_request_id = read_client_request_id(value) or head.client_request_id
            elif name == b"x-request-id":
                # Of a proxy on the way, or of a client that has no other name for its own.
                head.client_request_id = head.client_request_id or read_client_request_id(value)
            elif (passed := PASSED_HEADERS.get(name)) is not None:
                text = value.decode("latin-1")
                earlier = head.passed.get(passed) if name in LIST_HEADERS else None
                head.passed[passed] = f"{earlier}, {text}" if earlier else text
        return head


@dataclass(slots=True)
class Exchange:
    """A request under way. `endpoint` is the name in the ledger, None for the gateway's own routes."""

    head: Head
    line: Line
    started_at: float
    request_id: UUID
    endpoint: str | None
    send_refusal: SendRefusal
    # Of the tightest limit, once the call is admitted.
    headers: RawHeaders = field(default_factory=list)
    # Whose call it is, and of which model, as far as it is known.
    record: KeyRecord | None = None
    model: str | None = None
    # An answer may have begun: a failure that nobody expected cannot be answered any more.
    has_begun: bool = False
    # Seconds that it waited for the caller to send.
    waited_s: float = 0.0
    # None where traces are off.
    trace: "CallTrace | None" = None

    def step(self, name: str) -> None:
        """The next step of the call begins, for its trace."""
        if self.trace is not None:
            self.trace.step(name)

    def admitted(self, reservation: Reservation) -> None:
        """From here on the call has a row, and goes by the id of its reservation."""
        self.request_id, self.headers, self.has_begun = reservation.request_id, reservation.headers, True

    def answered(self, status: int) -> None:
        """With an answer of our own."""
        self.line.status = status
        if self.trace is not None:
            self.trace.answered(status)

    @property
    def total_ms(self) -> int:
        """Since it began."""
        return round((monotonic() - self.started_at) * 1000)


class Exchanges:
    """Begins, guards and ends every exchange of a worker."""

    def __init__(
        self,
        ids: RequestIds,
        access_log: AccessLog,
        refusals: RefusalCounts,
        refused_calls: RefusedCalls,
        trusted_proxies: tuple[Network, ...],
        tracing: "Tracing | None" = None,
    ) -> None:
        self._tracing = tracing
        self._ids = ids
        self._access_log = access_log
        self._refusals = refusals
        self._refused_calls = refused_calls
        self._trusted_proxies = trusted_proxies
        self._under_way = 0

    def begin(
        self, method: str, path: str, scope: Scope, send_refusal: SendRefusal, endpoint: str | None = None
    ) -> Exchange:
        """`path` is the route's own constant, as the access log shows it."""
        head = Head.read(scope, self._trusted_proxies)
        line = self._access_log.begin(method, path, address_text(head.client) or UNKNOWN, head.client_request_id)
        exchange = Exchange(head, line, monotonic(), self._ids.new(), endpoint, send_refusal)
        if self._tracing is not None:
            exchange.trace = self._tracing.begin(method if method in METHODS else OTHER, path, head.passed)
        return exchange

    async def run(self, exchange: Exchange, work: Awaitable[None]) -> None:
        """Awaits `work`; whatever it raises is counted, noted on the line and answered, here and nowhere else."""
        self._under_way += 1
        try:
            await work
        except LimitExceeded as refused:
            self._count_limit(refused, exchange)
            await exchange.send_refusal(refused.error, str(exchange.request_id), refused.headers)
        except GatewayError as error:
            await self._fail(exchange, error)
        except ClientLeft:
            pass
        except asyncio.CancelledError:
            # By the server only, at the end of its grace; an answer that may have begun is ended by who sends it.
            if exchange.has_begun:
                raise
            await self._fail(exchange, stopped())
        except Exception:
            if exchange.has_begun:
                # The server logs it and closes the connection.
                if exchange.trace is not None:
                    exchange.trace.answered(500, "internal_error")
                raise
            log.exception("call_failed", request_id=str(exchange.request_id), endpoint=exchange.endpoint)
            await self._fail(exchange, GatewayError("internal_error", INTERNAL_ERROR))
        finally:
            if exchange.trace is not None:
                exchange.trace.end(str(exchange.request_id))
            line = exchange.line
            if line.request_id is None:
                line.request_id, line.endpoint = str(exchange.request_id), exchange.endpoint
            self._access_log.end(line, exchange.total_ms)
            self._under_way -= 1

    async def drain(self, timeout_s: float) -> None:
        """Returns when none is under way: those that the server cancelled have ended by then. Or after
        `timeout_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._under_way:
                    await asyncio.sleep(DRAIN_CHECK_S)

    async def _fail(self, exchange: Exchange, error: GatewayError) -> None:
        # A client that tries a WebSocket first and is sent back to HTTP is no error.
        if error.code != "upgrade_required":
            metrics.ERRORS.labels(error.code if error.code in metrics.OWN_CODES else "upstream_error").inc()
        exchange.line.refused(error.status, error.code)
        if exchange.trace is not None:
            exchange.trace.answered(error.status, error.code)
        if exchange.record is not None and not exchange.has_begun and error.code != "upgrade_required":
            self._note_refusal(exchange, exchange.record, error)
        await exchange.send_refusal(error, str(exchange.request_id), exchange.headers)

    def _count_limit(self, refused: LimitExceeded, exchange: Exchange) -> None:
        """In metrics, in the access log, and as every refusal."""
        limit, reservation = refused.by.limit, refused.reservation
        if exchange.trace is not None:
            exchange.trace.answered(refused.error.status, refused.error.code)
        exchange.line.refused(refused.error.status, refused.error.code)
        exchange.line.model = exchange.model = reservation.grant.model_name
        metrics.REFUSALS.labels(limit.level, limit.name, refused.error.code).inc()
        # 0: not by a row of the limits table.
        self._note_refusal(exchange, reservation.record, refused.error, limit_id=max(limit.id, 0))

    def _note_refusal(self, exchange: Exchange, record: KeyRecord, error: GatewayError, *, limit_id: int = 0) -> None:
        """Counted by the hour; some are kept to be looked up. A model that is not the key's is 0."""
        name = exchange.model or ""
        known = record.grants.get(name) or record.withheld.get(name)
        code = error.code if error.code in metrics.OWN_CODES else "upstream_error"
        self._refusals.count(
            account_id=record.account_id,
            user_id=record.user_id,
            api_key_id=record.key_id,
            model_id=known.model_id if known else 0,
            limit_id=limit_id,
            code=code,
        )
        self._refused_calls.keep(
            exchange.request_id,
            record,
            error,
            model=exchange.model,
            endpoint=exchange.endpoint,
            client_request_id=exchange.head.client_request_id,
        )


def stopped() -> GatewayError:
    """What a caller gets whose call outlasts the grace of a shutdown."""
    return GatewayError("shutting_down", STOPPED, headers={"retry-after": "1"})
