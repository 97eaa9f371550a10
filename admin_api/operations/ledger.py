"""Whether the ledger agrees with its rollups."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from admin_api.operations.actors import Actor, require_reader
from admin_api.operations.checks import invalid
from gateway.storage.ledger_check import LedgerCheck, check_ledger

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

MOST_DAYS = 36_500
# Summing up all rows of a large ledger takes longer than a page may.
TIMEOUT = "SET LOCAL statement_timeout = '30min'"


async def verify_ledger(pool: "Pool", actor: Actor, *, days: int) -> LedgerCheck:
    """The last `days` UTC days, today included. Raises GatewayError `validation_failed`."""
    require_reader(actor)
    if not 1 <= days <= MOST_DAYS:
        raise invalid("days", f"days is a number from 1 to {MOST_DAYS}.")
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    since = max(today - timedelta(days=days - 1), datetime(1970, 1, 2, tzinfo=UTC))
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(TIMEOUT)
        return await check_ledger(connection, since)
