"""Which events a user wants no e-mail about; deliveries.py writes and sends none of these."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

FIND: Final = """
SELECT muted_emails FROM users WHERE id = $1
"""


async def find_muted(executor: "Executor", user_id: int) -> set[str]:
    """The events."""
    return set(await executor.fetchval(FIND, user_id) or ())


UPDATE: Final = """
UPDATE users SET muted_emails = $2 WHERE id = $1
"""


async def update_muted(executor: "Executor", user_id: int, events: Sequence[str]) -> None:
    """To exactly these."""
    await executor.execute(UPDATE, user_id, list(events))
