"""Maintenance of the ledger: verify rollups and seals, rebuild rollups, replay rejected rows, show the status."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from admin_api.operations.actors import Actor, note, require_admin, require_reader
from admin_api.operations.validation import invalid, invalid_now
from gateway.storage.ledger.closed_days import Anchor, ClosedDaysCheck, check_closed_days
from gateway.storage.ledger.journal_status import JournalStatus, count_refused, list_journals
from gateway.storage.ledger.partitions import Partition, list_partitions, month_of, next_month, oldest_kept
from gateway.storage.ledger.rebuild import rebuild_day
from gateway.storage.ledger.rejected_rows import NotTakenOut
from gateway.storage.ledger.replay import Replay, replay_file
from gateway.storage.ledger.verify import LedgerCheck, check_ledger

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

MAX_DAYS = 36_500
# Summing all rows of a large ledger takes longer than the timeout of other queries.
TIMEOUT = "SET LOCAL statement_timeout = '30min'"


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerStatus:
    """`journals` and `refused` are of the state folder on this machine; `refused` is None where there is none. Rows
    before `kept_from` were dropped."""

    journals: tuple[JournalStatus, ...]
    refused: int | None
    partitions: tuple[Partition, ...]
    response_owners: tuple[Partition, ...]
    kept_from: datetime | None


async def verify_ledger(pool: "Pool", actor: Actor, *, days: int) -> LedgerCheck:
    """Compares rows and rollups of the last `days` UTC days, including today, without days whose rows were dropped.
    Raises GatewayError `validation_failed`."""
    require_reader(actor)
    since = _first_day(days)
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(TIMEOUT)
        kept_from = await oldest_kept(connection)
        return await check_ledger(connection, max(since, kept_from) if kept_from else since)


def _first_day(days: int) -> datetime:
    """The start of the first of the last `days` UTC days, including today."""
    if not 1 <= days <= MAX_DAYS:
        raise invalid("days", f"days must be a number from 1 to {MAX_DAYS}.")
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return max(today - timedelta(days=days - 1), datetime(1970, 1, 2, tzinfo=UTC))


async def verify_closed_days(pool: "Pool", actor: Actor, *, days: int, anchor: str | None = None) -> ClosedDaysCheck:
    """Checks every seal of the ledger, and the rows of those of the last `days` that are sealed. `anchor` is DAY:HASH
    of the head that a check returned. Raises GatewayError `validation_failed`."""
    require_reader(actor)
    since = _first_day(days).date()
    expected = None if anchor is None else _parse_anchor(anchor)
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(TIMEOUT)
        return await check_closed_days(connection, since, expected)


def _parse_anchor(text: str) -> Anchor:
    day, _, digest = text.partition(":")
    try:
        return Anchor(date.fromisoformat(day), bytes.fromhex(digest))
    except ValueError:
        raise invalid("anchor", "anchor must be DAY:HASH, as `litemaas ledger verify --sealed` prints it.") from None


async def rebuild_rollups(pool: "Pool", actor: Actor, *, first: date, last: date) -> int:
    """Rebuilds the rollups of the UTC days from `first` to `last`, inclusive; returns their number. If it is
    interrupted, finished days stay rebuilt. Raises GatewayError `validation_failed` for days without rows in the
    ledger, whose sums would be lost."""
    require_admin(actor)
    if last < first:
        raise invalid("to", "to must not be earlier than from.")
    if (last - first).days >= MAX_DAYS:
        raise invalid("to", f"A rebuild is limited to {MAX_DAYS} days.")
    async with pool.acquire() as connection:
        kept_from = await oldest_kept(connection)
        months = [month_of(partition) for partition in await list_partitions(connection)]
    if kept_from is not None and first < kept_from.date():
        raise invalid_now(
            "from", f"The rows before {kept_from:%Y-%m-%d} were dropped, so their rollups cannot be rebuilt."
        )
    if not months or first < months[0]:
        raise invalid_now("from", f"The ledger has no rows before {months[0] if months else 'its first month'}.")
    if last >= (after := next_month(months[-1])):
        raise invalid_now("to", f"The ledger has no rows from {after} on.")
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    for day in days:
        await rebuild_day(pool, day)
    async with pool.acquire() as connection:
        await note(connection, actor, "ledger.rebuild_rollups", "ledger", f"{first}/{last}")
    return len(days)


async def replay(pool: "Pool", actor: Actor, path: Path, *, keep: bool) -> Replay:
    """Writes the rows of a file into the ledger. Raises GatewayError `validation_failed` for a file that cannot be
    read, or that cannot be changed if `keep` is False."""
    require_admin(actor)
    try:
        (await asyncio.to_thread(path.open, "rb" if keep else "r+b")).close()
    except OSError as exc:
        raise invalid("file", f"{path} cannot be {'read' if keep else 'read or changed'}: {exc.strerror}.") from exc
    try:
        done = await replay_file(pool, path, keep=keep)
    except NotTakenOut as exc:
        message = f"The rows of {path} are written, but could not be removed from the file: {exc}."
        raise invalid_now("file", message) from exc
    async with pool.acquire() as connection:
        counts = {"written": done.written, "replaced": done.replaced, "known": done.known, "refused": len(done.refused)}
        await note(connection, actor, "ledger.replay", "ledger", path.name, new=counts)
    return done


async def ledger_status(pool: "Pool", actor: Actor, state_dir: Path) -> LedgerStatus:
    """The journals in `state_dir`, and the monthly partitions of the ledger. Raises GatewayError `validation_failed` if
    `state_dir` is a file."""
    require_reader(actor)
    if await asyncio.to_thread(state_dir.is_file):
        raise invalid("state_dir", f"{state_dir} is not a folder.")
    folder = state_dir / "journal"
    journals = await asyncio.to_thread(list_journals, folder)
    refused = await asyncio.to_thread(count_refused, folder) if await asyncio.to_thread(folder.is_dir) else None
    async with pool.acquire() as connection:
        return LedgerStatus(
            journals=tuple(journals),
            refused=refused,
            partitions=tuple(await list_partitions(connection)),
            response_owners=tuple(await list_partitions(connection, "response_owners")),
            kept_from=await oldest_kept(connection),
        )
