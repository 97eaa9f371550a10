"""A call from its reservation to its end: however it ends, one row is recorded and its lease is settled, once."""

from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

import structlog

from gateway import metrics
from gateway.access_log import Line
from gateway.domain.prices import Price
from gateway.domain.usage_rows import UsageRow
from gateway.endpoints.requests import Call
from gateway.record import Outcome, make_row
from gateway.reservation import Reservation
from gateway.settle import Settlements
from gateway.storage.ledger.begun_calls import BegunCalls
from gateway.storage.model_prices import ModelPrices
from gateway.storage.response_owners import ResponseOwners
from gateway.tallies import OTHER, Tallies
from gateway.tasks.renew_leases import LeaseKeeper

if TYPE_CHECKING:
    from gateway.tracing import CallTrace

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Bookkeeping:
    """Where a worker's calls are kept while they are under way, and where they go when they end."""

    leases: LeaseKeeper
    settlements: Settlements
    prices: ModelPrices
    owners: ResponseOwners
    begun: BegunCalls
    tallies: Tallies


@dataclass(slots=True, kw_only=True)
class ForwardedCall:
    """One call, of an endpoint or a realtime session. `started_at` is of the monotonic clock, in seconds."""

    endpoint: str
    call: Call
    reservation: Reservation
    line: Line
    started_at: float
    books: Bookkeeping
    # None where traces are off.
    trace: "CallTrace | None" = None
    _is_closed: bool = field(default=False, init=False)

    def open(self) -> None:
        """It is under way from now on: its lease is renewed until `close`."""
        self.books.tallies.in_flight += 1
        begun = self.reservation
        self.books.leases.add(begun)
        # The last step before anything goes upstream: from here on, the call has a row whatever dies.
        self.books.begun.write(begun.request_id, begun.record.account_id, begun.estimate, begun.note)

    def close(self, outcome: Outcome) -> None:
        """Records and settles. Only the first time: who closes first knows best how it ended."""
        if self._is_closed:
            return
        self._is_closed = True
        self.books.tallies.in_flight -= 1
        self.books.leases.remove(self.reservation.request_id)
        price = self._price_of_another(outcome.model_served)
        ended_at = monotonic()
        row = make_row(
            self.reservation,
            endpoint=self.endpoint,
            call=self.call,
            outcome=outcome,
            started_at=self.started_at,
            ended_at=ended_at,
            served_price=price,
        )
        if self.trace is not None:
            self.trace.records(row, self.reservation.grant.owned_by)
        self.books.settlements.close_call(row, is_leased=self.reservation.is_leased)
        if row.stored_as is not None or row.stored_items is not None:
            self.books.owners.ended(row)
        self._report_implausible_cost(row, price or self.reservation.grant.price)
        waited_s, grant = outcome.waited_s, self.reservation.grant
        own_s = None if waited_s is None else max(ended_at - self.started_at - waited_s, 0.0)
        is_named = self.books.prices.is_named(grant.model_id)
        model, provider = (grant.model_name, grant.owned_by) if is_named else (OTHER, OTHER)
        self.books.tallies.call(self.endpoint, row, model, provider, own_s)
        self.line.ended(row)

    def _report_implausible_cost(self, row: UsageRow, price: Price | None) -> None:
        """LiteLLM's figure was to be charged and is far above what such a call can cost: our prices are old, or a model
        server reports nonsense."""
        litellm, charged = row.litellm_cost_nano_usd, row.cost_nano_usd
        if not charged or litellm is None or litellm <= charged or price is None or price.charge == "own":
            return
        metrics.IMPLAUSIBLE_COSTS.inc()
        log.error(
            "litellm_cost_implausible", request_id=str(row.request_id), model=row.model_asked,
            litellm_nano_usd=litellm, charged_nano_usd=charged,
        )  # fmt: skip

    def _price_of_another(self, served: str | None) -> Price | None:
        """Of the model that answered, if it is in the catalogue and not the one that was granted: LiteLLM was made to
        run another one, by its configuration or by a field that should not have passed."""
        granted = self.reservation.grant.model_name
        if served is None or served == granted or (price := self.books.prices.find(served)) is None:
            return None
        metrics.OTHER_MODELS_SERVED.inc()
        log.error(
            "other_model_served", request_id=str(self.reservation.request_id), granted=granted, served=served,
            endpoint=self.endpoint,
        )  # fmt: skip
        # A price that is not known would make the call free.
        return price if price.is_known else None
