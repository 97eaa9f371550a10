"""Accounts whose usage or limits changed since the last alert pass.

Each batch of the ledger and each change of a limit adds rows; the admin API takes them. Where no admin API runs, the
gateway merges them, so that the table does not grow for ever.
"""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

# One pass at a time, whichever replica. "lmalrt"
ALERTS_LOCK: Final = 0x6C6D_616C_7274


TRY_LOCK_ALERTS: Final = """
SELECT pg_try_advisory_xact_lock($1)
"""


async def try_lock_alerts(executor: "Executor") -> bool:
    """Holds the lock until the transaction ends; False if another replica has it."""
    return bool(await executor.fetchval(TRY_LOCK_ALERTS, ALERTS_LOCK))


# Rows that are committed, and so are the sums of what made them. Rows being appended meanwhile stay for the next pass.
TAKE_ACCOUNTS: Final = """
WITH due AS (SELECT DISTINCT account_id FROM (SELECT account_id FROM accounts_to_check LIMIT 20000) AS r LIMIT $1)
DELETE FROM accounts_to_check c USING due WHERE c.account_id = due.account_id RETURNING c.account_id
"""


async def take_accounts(executor: "Executor", limit: int) -> set[int]:
    """Whose use or limits changed; put back if the transaction is rolled back."""
    return {row["account_id"] for row in await executor.fetch(TAKE_ACCOUNTS, limit)}


COUNT_ACCOUNTS: Final = """
SELECT count(*) FROM (SELECT DISTINCT account_id FROM accounts_to_check LIMIT $1) AS a
"""


async def count_accounts_to_check(executor: "Executor", maximum: int) -> int:
    """No more than `maximum` are counted."""
    count: int = await executor.fetchval(COUNT_ACCOUNTS, maximum)
    return count


MERGE_ACCOUNTS: Final = """
DELETE FROM accounts_to_check c USING (SELECT account_id, min(ctid) AS kept FROM accounts_to_check GROUP BY 1) AS k
WHERE c.account_id = k.account_id AND c.ctid <> k.kept
"""


async def merge_accounts_to_check(pool: "Pool") -> None:
    """Leaves one row an account. Not during an alert pass, which would take the row that is kept and miss what the
    other one stood for."""
    async with pool.acquire() as connection, connection.transaction():
        if await try_lock_alerts(connection):
            await connection.execute(MERGE_ACCOUNTS)
