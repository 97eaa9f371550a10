"""JSON of the ledger's maintenance."""

from datetime import date, datetime
from typing import TYPE_CHECKING, Self
from uuid import UUID

from admin_api.schemas.shapes import DecimalText, View
from gateway.domain.money import usd_text
from gateway.storage.ledger.partitions import Partition

if TYPE_CHECKING:
    from admin_api.operations.maintenance.ledger import LedgerStatus
    from admin_api.operations.maintenance.repricing import Repriced
    from gateway.storage.ledger.closed_days import ClosedDaysCheck


class RebuildView(View):
    """How many days were rebuilt."""

    days: int


class RepricedView(View):
    """A call that was priced again; `was_nano_usd` is null where its model had no price."""

    request_id: UUID
    was_nano_usd: int | None
    was_usd: DecimalText | None
    cost_nano_usd: int
    cost_usd: DecimalText

    @classmethod
    def of(cls, done: "Repriced") -> Self:
        """A call, with both costs in USD too."""
        was = None if done.was_nano_usd is None else usd_text(done.was_nano_usd)
        return cls(
            request_id=done.request_id,
            was_nano_usd=done.was_nano_usd,
            was_usd=was,
            cost_nano_usd=done.cost_nano_usd,
            cost_usd=usd_text(done.cost_nano_usd),
        )


class ReplayView(View):
    """Result of a replay, in rows; `refused` are Postgres's reasons."""

    written: int
    replaced: int
    known: int
    refused: list[str]
    damaged: int


class ClosedDayFindingView(View):
    """One fault of a seal; `day` is null where none is left."""

    fault: str
    day: date | None


class ClosedDaysView(View):
    """The result of a check of the ledger's seals. `head` is DAY:HASH of the last one, to be noted elsewhere; null if
    nothing is sealed yet."""

    intact: bool
    closed: int
    days: int
    dropped: int
    head: str | None
    findings: list[ClosedDayFindingView]

    @classmethod
    def of(cls, check: "ClosedDaysCheck") -> Self:
        return cls(
            intact=not check.findings,
            closed=check.closed,
            days=check.days,
            dropped=check.dropped,
            head=None if check.head is None else str(check.head),
            findings=[ClosedDayFindingView.model_validate(finding) for finding in check.findings],
        )


class JournalView(View):
    """The journal of one worker; `alive` false: any gateway with this folder adopts it within seconds. `begun` are its
    calls under way."""

    worker: str
    alive: bool
    pid: int | None
    host: str | None
    rows: int
    bytes: int
    begun: int
    oldest: datetime | None
    error: str | None
    error_at: str | None


class PartitionView(View):
    """One month of the ledger, or one day of response owners; `rows` is an estimate, null if there is none yet."""

    name: str
    rows: int | None
    bytes: int

    @classmethod
    def of(cls, partition: Partition) -> "PartitionView":
        """The view of a partition."""
        return cls(name=partition.name, rows=partition.rows, bytes=partition.bytes)


class LedgerStatusView(View):
    """Journals of this machine, and months of the ledger. `rows_waiting` and `refused` are None where no gateway keeps
    journals."""

    journals: list[JournalView]
    rows_waiting: int | None
    refused: int | None
    partitions: list[PartitionView]
    response_owners: list[PartitionView]
    kept_from: datetime | None

    @classmethod
    def of(cls, status: "LedgerStatus") -> "LedgerStatusView":
        """The view of a status."""
        return cls(
            journals=[
                JournalView(
                    worker=j.worker,
                    alive=j.is_alive,
                    pid=j.pid,
                    host=j.host,
                    rows=j.rows,
                    bytes=j.bytes,
                    begun=j.begun,
                    oldest=j.oldest,
                    error=j.error,
                    error_at=j.error_at,
                )
                for j in status.journals
            ],
            rows_waiting=None if status.refused is None else sum(j.rows for j in status.journals),
            refused=status.refused,
            partitions=[PartitionView.of(partition) for partition in status.partitions],
            response_owners=[PartitionView.of(partition) for partition in status.response_owners],
            kept_from=status.kept_from,
        )
