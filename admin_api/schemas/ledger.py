"""The ledger's upkeep, as shown."""

from datetime import datetime

from admin_api.operations.maintenance.ledger import LedgerStatus
from admin_api.schemas.shapes import View


class RebuildView(View):
    """How many days were added up anew."""

    days: int


class ReplayView(View):
    """What became of a file's rows; `refused` are Postgres's reasons."""

    written: int
    replaced: int
    known: int
    refused: list[str]
    damaged: int


class JournalView(View):
    """One worker's journal; `alive` of false: any gateway on this folder adopts it within seconds."""

    worker: str
    alive: bool
    pid: int | None
    host: str | None
    rows: int
    bytes: int
    oldest: datetime | None
    error: str | None
    error_at: str | None


class PartitionView(View):
    """One month of the ledger; `rows` is an estimate, null where there is none yet."""

    name: str
    rows: int | None
    bytes: int


class LedgerStatusView(View):
    """Journals of this machine, months of the ledger."""

    journals: list[JournalView]
    rows_waiting: int
    refused: int
    partitions: list[PartitionView]
    kept_from: datetime | None

    @classmethod
    def of(cls, status: LedgerStatus) -> "LedgerStatusView":
        """As shown."""
        return cls(
            journals=[
                JournalView(
                    worker=j.worker,
                    alive=j.is_alive,
                    pid=j.pid,
                    host=j.host,
                    rows=j.rows,
                    bytes=j.bytes,
                    oldest=j.oldest,
                    error=j.error,
                    error_at=j.error_at,
                )
                for j in status.journals
            ],
            rows_waiting=sum(j.rows for j in status.journals),
            refused=status.refused,
            partitions=[PartitionView(name=p.name, rows=p.rows, bytes=p.bytes) for p in status.partitions],
            kept_from=status.kept_from,
        )
